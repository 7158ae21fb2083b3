//! Metrics of the janitor's rounds.

use super::Metrics;
use opentelemetry::metrics::{Counter, Gauge};
use signals::metric;
use std::time::Duration;

/// What the janitor does, and what it finds.
#[derive(Debug, Clone)]
pub struct JanitorMetrics {
    redriven: Counter<u64>,
    oldest_open_hold: Gauge<f64>,
}

impl JanitorMetrics {
    /// Those of the role whose metrics these are.
    pub fn new(metrics: &Metrics) -> JanitorMetrics {
        JanitorMetrics {
            redriven: metrics.counter(&metric::PAYMENTS_REDRIVEN),
            oldest_open_hold: metrics.seconds(&metric::OLDEST_OPEN_HOLD),
        }
    }

    /// Payments were published again.
    pub fn redriven(&self, count: u64) {
        self.redriven.add(count, &[]);
    }

    /// The age of the oldest open hold.
    pub fn oldest_open_hold(&self, age: Duration) {
        self.oldest_open_hold.record(age.as_secs_f64(), &[]);
    }
}
