//! A role's figures as it tells them to gateways: the same that its port shows, of a few metrics.

use super::Metrics;
use crate::clock;
use prometheus::proto::{Metric as Scraped, MetricFamily, MetricType};
use std::collections::HashSet;
use wire::RoleFigures;
use wire::figures::{Figure, Series};

/// More than a role has of what is asked for: the janitor's come by currency and by stage and shard.
const SERIES_MAX: usize = 2_048;

impl Metrics {
    /// What `signals::live` asks for, as it stands now; nothing of it where nothing is recorded. `instance` tells
    /// this player of the role from others.
    pub fn figures(&self, instance: &str) -> RoleFigures {
        let asked: HashSet<&str> = signals::live::asked().map(|metric| metric.name).collect();
        let families = if self.is_recorded { self.registry.gather() } else { Vec::new() };
        let families = families.iter().filter(|family| asked.contains(family.name()));
        RoleFigures {
            role: self.role,
            instance: instance.to_owned(),
            at: clock::now(),
            series: families.flat_map(series).take(SERIES_MAX).collect(),
        }
    }
}

fn series(family: &MetricFamily) -> impl Iterator<Item = Series> {
    family.get_metric().iter().filter_map(|metric| {
        let labels = metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
        let figure = figure(metric, family.get_field_type())?;
        Some(Series { name: family.name().to_owned(), labels: labels.collect(), figure })
    })
}

/// What JSON has no number for is left out.
fn figure(metric: &Scraped, kind: MetricType) -> Option<Figure> {
    let value = match kind {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => return Some(histogram(metric.get_histogram())),
        _ => return None,
    };
    value.is_finite().then_some(Figure::Value(value))
}

fn histogram(scraped: &prometheus::proto::Histogram) -> Figure {
    let bounded = scraped.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let counts =
        bounded.map(|bucket| bucket.cumulative_count()).chain([scraped.get_sample_count()]).collect();
    let sum = scraped.get_sample_sum();
    Figure::Histogram { counts, sum: if sum.is_finite() { sum } else { 0.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{AuditMetrics, Observed};
    use crate::telemetry::{Sample, StageMetrics, observe_process};
    use signals::metric;
    use std::time::Duration;
    use wire::{Role, StageName};

    fn told(figures: &RoleFigures, metric: signals::Metric, value: &str) -> Option<Figure> {
        let mut all = figures.series.iter().filter(|series| series.name == metric.name);
        all.find(|series| series.labels.values().any(|found| found == value))
            .map(|found| found.figure.clone())
    }

    #[tokio::test]
    async fn a_role_tells_what_is_asked_for_and_nothing_else() {
        let metrics = Metrics::new(Role::Risk, true).unwrap();
        observe_process(&metrics, "stages");
        let stage = StageMetrics::new(&metrics, StageName::Risk);
        stage.batch(3, 1);
        stage.halted(true);
        AuditMetrics::new(&metrics).audited(7);
        let observed = Observed::new(&metrics, &[metric::IMBALANCE], Duration::from_secs(30));
        observed.seen(vec![Sample::amount(metric::IMBALANCE, ["USD".to_owned()], -7)]);
        let figures = metrics.figures("one");
        assert_eq!((figures.role, figures.instance.as_str()), (Role::Risk, "one"));
        let sizes = vec![0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        let rows = [
            (metric::STAGE_BATCH_SIZE, "risk", Some(Figure::Histogram { counts: sizes, sum: 3.0 })),
            (metric::STAGE_HALTED, "risk", Some(Figure::Value(1.0))),
            (metric::IMBALANCE, "USD", Some(Figure::Value(-7.0))),
            (metric::ENTRIES_AUDITED, "", None),
            (metric::BUILD_INFO, "stages", None),
        ];
        for (metric, label, expected) in rows {
            assert_eq!(told(&figures, metric, label), expected, "{}", metric.name);
        }
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<RoleFigures>(&text).unwrap(), figures, "{text}");
    }

    #[test]
    fn where_nothing_is_recorded_nothing_is_told() {
        let metrics = Metrics::new(Role::Risk, false).unwrap();
        StageMetrics::new(&metrics, StageName::Risk).batch(3, 1);
        assert_eq!(metrics.figures("one").series, []);
    }

    #[test]
    fn a_role_never_tells_more_than_is_taken() {
        let metrics = Metrics::new(Role::Janitor, true).unwrap();
        let lag = Observed::new(&metrics, &[metric::STAGE_LAG], Duration::from_secs(30));
        let shards = 0..SERIES_MAX as u64 + 10;
        let sample = |shard: u64| Sample::count(metric::STAGE_LAG, ["fx".to_owned(), shard.to_string()], 1);
        lag.seen(shards.map(sample).collect());
        assert!(metrics.figures("one").series.len() <= SERIES_MAX);
    }
}
