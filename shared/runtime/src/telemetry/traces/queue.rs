//! Spans that have ended, on their way to the sender.

use crate::telemetry::Metrics;
use opentelemetry::metrics::Counter;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use signals::metric;
use std::time::Duration;
use tokio::sync::mpsc;

/// Spans that wait to be sent at most: some fifteen megabytes, while the collector is away.
const WAITING_MAX: usize = 16_384;

/// What has become of spans. Each is counted once.
#[derive(Debug, Clone)]
pub(super) struct SpanCounts {
    service: &'static str,
    spans: Counter<u64>,
}

impl SpanCounts {
    /// Of the role whose metrics these are, all at zero.
    pub(super) fn new(metrics: &Metrics) -> SpanCounts {
        let counts = SpanCounts { service: metrics.role().as_str(), spans: metrics.counter(&metric::SPANS) };
        counts.exported(0);
        counts.dropped(0);
        counts.failed(0);
        counts
    }

    /// The collector has them.
    pub(super) fn exported(&self, count: usize) {
        self.count("exported", count);
    }

    /// The queue had no room for them.
    pub(super) fn dropped(&self, count: usize) {
        self.count("dropped", count);
    }

    /// The collector did not take them.
    pub(super) fn failed(&self, count: usize) {
        self.count("failed", count);
    }

    fn count(&self, outcome: &'static str, count: usize) {
        let labels = [KeyValue::new("service", self.service), KeyValue::new("outcome", outcome)];
        self.spans.add(count as u64, &labels);
    }
}

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: SpanCounts,
}

/// The other end of the queue.
pub(crate) type Waiting = mpsc::Receiver<SpanData>;

impl Queue {
    pub(super) fn new(counts: SpanCounts) -> (Queue, Waiting) {
        let (spans, waiting) = mpsc::channel(WAITING_MAX);
        (Queue { spans, counts }, waiting)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
