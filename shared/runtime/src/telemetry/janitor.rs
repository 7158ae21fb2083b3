//! Metrics of the janitor's rounds and of its audit.

use super::{Metrics, Observed, Sample};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundCounter, Counter};
use signals::metric;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the janitor does, and what it finds.
#[derive(Debug, Clone)]
pub struct JanitorMetrics {
    redriven: Arc<BoundCounter<u64>>,
    emitted_again: Arc<BoundCounter<u64>>,
    oldest_open_hold: Observed,
}

impl JanitorMetrics {
    /// Those of the role whose metrics these are. What a round has found of holds is shown for so long: of a
    /// janitor whose rounds fail nothing may be seen that looks well.
    pub fn new(metrics: &Metrics, lasts: Duration) -> JanitorMetrics {
        let counted = |metric| {
            let counter = metrics.counter(metric).bind(&[]);
            counter.add(0);
            Arc::new(counter)
        };
        JanitorMetrics {
            redriven: counted(&metric::PAYMENTS_REDRIVEN),
            emitted_again: counted(&metric::PAYMENTS_EMITTED_AGAIN),
            oldest_open_hold: Observed::new(metrics, &[metric::OLDEST_OPEN_HOLD], lasts),
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
        self.oldest_open_hold.seen(vec![Sample::time(metric::OLDEST_OPEN_HOLD, [], age)]);
    }
}

/// What the audit has counted, and how far it is behind.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    entries: Counter<u64>,
    payments: Counter<u64>,
    volume: Counter<u64>,
    behind: Arc<Mutex<Option<(Instant, Duration)>>>,
}

impl AuditMetrics {
    /// Those of the role whose metrics these are.
    pub fn new(metrics: &Metrics) -> AuditMetrics {
        let entries = metrics.counter(&metric::ENTRIES_AUDITED);
        entries.add(0, &[]);
        let behind: Arc<Mutex<Option<(Instant, Duration)>>> = Arc::default();
        let latest = behind.clone();
        let lag = metrics.meter.f64_observable_gauge(metric::AUDIT_LAG.instrument());
        let lag = lag.with_unit(metric::AUDIT_LAG.unit()).with_description(metric::AUDIT_LAG.help);
        let callback = move |observer: &dyn AsyncInstrument<f64>| {
            if let Some((at, behind)) = *latest.lock().unwrap_or_else(PoisonError::into_inner) {
                observer.observe((behind + at.elapsed()).as_secs_f64(), &[]);
            }
        };
        // The meter keeps what it asks.
        let _ = lag.with_callback(callback).build();
        AuditMetrics {
            behind,
            entries,
            payments: metrics.counter(&metric::PAYMENTS_RECORDED),
            volume: metrics.counter(&metric::VOLUME),
        }
    }

    /// A look has left this much. The lag grows from there until the next look, for as long as none succeeds.
    pub fn behind(&self, behind: Duration) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), behind));
    }

    /// No look can be taken at all: whatever is posted meanwhile passes unseen, so the lag is no small one.
    pub fn stands_still(&self, off_by: Duration) {
        self.behind(off_by + Duration::from_secs(u64::from(signals::rules::AUDIT_BEHIND_SECONDS) + 1));
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

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Role;

    #[tokio::test(start_paused = true)]
    async fn holds_that_no_round_looks_at_are_not_told_of() {
        let metrics = Metrics::new(Role::Janitor, true).unwrap();
        let lasts = Duration::from_secs(30);
        let janitor = JanitorMetrics::new(&metrics, lasts);
        for (since_the_round, expected) in [(Duration::ZERO, true), (lasts, true), (lasts * 2, false)] {
            janitor.oldest_open_hold(Duration::ZERO);
            tokio::time::advance(since_the_round).await;
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            assert_eq!(text.contains("\nledger_oldest_open_hold_seconds 0\n"), expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_grows_while_no_look_succeeds() {
        let metrics = Metrics::new(Role::Janitor, true).unwrap();
        let audit = AuditMetrics::new(&metrics);
        let lag = || {
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            text.lines().find_map(|line| line.strip_prefix("ledger_audit_lag_seconds ").map(str::to_owned))
        };
        assert_eq!(lag(), None, "nobody has looked yet");
        for (behind, passes, expected) in [(2, 0, "2"), (2, 600, "602"), (0, 5, "5")] {
            audit.behind(Duration::from_secs(behind));
            tokio::time::advance(Duration::from_secs(passes)).await;
            assert_eq!(lag().as_deref(), Some(expected));
        }
    }
}
