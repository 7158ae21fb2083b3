//! What can be seen from outside: every metric by its name, and everyone who asks for one.
//!
//! Architecture invariants: pure, no I/O; a metric's name is spelled here and nowhere else in the services.
//! `runtime::telemetry` records what the table lists, dashboards and rules ask for nothing else. The files of
//! `observability/` that repeat any of it are written from here: `GOLDEN_WRITE=1 cargo test -p signals`.

pub mod dashboards;
pub mod grafana;
pub mod live;
pub mod metric;
pub mod panel;
pub mod paper;
pub mod prometheus;
pub mod query;
pub mod rules;

pub use metric::{Kind, Metric};
