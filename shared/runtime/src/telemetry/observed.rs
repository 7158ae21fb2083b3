//! Figures that are looked at from time to time: each look replaces what the one before saw, and what nobody
//! could read anew for a while is not shown any more.

use super::Metrics;
use opentelemetry::{KeyValue, Value};
use signals::{Kind, Metric};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A figure of a metric.
#[derive(Debug, Clone)]
pub struct Sample {
    metric: Metric,
    labels: Vec<KeyValue>,
    value: f64,
}

impl Sample {
    /// A count or a size. `labels` are the values of the metric's labels, in the order of its table.
    pub fn count<const N: usize>(metric: Metric, labels: [String; N], value: u64) -> Sample {
        Sample::new(metric, labels, value as f64)
    }

    /// An amount that may be negative.
    pub fn amount<const N: usize>(metric: Metric, labels: [String; N], value: i64) -> Sample {
        Sample::new(metric, labels, value as f64)
    }

    /// A length of time.
    pub fn time<const N: usize>(metric: Metric, labels: [String; N], value: Duration) -> Sample {
        Sample::new(metric, labels, value.as_secs_f64())
    }

    fn new<const N: usize>(metric: Metric, labels: [String; N], value: f64) -> Sample {
        let labels = metric.labels.iter().zip(labels);
        let labels = labels.map(|(name, value)| KeyValue::new(*name, Value::from(value))).collect();
        Sample { metric, labels, value }
    }
}

/// What the last look saw, as it is shown; clones share it.
#[derive(Debug, Clone)]
pub struct Observed {
    latest: Arc<Mutex<Option<(Instant, Vec<Sample>)>>>,
    lasts: Duration,
}

impl Observed {
    /// Shows figures of these metrics from now on, each for so long after its look; there are none yet.
    pub fn new(metrics: &Metrics, shown: &[Metric], lasts: Duration) -> Observed {
        let observed = Observed { latest: Arc::default(), lasts };
        for metric in shown {
            observed.show(metrics, *metric);
        }
        observed
    }

    /// A look has seen this, and nothing else.
    pub fn seen(&self, samples: Vec<Sample>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), samples));
    }

    fn show(&self, metrics: &Metrics, metric: Metric) {
        let (latest, lasts) = (self.latest.clone(), self.lasts);
        let each = move |tell: &mut dyn FnMut(f64, &[KeyValue])| {
            let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = latest.iter().filter(|(at, _)| at.elapsed() <= lasts).flat_map(|(_, samples)| samples);
            for sample in seen.filter(|sample| sample.metric.name == metric.name) {
                tell(sample.value, &sample.labels);
            }
        };
        // An observable gauge of the SDK keeps whatever it was once told; sums forget what they are not told
        // again. One that may fall is exported as a gauge.
        match metric.kind {
            Kind::Counter => {
                let counter = metrics.meter.f64_observable_counter(metric.instrument());
                counter
                    .with_unit(metric.unit())
                    .with_description(metric.help)
                    .with_callback(move |observer| each(&mut |value, labels| observer.observe(value, labels)))
                    .build();
            }
            Kind::Gauge | Kind::Histogram(_) => {
                let gauge = metrics.meter.f64_observable_up_down_counter(metric.instrument());
                gauge
                    .with_unit(metric.unit())
                    .with_description(metric.help)
                    .with_callback(move |observer| each(&mut |value, labels| observer.observe(value, labels)))
                    .build();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signals::metric;
    use wire::Role;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("# HELP") && !line.contains("target_info"));
        lines.map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_figure_lasts_until_the_next_look_or_its_time_is_over() {
        const LASTS: Duration = Duration::from_secs(30);
        let metrics = Metrics::new(Role::Janitor, true).unwrap();
        let shown = [metric::STAGE_BACKLOG_AGE, metric::WAL_BYTES, metric::IMBALANCE, metric::LOCK_WAITS];
        let observed = Observed::new(&metrics, &shown, LASTS);
        assert_eq!(lines(&metrics), [""; 0], "nothing was seen yet");
        let labels = || ["fx".to_owned(), "0".to_owned()];
        let age = Sample::time(metric::STAGE_BACKLOG_AGE, labels(), Duration::from_millis(1_500));
        let imbalance = Sample::amount(metric::IMBALANCE, ["USD".to_owned()], -7);
        observed.seen(vec![age, imbalance, Sample::count(metric::LOCK_WAITS, [], 3)]);
        let shown = [
            "# TYPE ledger_imbalance_minor gauge",
            r#"ledger_imbalance_minor{currency="USD"} -7"#,
            "# TYPE postgres_lock_waits gauge",
            "postgres_lock_waits 3",
            "# TYPE stage_backlog_age_seconds gauge",
            r#"stage_backlog_age_seconds{shard="0",stage="fx"} 1.5"#,
        ];
        for _ in 0..2 {
            assert_eq!(lines(&metrics), shown, "every scrape sees it");
        }
        observed.seen(vec![Sample::count(metric::WAL_BYTES, [], 10)]);
        let shown = ["# TYPE postgres_wal_bytes_total counter", "postgres_wal_bytes_total 10"];
        assert_eq!(lines(&metrics), shown, "a look replaces what the one before saw");
        tokio::time::advance(LASTS).await;
        assert_eq!(lines(&metrics), shown);
        observed.seen(vec![Sample::count(metric::WAL_BYTES, [], 4)]);
        assert_eq!(lines(&metrics)[1], "postgres_wal_bytes_total 4", "a server that was reset says so");
        tokio::time::advance(LASTS + Duration::from_millis(1)).await;
        assert_eq!(lines(&metrics), [""; 0], "nobody looks any more");
    }
}
