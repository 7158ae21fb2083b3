//! Metrics of requests.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use signals::metric;
use std::time::Duration;
use wire::Role;

/// The requests that a role answers.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    service: Role,
    requests: Counter<u64>,
    duration: Histogram<f64>,
}

impl RequestMetrics {
    /// Those of the role whose metrics these are.
    pub fn new(metrics: &Metrics) -> RequestMetrics {
        RequestMetrics {
            service: metrics.role(),
            requests: metrics.counter(&metric::REQUESTS),
            duration: metrics.durations(&metric::REQUEST_DURATION),
        }
    }

    /// A request was answered.
    pub fn answered(&self, status: u16, took: Duration) {
        let service = KeyValue::new("service", self.service.as_str());
        self.requests.add(1, &[service.clone(), KeyValue::new("status", i64::from(status))]);
        self.duration.record(took.as_secs_f64(), &[service]);
    }
}
