//! The dashboards: every panel with the question that it answers.
//!
//! `observability/grafana/dashboards/` is written from here.

mod overview;
mod pipeline;
mod servers;

pub use overview::SEED_PANELS;

use crate::panel::Dashboard;

/// Every dashboard, the overview first.
pub fn all() -> Vec<Dashboard> {
    vec![overview::dashboard(), pipeline::dashboard(), servers::dashboard()]
}
