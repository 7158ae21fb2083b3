//! Rows that were found locked a moment ago. Whoever needs one of them is answered at once instead of waiting again, so that
//! a row that stays locked costs the others one `lock_timeout` a second at most. Pure: time is an argument.

use crate::locks::AccountRow;
use domain::{OperationId, PaymentKey, Tenant};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a row is taken to be locked still.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Rows kept in mind at most; of more than that each costs a wait, and nothing else. About 2 MB.
const ROWS_MAX: usize = 10_000;

/// A row that a batch may have to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RowKey {
    /// Of `payments`.
    Payment(PaymentKey),
    /// Of `accounts`.
    Account(AccountRow),
    /// Of `operations`.
    Deposit(Tenant, OperationId),
}

/// The rows, each with the end of its time.
#[derive(Debug, Default)]
pub(crate) struct LockedRows(HashMap<RowKey, Instant>);

impl LockedRows {
    /// These rows were locked at `now`.
    pub(crate) fn remember(&mut self, rows: impl IntoIterator<Item = RowKey>, now: Instant) {
        self.forget_past(now);
        for row in rows {
            if self.0.len() < ROWS_MAX || self.0.contains_key(&row) {
                self.0.insert(row, now + REMEMBERED);
            }
        }
    }

    /// Whether no row is kept in mind at `now`.
    pub(crate) fn is_empty(&mut self, now: Instant) -> bool {
        self.forget_past(now);
        self.0.is_empty()
    }

    /// Whether one of these rows was locked a moment before `now`.
    pub(crate) fn has_any(&self, rows: &[RowKey], now: Instant) -> bool {
        rows.iter().any(|row| self.0.get(row).is_some_and(|until| *until > now))
    }

    fn forget_past(&mut self, now: Instant) {
        self.0.retain(|_, until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::PaymentId;

    fn row(id: usize) -> RowKey {
        RowKey::Payment(PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(format!("P{id}")).unwrap() })
    }

    #[test]
    fn a_row_is_kept_in_mind_for_a_second() {
        let start = Instant::now();
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        let mut rows = LockedRows::default();
        assert!(rows.is_empty(at(0)));
        rows.remember([row(1)], at(0));
        rows.remember([row(2)], at(600));
        for (milliseconds, asked, expected) in [
            (0, vec![row(1)], true),
            (999, vec![row(1)], true),
            (1_000, vec![row(1)], false),
            (1_000, vec![row(1), row(2)], true),
            (1_599, vec![row(2)], true),
            (1_600, vec![row(1), row(2)], false),
            (0, vec![row(3)], false),
            (0, vec![], false),
        ] {
            assert_eq!(rows.has_any(&asked, at(milliseconds)), expected, "{asked:?} at {milliseconds} ms");
        }
        // Found locked again: a second from then on.
        rows.remember([row(2)], at(1_500));
        assert!(rows.has_any(&[row(2)], at(2_499)) && !rows.is_empty(at(2_499)));
        assert!(rows.is_empty(at(2_500)));
        assert_eq!(rows.0.len(), 0, "what is past takes no room");
    }

    #[test]
    fn more_rows_than_fit_are_not_kept() {
        let start = Instant::now();
        let mut rows = LockedRows::default();
        rows.remember((0..ROWS_MAX + 5).map(row), start);
        assert_eq!(rows.0.len(), ROWS_MAX);
        assert!(!rows.has_any(&[row(ROWS_MAX)], start));
        let later = start + REMEMBERED / 2;
        rows.remember([row(0)], later);
        assert!(rows.has_any(&[row(0)], start + REMEMBERED), "one that is there already is renewed");
        rows.remember([row(ROWS_MAX)], start + REMEMBERED);
        assert_eq!(rows.0.len(), 2, "the others have made room");
    }
}
