//! What is not recorded when it happens but read when someone looks: at each scrape.

use super::Metrics;
use domain::fx::SourceFigures;
use opentelemetry::KeyValue;
use signals::metric;

/// A role's connections to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// In use.
    pub busy: u64,
    /// Open and free.
    pub idle: u64,
    /// That may be open.
    pub max: u64,
}

/// Shows a role's connections to the ledger.
pub fn observe_connections(
    metrics: &Metrics,
    read: impl Fn() -> Connections + Clone + Send + Sync + 'static,
) {
    let service = KeyValue::new("service", metrics.role().as_str());
    let (labels, read_max) = ([service.clone()], read.clone());
    metrics.observed(&metric::POOL_CONNECTIONS_MAX, move |show| show(read_max().max, &labels));
    let [busy, idle] = ["busy", "idle"].map(|state| [service.clone(), KeyValue::new("state", state)]);
    metrics.observed(&metric::POOL_CONNECTIONS, move |show| {
        let connections = read();
        show(connections.busy, &busy);
        show(connections.idle, &idle);
    });
}

/// Shows how many rates of each source the book has, and how old the oldest is.
pub fn observe_rates(
    metrics: &Metrics,
    read: impl Fn() -> Vec<SourceFigures> + Clone + Send + Sync + 'static,
) {
    let read_ages = read.clone();
    metrics.observed(&metric::RATES, move |show| {
        for figures in read() {
            show(figures.count as u64, &[KeyValue::new("source", figures.source.as_str())]);
        }
    });
    metrics.observed(&metric::RATE_AGE, move |show| {
        for figures in read_ages() {
            // Of no rates there is no oldest.
            if let Some(seconds) = figures.age_seconds {
                let seconds = u64::try_from(seconds).unwrap_or(0);
                show(seconds, &[KeyValue::new("source", figures.source.as_str())]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::fx::RateSource;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use wire::Role;

    #[tokio::test]
    async fn figures_are_those_of_the_scrape() {
        let metrics = Metrics::new(Role::Fx, true).unwrap();
        let busy = Arc::new(AtomicU64::new(0));
        let now = busy.clone();
        observe_connections(&metrics, move || Connections {
            busy: now.load(Ordering::Relaxed),
            idle: 1,
            max: 9,
        });
        observe_rates(&metrics, || {
            vec![
                SourceFigures { source: RateSource::Seed, count: 30, age_seconds: Some(7) },
                SourceFigures { source: RateSource::Live, count: 0, age_seconds: None },
            ]
        });
        crate::telemetry::observe_process(&metrics, "stages");
        for count in [3, 5] {
            busy.store(count, Ordering::Relaxed);
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let version = env!("CARGO_PKG_VERSION");
            for line in [
                format!(r#"ledger_pool_connections{{service="fx",state="busy"}} {count}"#),
                r#"ledger_pool_connections{service="fx",state="idle"} 1"#.to_owned(),
                r#"ledger_pool_connections_max{service="fx"} 9"#.to_owned(),
                r#"fx_book_rates{source="live"} 0"#.to_owned(),
                r#"fx_rate_age_seconds{source="seed"} 7"#.to_owned(),
                format!(r#"kilat_build_info{{program="stages",version="{version}"}} 1"#),
                "tokio_workers 1".to_owned(),
                "tokio_global_queue_depth 0".to_owned(),
            ] {
                assert!(text.contains(&format!("{line}\n")), "{line} is not in:\n{text}");
            }
            for start in ["tokio_busy_seconds_total ", "tokio_alive_tasks ", "process_cpu_seconds_total "] {
                assert!(text.lines().any(|line| line.starts_with(start)), "{start} is not in:\n{text}");
            }
            assert!(!text.contains(r#"fx_rate_age_seconds{source="live"}"#), "{text}");
        }
    }

    #[test]
    fn an_age_is_shown_as_long_as_there_is_one() {
        let metrics = Metrics::new(Role::Fx, true).unwrap();
        let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
        let now = shown.clone();
        observe_rates(&metrics, move || now.lock().unwrap().clone());
        let live = |age_seconds| SourceFigures { source: RateSource::Live, count: 1, age_seconds };
        for (figures, expected) in [
            (vec![live(Some(9))], Some("9")),
            (vec![live(Some(3))], Some("3")),
            (vec![live(None)], None),
            (vec![live(Some(1))], Some("1")),
            (Vec::new(), None),
        ] {
            *shown.lock().unwrap() = figures;
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let row = r#"fx_rate_age_seconds{source="live"} "#;
            assert_eq!(text.lines().find_map(|line| line.strip_prefix(row)), expected, "{text}");
        }
    }
}
