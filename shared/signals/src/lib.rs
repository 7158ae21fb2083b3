//! What can be seen from outside: every metric by its name, and who reads it.
//!
//! Architecture invariants: pure, no I/O; a metric's name is spelled here and nowhere else in the services.
//! `runtime::telemetry` records what this table lists, dashboards and rules ask for nothing else.

pub mod metric;
pub mod prometheus;

pub use metric::{Kind, Metric};
