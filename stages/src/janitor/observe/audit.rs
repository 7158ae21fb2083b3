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
pub(super) const SHOWN: &[Metric] = &[metric::INVARIANT_VIOLATIONS, metric::IMBALANCE];

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

/// The audit, how far it reaches at once, the currencies that it has met, and what it has told.
pub(super) struct Audit {
    ledger: Store,
    age: Duration,
    every: Duration,
    step: Duration,
    metrics: AuditMetrics,
    observed: Observed,
    /// What each currency does not sum to zero by: zeros, but for open findings.
    imbalance: BTreeMap<&'static str, i64>,
    stands_still: Told,
    is_summary_late: Told,
    has_findings: Told,
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
        Audit {
            ledger,
            age,
            every,
            step: STEP_MAX,
            metrics,
            observed,
            imbalance: BTreeMap::new(),
            stands_still: Told::default(),
            is_summary_late: Told::default(),
            has_findings: Told::default(),
        }
    }

    /// Audits until the drain begins.
    pub(super) async fn run(mut self, drain: Drain) {
        let mut outage = Outage::none("ledger");
        let mut rest = Duration::ZERO;
        while drain.sleep(rest).await {
            let began = Instant::now();
            let Some(looked) = bounded(&drain, self.look()).await else { return };
            // A look that failed may have cost as much as any, and been too large to end.
            rest = began.elapsed().saturating_mul(RESTS).min(REST_MAX);
            match looked {
                Ok(true) => {}
                Ok(false) => rest = rest.max(self.every),
                Err(_) => {
                    self.reach_less();
                    rest = rest.max(self.every);
                }
            }
            // What was found before is asked by itself: it must not vanish because entries cannot be read.
            let Some(shown) = bounded(&drain, self.show()).await else { return };
            outage.tell(&looked.and(shown));
        }
    }

    /// One look, and whether there is more to look at now.
    async fn look(&mut self) -> Result<bool, String> {
        self.audit().await.map_err(|error| chain(&error))
    }

    async fn audit(&mut self) -> Result<bool, StoreError> {
        // Money comes in long before it is old enough to be audited: its counters are zero until then.
        let currencies = self.ledger.funded_currencies().await?;
        self.meet(currencies.iter().map(String::as_str));
        // It waits behind a vacuum of the table; until then a look reads more pages than it needs.
        let summarized = self.ledger.summarize_entries().await;
        if self.is_summary_late.begins(summarized.is_err())
            && let Err(error) = summarized
        {
            tracing::warn!(error = chain(&error), "the newest entries are not summarized: looks are dearer");
        }
        let AuditLook { behind, window } = self.ledger.audit(self.step, self.age, ENTRIES_MAX).await?;
        match window {
            AuditWindow::Ahead => self.metrics.stands_still(behind),
            _ => self.metrics.behind(behind),
        }
        let is_too_large = window == AuditWindow::TooMany && self.step == STEP_MIN;
        if self.stands_still.begins(is_too_large || window == AuditWindow::Ahead) {
            match is_too_large {
                true => tracing::error!(
                    entries = ENTRIES_MAX,
                    "the audit stands still: its shortest window holds more"
                ),
                false => tracing::error!(
                    ahead = ?behind,
                    "the audit stands still: its watermark is ahead of the server's clock"
                ),
            }
        }
        match window {
            AuditWindow::Audited(audited) => {
                self.count(&audited);
                Ok(!behind.is_zero())
            }
            AuditWindow::TooMany => {
                self.reach_less();
                Ok(!is_too_large)
            }
            AuditWindow::Elsewhere | AuditWindow::Ahead => Ok(false),
        }
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
            self.meet([volume.currency.as_str()].into_iter());
            let currency = label(&volume.currency);
            self.metrics.ended(currency, volume.outcome.as_str(), volume.payments, volume.minor);
        }
        // Told again when all that was found is resolved.
        if audited.found > 0 && self.has_findings.begins(true) {
            tracing::error!(
                violations = audited.found,
                written_max = FINDINGS_WRITTEN_MAX,
                to = %audited.to,
                "the ledger breaks its rules: see audit_findings"
            );
        }
    }

    /// Shows what is open.
    async fn show(&mut self) -> Result<bool, String> {
        let open = self.ledger.open_findings().await.map_err(|error| chain(&error))?;
        self.imbalance.values_mut().for_each(|minor| *minor = 0);
        for findings in &open {
            let minor = self.imbalance.entry(label(&findings.currency)).or_insert(0);
            *minor = minor.saturating_add(findings.minor);
        }
        let count = open.iter().map(|findings| findings.count).sum();
        if count == 0 {
            self.has_findings.begins(false);
        }
        let mut samples = vec![Sample::count(metric::INVARIANT_VIOLATIONS, [], count)];
        let each = self.imbalance.iter();
        samples.extend(
            each.map(|(currency, minor)| Sample::amount(metric::IMBALANCE, [(*currency).to_owned()], *minor)),
        );
        self.observed.seen(samples);
        Ok(true)
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

/// Whether something that lasts has been told.
#[derive(Debug, Default)]
struct Told(bool);

impl Told {
    /// Whether it is so now and was not before.
    fn begins(&mut self, is_so: bool) -> bool {
        let was_so = std::mem::replace(&mut self.0, is_so);
        is_so && !was_so
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
    fn what_lasts_is_told_once_each_time() {
        let mut told = Told::default();
        for (is_so, expected) in [(false, false), (true, true), (true, false), (false, false), (true, true)] {
            assert_eq!(told.begins(is_so), expected);
        }
    }

    #[test]
    fn a_label_is_a_currency_or_none() {
        for (currency, expected) in
            [("USD", "USD"), ("KWD", "KWD"), ("XXX", "XXX"), ("usd", "XXX"), ("XAU", "XXX"), ("", "XXX")]
        {
            assert_eq!(label(currency), expected, "{currency}");
        }
    }
}
