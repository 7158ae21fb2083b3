//! The incremental audit of the ledger: how it is paced, and what it tells.
//!
//! A look takes at most [`STEP_MAX`] of time and [`ENTRIES_MAX`] entries, and rests four times as long as it
//! took: an audit that is a day behind takes a fifth of one core of the database and no more, and is slower
//! while others need the core.

use super::{Outage, bounded};
use domain::Currency;
use runtime::drain::Drain;
use runtime::process::chain;
use runtime::telemetry::{AuditMetrics, Observed, Sample};
use signals::{Metric, metric};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{AuditLook, AuditWindow, Audited, FINDINGS_WRITTEN_MAX, Outcome, Store, StoreError};
use tokio::time::Instant;

/// What a look tells beside its counters.
pub(super) const SHOWN: &[Metric] = &[metric::INVARIANT_VIOLATIONS, metric::IMBALANCE, metric::AUDIT_LAG];

/// The longest window of one look, and the shortest.
const STEP_MAX: Duration = Duration::from_secs(60);
const STEP_MIN: Duration = Duration::from_millis(1);

/// Entries of one look: some two seconds of a pipeline at its best, and a few megabytes of the server's
/// memory.
const ENTRIES_MAX: u32 = 50_000;

/// A look rests so many times as long as it took, and no longer than this: what it tells must not grow old.
const RESTS: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(20);

/// The code of ISO 4217 for no currency: an entry whose currency is none must not make a label of its own.
const NO_CURRENCY: &str = "XXX";

/// The audit, how far it reaches at once, and the currencies that it has met.
pub(super) struct Audit {
    ledger: Store,
    age: Duration,
    every: Duration,
    step: Duration,
    metrics: AuditMetrics,
    observed: Observed,
    /// What each currency does not sum to zero by: zeros, but for open findings.
    imbalance: BTreeMap<&'static str, i64>,
    has_begun: bool,
}

impl Audit {
    /// An audit of what was posted at least `age` ago, every so often.
    pub(super) fn new(
        ledger: Store,
        age: Duration,
        every: Duration,
        metrics: AuditMetrics,
        observed: Observed,
    ) -> Audit {
        let imbalance = BTreeMap::new();
        Audit { ledger, age, every, step: STEP_MAX, metrics, observed, imbalance, has_begun: false }
    }

    /// Audits until the drain begins.
    pub(super) async fn run(mut self, drain: Drain) {
        let mut outage = Outage::none("ledger");
        let mut rest = Duration::ZERO;
        while drain.sleep(rest).await {
            let began = Instant::now();
            let Some(behind) = bounded(&drain, self.look()).await else { return };
            outage.tell(&behind);
            // A look that failed may have cost as much as any, and been too large to end.
            rest = began.elapsed().saturating_mul(RESTS).min(REST_MAX);
            match behind {
                Ok(behind) if !behind.is_zero() => {}
                Ok(_) => rest = rest.max(self.every),
                Err(_) => {
                    self.reach_less();
                    rest = rest.max(self.every);
                }
            }
        }
    }

    /// One look, and how much is left for the next.
    async fn look(&mut self) -> Result<Duration, String> {
        self.audit().await.map_err(|error| chain(&error))
    }

    async fn audit(&mut self) -> Result<Duration, StoreError> {
        if !self.has_begun {
            let currencies = self.ledger.funded_currencies().await?;
            self.meet(currencies.iter().map(String::as_str));
            self.has_begun = true;
        }
        // It waits behind a vacuum of the table; until then a look reads more pages than it needs.
        if let Err(error) = self.ledger.summarize_entries().await {
            tracing::debug!(error = chain(&error), "the newest entries are not summarized");
        }
        let AuditLook { behind, window } = self.ledger.audit(self.step, self.age, ENTRIES_MAX).await?;
        match window {
            AuditWindow::Audited(audited) => self.count(&audited),
            AuditWindow::TooMany if self.step == STEP_MIN => {
                tracing::error!(
                    entries = ENTRIES_MAX,
                    "the audit stands still: its shortest window holds more"
                );
            }
            AuditWindow::TooMany => self.reach_less(),
            AuditWindow::Elsewhere => {}
        }
        self.tell(behind).await?;
        Ok(behind)
    }

    fn reach_less(&mut self) {
        self.step = (self.step / 2).max(STEP_MIN);
    }

    fn count(&mut self, audited: &Audited) {
        if audited.entries < u64::from(ENTRIES_MAX) / 4 {
            self.step = (self.step * 2).min(STEP_MAX);
        }
        self.metrics.audited(audited.entries);
        for volume in &audited.volumes {
            let currency = label(&volume.currency);
            self.imbalance.entry(currency).or_insert(0);
            self.metrics.ended(currency, volume.outcome.as_str(), volume.payments, volume.minor);
        }
        if audited.found > 0 {
            tracing::error!(
                violations = audited.found,
                written_max = FINDINGS_WRITTEN_MAX,
                to = %audited.to,
                "the ledger breaks its rules: see audit_findings"
            );
        }
    }

    async fn tell(&mut self, behind: Duration) -> Result<(), StoreError> {
        let open = self.ledger.open_findings().await?;
        self.imbalance.values_mut().for_each(|minor| *minor = 0);
        for findings in &open {
            let minor = self.imbalance.entry(label(&findings.currency)).or_insert(0);
            *minor = minor.saturating_add(findings.minor);
        }
        let count = open.iter().map(|findings| findings.count).sum();
        let mut samples = vec![
            Sample::count(metric::INVARIANT_VIOLATIONS, [], count),
            Sample::time(metric::AUDIT_LAG, [], behind),
        ];
        let each = self.imbalance.iter();
        samples.extend(
            each.map(|(currency, minor)| Sample::amount(metric::IMBALANCE, [(*currency).to_owned()], *minor)),
        );
        self.observed.seen(samples);
        Ok(())
    }

    /// Shows these currencies from now on.
    fn meet<'c>(&mut self, currencies: impl Iterator<Item = &'c str>) {
        for currency in currencies.map(label) {
            self.imbalance.entry(currency).or_insert(0);
            for outcome in Outcome::ALL {
                self.metrics.ended(currency, outcome.as_str(), 0, 0);
            }
        }
    }
}

/// The currency as a label: of the list of currencies, or none.
fn label(currency: &str) -> &'static str {
    Currency::parse(currency).map_or(NO_CURRENCY, Currency::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_currency_or_none() {
        for (currency, expected) in
            [("USD", "USD"), ("KWD", "KWD"), ("XXX", "XXX"), ("usd", "XXX"), ("XAU", "XXX"), ("", "XXX")]
        {
            assert_eq!(label(currency), expected, "{currency}");
        }
    }
}
