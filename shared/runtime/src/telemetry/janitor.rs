//! Metrics of the janitor's rounds and of its audit.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Gauge};
use signals::metric;
use std::sync::Arc;
use std::time::Duration;

/// What the janitor does, and what it finds.
#[derive(Debug, Clone)]
pub struct JanitorMetrics {
    redriven: Arc<BoundCounter<u64>>,
    emitted_again: Arc<BoundCounter<u64>>,
    oldest_open_hold: Gauge<f64>,
}

impl JanitorMetrics {
    /// Those of the role whose metrics these are.
    pub fn new(metrics: &Metrics) -> JanitorMetrics {
        let counted = |metric| {
            let counter = metrics.counter(metric).bind(&[]);
            counter.add(0);
            Arc::new(counter)
        };
        JanitorMetrics {
            redriven: counted(&metric::PAYMENTS_REDRIVEN),
            emitted_again: counted(&metric::PAYMENTS_EMITTED_AGAIN),
            oldest_open_hold: metrics.seconds(&metric::OLDEST_OPEN_HOLD),
        }
    }

    /// Payments were published again.
    pub fn redriven(&self, count: u64) {
        self.redriven.add(count);
    }

    /// A held payment was emitted again.
    pub fn emitted_again(&self) {
        self.emitted_again.add(1);
    }

    /// The age of the oldest open hold.
    pub fn oldest_open_hold(&self, age: Duration) {
        self.oldest_open_hold.record(age.as_secs_f64(), &[]);
    }
}

/// What the audit has counted.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    entries: Counter<u64>,
    payments: Counter<u64>,
    volume: Counter<u64>,
}

impl AuditMetrics {
    /// Those of the role whose metrics these are.
    pub fn new(metrics: &Metrics) -> AuditMetrics {
        let entries = metrics.counter(&metric::ENTRIES_AUDITED);
        entries.add(0, &[]);
        AuditMetrics {
            entries,
            payments: metrics.counter(&metric::PAYMENTS_RECORDED),
            volume: metrics.counter(&metric::VOLUME),
        }
    }

    /// Entries were looked at.
    pub fn audited(&self, entries: u64) {
        self.entries.add(entries, &[]);
    }

    /// Payments of a currency ended so.
    pub fn ended(&self, currency: &'static str, outcome: &'static str, payments: u64, minor: u64) {
        let labels = [KeyValue::new("currency", currency), KeyValue::new("outcome", outcome)];
        self.payments.add(payments, &labels);
        self.volume.add(minor, &labels);
    }
}
