//! Logs and metrics: the only place that names a metric. Names and labels are the contract of dashboards and
//! alerts.
//!
//! The OpenTelemetry exporter appends `_total` to counters and the unit to the rest: `stage_duration` in `s`
//! is `stage_duration_seconds`.

use crate::config::{LogConfig, LogFormat};
use domain::{Refusal, StageName};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use wire::{HopMessage, Role};

/// Bounds of durations, in seconds: from half a millisecond to ten seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of batch sizes, in messages, up to the largest batch.
const SIZES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0];

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics exporter.
    #[error("metrics cannot be exported: {0}")]
    Metrics(String),
    /// The log filter.
    #[error("log.filter: {0}")]
    Filter(String),
}

/// Starts logging to standard output. A line that cannot be written is lost and nothing more: complaining
/// about it on standard error, whose reader may have gone too, would panic in whoever logs.
pub fn start_logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(&config.filter).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
    // A second start in one process (tests) keeps the first.
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}

/// Every metric of a process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Instruments>,
}

struct Instruments {
    registry: Registry,
    // The instruments die with their provider.
    _provider: SdkMeterProvider,
    requests: Counter<u64>,
    request_duration: Histogram<f64>,
    batch_size: Histogram<u64>,
    stage_duration: Histogram<f64>,
    end_to_end: Histogram<f64>,
    rejected: Counter<u64>,
    dead: Counter<u64>,
    redeliveries: Counter<u64>,
    halted: Gauge<u64>,
    lag: Gauge<u64>,
    oldest_open_hold: Gauge<f64>,
    redriven: Counter<u64>,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Result<Metrics, TelemetryError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build();
        let exporter = exporter.map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("kilat");
        let seconds = |name: &'static str, what: &'static str| histogram(&meter, name, what);
        let inner = Instruments {
            requests: meter
                .u64_counter("payment_requests")
                .with_description("HTTP requests by service and status")
                .build(),
            request_duration: seconds("payment_request_duration", "Time from a request's head to its answer"),
            batch_size: meter
                .u64_histogram("stage_batch_size")
                .with_description("Messages a stage took at once")
                .with_boundaries(SIZES.to_vec())
                .build(),
            stage_duration: seconds(
                "stage_duration",
                "Time of a batch from its decoding to its acknowledgement",
            ),
            end_to_end: seconds("payment_end_to_end", "Time from acceptance to the end of a payment"),
            rejected: meter
                .u64_counter("payments_rejected")
                .with_description("Refusals by stage and code")
                .build(),
            dead: meter.u64_counter("payments_dead").with_description("Buried messages by stage").build(),
            redeliveries: meter
                .u64_counter("stage_redeliveries")
                .with_description("Deliveries that were not the first")
                .build(),
            halted: meter
                .u64_gauge("stage_halted")
                .with_description("Whether a stage has too much to bury, and buries nothing")
                .build(),
            lag: meter
                .u64_gauge("stage_lag_messages")
                .with_description("Messages that wait for a stage")
                .build(),
            oldest_open_hold: meter
                .f64_gauge("ledger_oldest_open_hold")
                .with_unit("s")
                .with_description("Age of the oldest open hold")
                .build(),
            redriven: meter
                .u64_counter("payments_redriven")
                .with_description("Payments that the janitor published again")
                .build(),
            registry,
            _provider: provider,
        };
        Ok(Metrics { inner: Arc::new(inner) })
    }

    /// The metrics in the Prometheus text format.
    pub fn render(&self) -> Result<Vec<u8>, TelemetryError> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.inner.registry.gather(), &mut text)
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        Ok(text)
    }

    /// An HTTP request was answered.
    pub fn request(&self, service: Role, status: u16, took: Duration) {
        let service = KeyValue::new("service", service.as_str());
        self.inner.requests.add(1, &[service.clone(), KeyValue::new("status", i64::from(status))]);
        self.inner.request_duration.record(took.as_secs_f64(), &[service]);
    }

    /// The metrics of one stage and shard.
    pub fn stage(&self, stage: StageName, shard: u16) -> StageMetrics {
        StageMetrics { metrics: self.clone(), stage, shard }
    }

    /// The janitor published payments again.
    pub fn redriven(&self, count: u64) {
        self.inner.redriven.add(count, &[]);
    }

    /// The age of the oldest open hold.
    pub fn oldest_open_hold(&self, age: Duration) {
        self.inner.oldest_open_hold.record(age.as_secs_f64(), &[]);
    }
}

fn histogram(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(SECONDS.to_vec()).build()
}

/// The metrics of one stage.
#[derive(Clone)]
pub struct StageMetrics {
    metrics: Metrics,
    stage: StageName,
    shard: u16,
}

impl StageMetrics {
    fn label(&self) -> KeyValue {
        KeyValue::new("stage", self.stage.as_str())
    }

    /// A batch was taken, so many of it not for the first time.
    pub fn batch(&self, size: usize, redelivered: usize) {
        let instruments = &self.metrics.inner;
        instruments.batch_size.record(size as u64, &[self.label()]);
        if redelivered > 0 {
            instruments.redeliveries.add(redelivered as u64, &[self.label()]);
        }
    }

    /// A batch was judged, published and acknowledged.
    pub fn judged(&self, took: Duration) {
        self.metrics.inner.stage_duration.record(took.as_secs_f64(), &[self.label()]);
    }

    /// This is told of a message that was judged.
    pub fn told(&self, message: &HopMessage) {
        let refusal = match message {
            HopMessage::Rejected(rejected) => Some(rejected.rejection.reason),
            // The one refusal that settle makes itself: what it tells again of other stages was counted
            // there.
            HopMessage::Finished(finished) => {
                finished.reason.filter(|reason| *reason == Refusal::DestinationLimit)
            }
            HopMessage::Accepted(_)
            | HopMessage::Screened(_)
            | HopMessage::Quoted(_)
            | HopMessage::Reserved(_) => None,
        };
        if let Some(refusal) = refusal {
            self.metrics.inner.rejected.add(1, &[self.label(), KeyValue::new("code", refusal.code())]);
        }
        if let HopMessage::Finished(finished) = message {
            let micros = (finished.finished_at.micros() - finished.accepted_at.micros()).max(0);
            let took = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            self.metrics
                .inner
                .end_to_end
                .record(took.as_secs_f64(), &[KeyValue::new("status", finished.status.as_str())]);
        }
    }

    /// A message was buried.
    pub fn buried(&self) {
        self.metrics.inner.dead.add(1, &[self.label()]);
    }

    /// Burials are halted, or may go on.
    pub fn halted(&self, is_halted: bool) {
        self.metrics.inner.halted.record(u64::from(is_halted), &[self.label()]);
    }

    /// So many messages wait.
    pub fn lag(&self, messages: u64) {
        self.metrics
            .inner
            .lag
            .record(messages, &[self.label(), KeyValue::new("shard", i64::from(self.shard))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_exported_under_their_contract_names() {
        let metrics = Metrics::new().unwrap();
        metrics.request(Role::Gateway, 202, Duration::from_millis(3));
        metrics.redriven(1);
        metrics.oldest_open_hold(Duration::from_secs(2));
        let stage = metrics.stage(StageName::Risk, 0);
        stage.batch(7, 1);
        stage.judged(Duration::from_millis(1));
        stage.buried();
        stage.halted(true);
        stage.lag(5);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let rows = [
            r#"payment_requests_total{service="gateway",status="202"} 1"#,
            r#"payment_request_duration_seconds_count{service="gateway"} 1"#,
            r#"stage_batch_size_sum{stage="risk"} 7"#,
            r#"stage_duration_seconds_count{stage="risk"} 1"#,
            r#"stage_redeliveries_total{stage="risk"} 1"#,
            r#"payments_dead_total{stage="risk"} 1"#,
            r#"stage_halted{stage="risk"} 1"#,
            r#"stage_lag_messages{shard="0",stage="risk"} 5"#,
            "ledger_oldest_open_hold_seconds 2",
        ];
        for row in rows {
            assert!(text.contains(row), "{row} is not in:\n{text}");
        }
    }
}
