//! Everything between a stage and the machine: the harness, the broker, HTTP, telemetry and the drain.
//!
//! Architecture invariants: the harness exists once and knows no stage; only `broker` names async-nats; only
//! `telemetry` names a metric. Nothing here knows SQL.

pub mod broker;
pub mod clock;
pub mod dead_letters;
pub mod drain;
pub mod harness;
pub mod http;
pub mod ids;
#[cfg(test)]
mod memory;
pub mod process;
pub mod stage;
pub mod telemetry;
pub mod transport;

pub use config;
