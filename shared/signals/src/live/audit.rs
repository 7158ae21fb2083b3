//! What janitors say of the money, and when it can be believed.

use super::reading::Reading;
use super::tally::rounded;
use crate::rules::money::AUDIT_BEHIND_SECONDS;
use std::collections::BTreeMap;
use wire::StageName;
use wire::live::{LiveCurrency, LiveMoney};

/// All janitors together, by the worst that any of them says.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    /// Whether any janitor answers; else this is what was heard last.
    pub(super) is_there: bool,
    pub(super) lags: [Option<u64>; StageName::ALL.len()],
    pub(super) dead_letters: Option<u64>,
    violations: Option<u64>,
    audit_lag_s: Option<f64>,
    imbalances: BTreeMap<String, i64>,
}

impl Audit {
    /// What those who are up say; where none is, what was heard `before`.
    pub(super) fn of<'r>(janitors: impl Iterator<Item = &'r Reading>, before: &Audit) -> Audit {
        let all = janitors.fold(Audit::default(), Audit::with);
        if !all.is_there {
            return Audit { is_there: false, ..before.clone() };
        }
        // Right after its start a janitor has looked at nothing yet: the currencies are still there.
        let imbalances = match all.violations {
            None => before.imbalances.clone(),
            Some(_) => all.imbalances.clone(),
        };
        Audit { imbalances, ..all }
    }

    fn with(mut self, reading: &Reading) -> Audit {
        self.is_there = true;
        for (all, stage) in self.lags.iter_mut().zip(&reading.stages) {
            *all = (*all).max(stage.lag);
        }
        self.dead_letters = self.dead_letters.max(reading.dead_letters);
        self.violations = self.violations.max(reading.violations);
        let lag = self.audit_lag_s.into_iter().chain(reading.audit_lag_s).reduce(f64::max);
        self.audit_lag_s = lag;
        for (currency, minor) in &reading.imbalances {
            let worst = self.imbalances.entry(currency.clone()).or_default();
            if minor.unsigned_abs() > worst.unsigned_abs() {
                *worst = *minor;
            }
        }
        self
    }

    /// Nothing is vouched for that nobody looks at now.
    pub(super) fn money(&self) -> LiveMoney {
        let is_current = self.audit_lag_s.is_some_and(|lag| lag <= f64::from(AUDIT_BEHIND_SECONDS));
        let is_audited = self.is_there && is_current && self.violations.is_some();
        let currencies = self.imbalances.iter().map(|(currency, minor)| LiveCurrency {
            currency: currency.clone(),
            imbalance_minor: *minor,
            is_conserved: is_audited && self.violations == Some(0) && *minor == 0,
        });
        LiveMoney {
            is_audited,
            audit_lag_s: self.audit_lag_s.filter(|_| self.is_there).map(rounded),
            violations: self.violations.filter(|_| self.is_there),
            currencies: currencies.collect(),
        }
    }
}
