//! Rows that were found locked a moment ago. Whoever needs one of them is answered at once instead of waiting
//! again, and right after a wait in vain nobody waits: rows that stay locked cost the others one
//! `lock_timeout` a second. Pure: time is an argument.

use crate::locks::AccountRow;
use crate::posting::OperationKind;
use domain::{OperationId, PaymentKey, Tenant};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a row is taken to be locked still when it was found locked for the first time, and at most. A row
/// that somebody holds for long costs the others one wait a second; one that a slow commit of our own held is
/// asked about again soon.
const REMEMBERED_FIRST: Duration = Duration::from_millis(200);
const REMEMBERED_MAX: Duration = Duration::from_secs(1);

/// How long a key is taken to be locked still that another transaction inserts. To find it among a batch
/// costs many waits.
const KEY_REMEMBERED: Duration = Duration::from_secs(10);

/// A row that is found locked again within this time has been locked all the while.
const HISTORY: Duration = Duration::from_secs(2);

/// For so long after a wait that was in vain nobody waits again.
const NO_WAITING: Duration = Duration::from_secs(1);

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
    Operation(OperationKind, Tenant, OperationId),
}

/// The rows, each with the end of its time and how long that was.
#[derive(Debug, Default)]
pub(crate) struct LockedRows {
    rows: HashMap<RowKey, (Instant, Duration)>,
    waited_in_vain_at: Option<Instant>,
}

impl LockedRows {
    /// A lock was waited for in vain.
    pub(crate) fn waited_in_vain(&mut self, now: Instant) {
        self.waited_in_vain_at = Some(now);
    }

    /// Whether a wait was in vain so lately that the next would be, too: then locked rows are skipped at
    /// once.
    pub(crate) fn is_waiting_pointless(&self, now: Instant) -> bool {
        self.waited_in_vain_at.is_some_and(|at| now < at + NO_WAITING)
    }

    /// These rows stayed locked for as long as they were waited for, until `now`.
    pub(crate) fn remember(&mut self, rows: impl IntoIterator<Item = RowKey>, now: Instant) {
        self.forget_past(now);
        for row in rows {
            let again = |(_, before): &(Instant, Duration)| before.saturating_mul(2).min(REMEMBERED_MAX);
            let time = self.rows.get(&row).map_or(REMEMBERED_FIRST, again);
            self.insert(row, now, time);
        }
    }

    /// Another transaction was inserting this key, until `now`.
    pub(crate) fn remember_key(&mut self, key: RowKey, now: Instant) {
        self.forget_past(now);
        self.insert(key, now, KEY_REMEMBERED);
    }

    fn insert(&mut self, row: RowKey, now: Instant, time: Duration) {
        if self.rows.len() < ROWS_MAX || self.rows.contains_key(&row) {
            self.rows.insert(row, (now + time, time));
        }
    }

    /// Whether no row is kept in mind at `now`.
    pub(crate) fn is_empty(&mut self, now: Instant) -> bool {
        self.forget_past(now);
        self.rows.is_empty()
    }

    /// Whether one of these rows is taken to be locked at `now`.
    pub(crate) fn has_any(&self, rows: &[RowKey], now: Instant) -> bool {
        rows.iter().any(|row| self.rows.get(row).is_some_and(|(until, _)| *until > now))
    }

    fn forget_past(&mut self, now: Instant) {
        self.rows.retain(|_, (until, _)| *until + HISTORY > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::PaymentId;

    fn row(id: usize) -> RowKey {
        RowKey::Payment(PaymentKey {
            tenant: Tenant::default(),
            id: PaymentId::parse(format!("P{id}")).unwrap(),
        })
    }

    #[test]
    fn a_row_is_kept_in_mind_the_longer_the_longer_it_is_locked() {
        let start = Instant::now();
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        let mut rows = LockedRows::default();
        assert!(rows.is_empty(at(0)));
        // When the row is found locked, and until when it is taken to be.
        for (found, until) in
            [(0, 200), (400, 800), (1_000, 1_800), (2_000, 3_000), (4_000, 5_000), (7_001, 7_201)]
        {
            rows.remember([row(1)], at(found));
            assert!(rows.has_any(&[row(2), row(1)], at(until - 1)), "found at {found} ms");
            assert!(!rows.has_any(&[row(2), row(1)], at(until)), "found at {found} ms");
        }
        assert!(!rows.has_any(&[], at(7_100)) && !rows.is_empty(at(7_100)));
        rows.remember_key(row(3), at(8_000));
        assert!(rows.has_any(&[row(3)], at(17_999)) && !rows.has_any(&[row(3)], at(18_000)));
        assert!(rows.is_empty(at(20_001)), "what is past takes no room");
    }

    #[test]
    fn nobody_waits_right_after_a_wait_in_vain() {
        let start = Instant::now();
        let mut rows = LockedRows::default();
        assert!(!rows.is_waiting_pointless(start));
        rows.waited_in_vain(start);
        assert!(
            rows.is_waiting_pointless(start + NO_WAITING / 2)
                && !rows.is_waiting_pointless(start + NO_WAITING)
        );
    }

    #[test]
    fn more_rows_than_fit_are_not_kept() {
        let start = Instant::now();
        let mut rows = LockedRows::default();
        rows.remember((0..ROWS_MAX + 5).map(row), start);
        assert_eq!(rows.rows.len(), ROWS_MAX);
        assert!(!rows.has_any(&[row(ROWS_MAX)], start));
        let later = start + REMEMBERED_FIRST / 2;
        rows.remember([row(0)], later);
        assert!(rows.has_any(&[row(0)], start + REMEMBERED_FIRST), "one that is there already is renewed");
        rows.remember([row(ROWS_MAX)], start + REMEMBERED_FIRST + HISTORY);
        assert_eq!(rows.rows.len(), 2, "the others have made room");
    }
}
