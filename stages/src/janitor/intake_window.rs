//! The part of the intake that the janitor has read: the payments in it, and what is known of each. Pure.

use super::Now;
use domain::Timestamp;
use runtime::broker::{AcceptedHead, Bounds};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use wire::Subject;

/// One accepted payment.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) token: String,
    pub(crate) accepted_at: Timestamp,
    pub(crate) redrives: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No trace in the ledger when it was last looked for; look again then.
    Untraced { next_look: Instant },
    /// A row: it may be purged then.
    Recorded { purge_at: Instant },
    /// An open dead letter: it may be purged then, and is looked for again until it is, since its letter may
    /// be resolved.
    Dead { purge_at: Instant, next_look: Instant },
}

/// The payments, by the sequences of their newest copies.
#[derive(Debug, Default)]
pub(crate) struct IntakeWindow {
    entries: BTreeMap<u64, Entry>,
    newest: HashMap<String, u64>,
    next_seq: u64,
}

/// When a copy may be looked at and driven again: after `first`, doubled with each re-drive, up to `max`.
pub(crate) fn patience(redrives: u32, first: Duration, max: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(redrives)).min(max)
}

impl IntakeWindow {
    /// The first sequence that has not been read.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The newest sequence that is held in memory.
    pub(crate) fn newest_seq(&self) -> Option<u64> {
        self.entries.last_key_value().map(|(seq, _)| *seq)
    }

    /// Whether an intake of these bounds cannot be the one that was read: it ends before what was read, or
    /// has something before that which was read and is left.
    pub(crate) fn is_of_another(&self, bounds: &Bounds) -> bool {
        let first = self.entries.first_key_value().map_or(self.next_seq, |(seq, _)| *seq);
        bounds.last + 1 < self.next_seq || (bounds.messages > 0 && bounds.first < first)
    }

    /// Entries held in memory.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes in newly read heads. A payment's newer copy replaces the older one, as it did in the stream. How
    /// old a copy is two clocks say together, ours and the server's: it waits its patience at most, whatever
    /// they show.
    pub(crate) fn read(&mut self, heads: Vec<AcceptedHead>, now: Now, first: Duration, max: Duration) {
        for head in heads {
            self.next_seq = self.next_seq.max(head.seq + 1);
            let token = Subject::payment_token(&head.subject).to_owned();
            if let Some(older) = self.newest.insert(token.clone(), head.seq) {
                self.entries.remove(&older);
            }
            let patience = patience(head.redrives, first, max);
            let next_look = now.steady + patience.saturating_sub(now.since(head.stored_at));
            let state = State::Untraced { next_look };
            let entry = Entry { token, accepted_at: head.accepted_at, redrives: head.redrives, state };
            self.entries.insert(head.seq, entry);
        }
    }

    /// Payments to look for in the ledger now: due, without a row so far, and processed by risk (`floor`), so
    /// that their absence would mean something. At most `max`, and those first that have been due for longest:
    /// who comes to nothing again and again keeps nobody else from being looked at.
    pub(crate) fn due(&self, now: Instant, floor: u64, max: usize) -> Vec<u64> {
        let due_since = |entry: &Entry| match entry.state {
            State::Untraced { next_look } | State::Dead { next_look, .. } if next_look <= now => {
                Some(next_look)
            }
            _ => None,
        };
        let known = self.entries.range(..=floor);
        let mut due: Vec<(Instant, u64)> =
            known.filter_map(|(seq, entry)| Some((due_since(entry)?, *seq))).collect();
        due.sort_unstable();
        due.into_iter().take(max).map(|(_, seq)| seq).collect()
    }

    /// The entry of a sequence.
    pub(crate) fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// The payment has a row that will be old enough after `wait`.
    pub(crate) fn recorded(&mut self, seq: u64, now: Instant, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.state = State::Recorded { purge_at: now + wait };
        }
    }

    /// The payment has an open dead letter that will be old enough after `wait`; look again after `patience`.
    pub(crate) fn dead(&mut self, seq: u64, now: Instant, wait: Duration, patience: Duration) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.state = State::Dead { purge_at: now + wait, next_look: now + patience };
        }
    }

    /// Nothing to do about this payment before `wait` is over.
    pub(crate) fn look_again(&mut self, seq: u64, now: Instant, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.state = State::Untraced { next_look: now + wait };
        }
    }

    /// A newer copy was published in this one's place; the next reading finds it.
    pub(crate) fn replaced(&mut self, seq: u64) {
        if let Some(entry) = self.entries.remove(&seq) {
            self.newest.remove(&entry.token);
        }
    }

    /// The longest prefix whose payments may all be purged, as far as is known here: its sequences, at most
    /// `max`.
    pub(crate) fn purgeable(&self, now: Instant, max: usize) -> Vec<u64> {
        let purgeable = |entry: &Entry| match entry.state {
            State::Recorded { purge_at } | State::Dead { purge_at, .. } => purge_at <= now,
            State::Untraced { .. } => false,
        };
        self.entries.iter().take_while(|(_, entry)| purgeable(entry)).map(|(seq, _)| *seq).take(max).collect()
    }

    /// The stream was purged below this sequence.
    pub(crate) fn purged(&mut self, below: u64) {
        let kept = self.entries.split_off(&below);
        for (_, entry) in std::mem::replace(&mut self.entries, kept) {
            self.newest.remove(&entry.token);
        }
    }

    /// Forgets everything: the stream is another one than it was.
    pub(crate) fn clear(&mut self) {
        *self = IntakeWindow::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janitor::tests::{at, now};

    const FIRST: Duration = Duration::from_secs(30);
    const MAX: Duration = Duration::from_secs(600);

    fn instant(second: i64) -> Instant {
        now(second).steady
    }

    fn head(seq: u64, id: &str, stored: i64, redrives: u32) -> AcceptedHead {
        AcceptedHead {
            seq,
            subject: format!("pay.accepted.0.{id}"),
            stored_at: at(stored),
            accepted_at: at(0),
            redrives,
        }
    }

    #[test]
    fn patience_doubles_up_to_its_maximum() {
        let waits: Vec<u64> = (0..7).map(|redrives| patience(redrives, FIRST, MAX).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(patience(u32::MAX, FIRST, MAX), MAX);
    }

    #[test]
    fn only_a_whole_prefix_is_purged() {
        let mut window = IntakeWindow::default();
        window.read(vec![head(1, "A", 0, 0), head(2, "B", 0, 0), head(5, "C", 0, 0)], now(30), FIRST, MAX);
        for (seq, wait) in [(1, 10), (2, 20), (5, 10)] {
            window.recorded(seq, instant(30), Duration::from_secs(wait));
        }
        let rows: [(i64, usize, &[u64]); 5] =
            [(35, 9, &[]), (45, 9, &[1]), (46, 9, &[]), (55, 1, &[2]), (55, 9, &[5])];
        for (second, max, expected) in rows {
            let purgeable = window.purgeable(instant(second), max);
            assert_eq!(purgeable, expected, "at {second} s, at most {max}");
            if let Some(last) = purgeable.last() {
                window.purged(last + 1);
            }
        }
        assert_eq!((window.len(), window.next_seq()), (0, 6));
    }

    #[test]
    fn payments_are_due_once_risk_has_had_them_and_their_patience_is_over() {
        let mut window = IntakeWindow::default();
        window.read(
            vec![head(1, "A", 0, 0), head(2, "B", 10, 0), head(3, "C", 0, 1), head(4, "D", 0, 0)],
            now(10),
            FIRST,
            MAX,
        );
        let rows: [(i64, u64, &[u64]); 5] =
            [(29, 4, &[]), (30, 4, &[1, 4]), (40, 4, &[1, 4, 2]), (60, 4, &[1, 4, 2, 3]), (60, 2, &[1, 2])];
        for (second, floor, expected) in rows {
            assert_eq!(window.due(instant(second), floor, 100), expected, "at {second} s with floor {floor}");
        }
        // A re-driven copy takes the place of the old one and has more patience.
        window.read(vec![head(9, "A", 61, 1)], now(61), FIRST, MAX);
        assert_eq!(window.due(instant(61), 9, 100), [4, 2, 3], "who has waited longest comes first");
        assert_eq!(window.due(instant(121), 9, 100), [4, 2, 3, 9]);
    }

    #[test]
    fn a_copy_waits_its_patience_at_most_whatever_the_clocks_show() {
        const HOUR: i64 = 3_600;
        // When a copy was stored by the server's clock, read at second 100 by ours; when it is due.
        for (stored, expected) in [(70, 100), (90, 120), (100, 130), (100 + HOUR, 130), (100 - HOUR, 100)] {
            let mut window = IntakeWindow::default();
            window.read(vec![head(1, "A", stored, 0)], now(100), FIRST, MAX);
            let is_due = |second| !window.due(instant(second), 1, 1).is_empty();
            assert_eq!((is_due(expected - 1), is_due(expected)), (false, true), "stored at {stored} s");
        }
    }
}
