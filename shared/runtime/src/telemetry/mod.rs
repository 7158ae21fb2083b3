//! Logs, metrics and traces. Metrics are named in `signals`; each kind of them has a struct here, made by whoever
//! records it, so that a port shows its own role's series and no others.

mod access_lines;
mod admission;
mod figures;
mod janitor;
mod logs;
mod observed;
mod process;
mod publishing;
mod requests;
mod scraped;
mod stages;
mod traces;

pub use access_lines::LineBudget;
pub(crate) use access_lines::{FailedRequest, Failing};
pub use admission::{AdmissionMetrics, Shed};
pub use janitor::{AuditMetrics, JanitorMetrics};
pub use logs::start_logs;
pub(crate) use logs::{log_filter, set_log_filter};
pub use observed::{Observed, Sample};
pub use process::observe_process;
pub(crate) use publishing::Form;
pub use publishing::PublishMetrics;
pub use requests::{Asked, RequestMetrics};
pub use scraped::{Connections, observe_connections, observe_rates};
pub use stages::StageMetrics;
pub(crate) use stages::Telling;
pub use traces::{Consumed, LedgerOperation, Outcome, Span, Traces};
#[cfg(test)]
pub(crate) use traces::{KeptSpan, KeptSpans};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use signals::{Kind, Metric};
use std::sync::Arc;
use std::time::Duration;
use wire::Role;

/// What a port shows in the place of metrics where none are recorded.
const NOT_RECORDED: &str = "# nothing is recorded: telemetry.enabled is false\n";

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

/// The metrics of one role; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    role: Role,
    is_recorded: bool,
    registry: Registry,
    meter: Meter,
    // The instruments die with their provider.
    _provider: Arc<SdkMeterProvider>,
}

impl Metrics {
    /// A role's metrics, with none in them yet. Where nothing is recorded, every instrument does nothing.
    pub fn new(role: Role, is_recorded: bool) -> Result<Metrics, TelemetryError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build();
        let exporter = exporter.map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let mut provider = SdkMeterProvider::builder();
        if is_recorded {
            provider = provider.with_reader(exporter);
        }
        let provider = Arc::new(provider.build());
        Ok(Metrics { role, is_recorded, registry, meter: provider.meter("kilat"), _provider: provider })
    }

    /// Whose metrics these are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The metrics in the Prometheus text format.
    pub fn render(&self) -> Result<Vec<u8>, TelemetryError> {
        if !self.is_recorded {
            return Ok(NOT_RECORDED.as_bytes().to_vec());
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        Ok(text)
    }

    fn counter(&self, metric: &Metric) -> Counter<u64> {
        self.meter.u64_counter(metric.instrument()).with_description(metric.help).build()
    }

    fn gauge(&self, metric: &Metric) -> Gauge<u64> {
        self.meter.u64_gauge(metric.instrument()).with_description(metric.help).build()
    }

    /// A gauge whose values, each with its labels, are shown when they are asked for.
    fn observed(
        &self,
        metric: &Metric,
        read: impl Fn(&mut dyn FnMut(u64, &[KeyValue])) + Send + Sync + 'static,
    ) {
        // An observable gauge of the SDK shows for ever what it was once told; a sum forgets what it is not
        // told again, and one that may fall is exported as a gauge.
        let gauge = self.meter.i64_observable_up_down_counter(metric.instrument()).with_unit(metric.unit());
        let callback = move |observer: &dyn AsyncInstrument<i64>| {
            read(&mut |value, labels| observer.observe(i64::try_from(value).unwrap_or(i64::MAX), labels));
        };
        // The meter keeps what it asks.
        let _ = gauge.with_description(metric.help).with_callback(callback).build();
    }

    /// A counter of seconds that is read when it is asked for.
    fn observed_seconds(&self, metric: &Metric, read: impl Fn() -> Duration + Send + Sync + 'static) {
        let counter = self.meter.f64_observable_counter(metric.instrument()).with_unit(metric.unit());
        let callback = move |observer: &dyn AsyncInstrument<f64>| {
            observer.observe(read().as_secs_f64(), &[]);
        };
        let _ = counter.with_description(metric.help).with_callback(callback).build();
    }

    fn durations(&self, metric: &Metric) -> Histogram<f64> {
        let histogram = self.meter.f64_histogram(metric.instrument()).with_unit(metric.unit());
        histogram.with_description(metric.help).with_boundaries(bounds(metric)).build()
    }

    fn sizes(&self, metric: &Metric) -> Histogram<u64> {
        let histogram = self.meter.u64_histogram(metric.instrument());
        histogram.with_description(metric.help).with_boundaries(bounds(metric)).build()
    }
}

fn bounds(metric: &Metric) -> Vec<f64> {
    match metric.kind {
        Kind::Histogram(bounds) => bounds.to_vec(),
        Kind::Counter | Kind::Gauge => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::StageName;

    #[test]
    fn metrics_are_exported_under_their_contract_names() {
        let metrics = Metrics::new(Role::Risk, true).unwrap();
        let janitor = JanitorMetrics::new(&metrics, Duration::from_secs(30));
        janitor.redriven(1);
        janitor.oldest_open_hold(Duration::from_secs(2));
        AuditMetrics::new(&metrics).ended("USD", "failed", 2, 30);
        let stage = StageMetrics::new(&metrics, StageName::Risk);
        stage.batch(7, 1);
        stage.judged(Duration::from_millis(1));
        stage.buried();
        stage.halted(true);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let rows = [
            r#"stage_batch_size_sum{stage="risk"} 7"#,
            r#"stage_duration_seconds_count{stage="risk"} 1"#,
            r#"stage_redeliveries_total{stage="risk"} 1"#,
            r#"payments_dead_total{stage="risk"} 1"#,
            r#"stage_halted{stage="risk"} 1"#,
            r#"payments_rejected_total{code="risk_rejected",stage="risk"} 0"#,
            "ledger_oldest_open_hold_seconds 2",
            "payments_redriven_total 1",
            "payments_emitted_again_total 0",
            "ledger_entries_audited_total 0",
            r#"ledger_payments_total{currency="USD",outcome="failed"} 2"#,
            r#"ledger_volume_minor_total{currency="USD",outcome="failed"} 30"#,
        ];
        for row in rows {
            assert!(text.contains(row), "{row} is not in:\n{text}");
        }
    }
}
