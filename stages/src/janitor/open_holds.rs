//! The janitor's memory of holds that are late: which there are, and when to look at each again. Pure.

use crate::janitor::intake_window::patience;
use domain::{PaymentKey, Timestamp};
use std::collections::HashMap;
use std::time::Duration;
use store::OpenHold;
use tokio::time::Instant;

/// Of the holds that a round looks at, so many in one may be dead: each is looked at often, so that it goes on
/// soon after its letter is resolved, and however many there are they keep nobody else from being looked at.
const DEAD_SHARE: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    held_at: Timestamp,
    next_look: Instant,
    /// How often its look was put off in a row, each time for twice as long.
    delays: u32,
    /// It waits for someone to resolve its dead letter.
    is_dead: bool,
    /// The ledger remembers it too.
    has_line: bool,
}

/// The holds that were open when their rows were old enough, until they are known to have ended.
#[derive(Debug)]
pub(crate) struct OpenHolds {
    holds: HashMap<PaymentKey, Hold>,
    /// The shortest and the longest pause between two looks at one hold.
    patience: (Duration, Duration),
}

impl OpenHolds {
    /// No holds so far.
    pub(crate) fn new(patience_first: Duration, patience_max: Duration) -> OpenHolds {
        OpenHolds { holds: HashMap::new(), patience: (patience_first, patience_max) }
    }

    /// Holds in memory.
    pub(crate) fn len(&self) -> usize {
        self.holds.len()
    }

    /// Takes in holds, to be looked at now. One that is known keeps its patience.
    pub(crate) fn remember(&mut self, holds: Vec<OpenHold>, have_lines: bool, now: Instant) {
        for OpenHold { key, held_at } in holds {
            let fresh = Hold { held_at, next_look: now, delays: 0, is_dead: false, has_line: false };
            self.holds.entry(key).or_insert(fresh).has_line |= have_lines;
        }
    }

    /// The holds to look at now, those that have waited longest first, at most `max`. Of the dead ones there
    /// are as many as may be at most, and the others have what those leave.
    pub(crate) fn due(&self, now: Instant, max: usize) -> Vec<PaymentKey> {
        let due = |is_dead: bool, max: usize| {
            let due = move |hold: &Hold| hold.is_dead == is_dead && hold.next_look <= now;
            let holds = self.holds.iter().filter(move |(_, hold)| due(hold));
            first(holds.map(|(key, hold)| (hold.next_look, key)), max)
        };
        let dead = due(true, max / DEAD_SHARE);
        let mut holds = due(false, max - dead.len());
        holds.extend(dead);
        holds
    }

    /// Its message waits, or cannot be published yet, or it is dead: that is no failure, and the next look
    /// comes soon.
    pub(crate) fn wait(&mut self, key: &PaymentKey, now: Instant) {
        if let Some(hold) = self.holds.get_mut(key) {
            hold.next_look = now + self.patience.0;
        }
    }

    /// It was emitted again, or could not be: the next look comes later from time to time. Answers how often
    /// that was so before.
    pub(crate) fn put_off(&mut self, key: &PaymentKey, now: Instant) -> u32 {
        let Some(hold) = self.holds.get_mut(key) else { return 0 };
        let before = hold.delays;
        hold.next_look = now + patience(before, self.patience.0, self.patience.1);
        hold.delays = before.saturating_add(1);
        before
    }

    /// It has an open dead letter, or has none any more. Whichever is new starts with fresh patience.
    pub(crate) fn set_dead(&mut self, key: &PaymentKey, is_dead: bool) {
        if let Some(hold) = self.holds.get_mut(key)
            && hold.is_dead != is_dead
        {
            (hold.is_dead, hold.delays) = (is_dead, 0);
        }
    }

    /// Those of these holds that the ledger remembers too.
    pub(crate) fn with_lines(&self, keys: &[PaymentKey]) -> Vec<PaymentKey> {
        keys.iter().filter(|key| self.holds.get(*key).is_some_and(|hold| hold.has_line)).cloned().collect()
    }

    /// These holds have ended.
    pub(crate) fn forget(&mut self, keys: &[PaymentKey]) {
        for key in keys {
            self.holds.remove(key);
        }
    }

    /// The oldest holds that wait for nobody, at most `max`.
    pub(crate) fn oldest(&self, max: usize) -> Vec<PaymentKey> {
        first(self.alive().map(|(key, hold)| (hold.held_at, key)), max)
    }

    /// Since when the oldest of them is held.
    pub(crate) fn oldest_held_at(&self) -> Option<Timestamp> {
        self.alive().map(|(_, hold)| hold.held_at).min()
    }

    fn alive(&self) -> impl Iterator<Item = (&PaymentKey, &Hold)> {
        self.holds.iter().filter(|(_, hold)| !hold.is_dead)
    }
}

/// The keys of the earliest instants, in order, at most `max`.
fn first<'k, T: Ord>(keys: impl Iterator<Item = (T, &'k PaymentKey)>, max: usize) -> Vec<PaymentKey> {
    let mut keys: Vec<(T, &PaymentKey)> = keys.collect();
    keys.sort_unstable();
    keys.into_iter().take(max).map(|(_, key)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janitor::tests::{at, now};

    fn instant(second: i64) -> Instant {
        now(second).steady
    }

    fn key(id: &str) -> PaymentKey {
        PaymentKey::from_token(id).unwrap()
    }

    /// Holds of these ids, made at these seconds, found at second 100.
    fn holds(made: &[(&str, i64)]) -> OpenHolds {
        let mut holds = OpenHolds::new(Duration::from_secs(30), Duration::from_secs(600));
        let found = made.iter().map(|(id, second)| OpenHold { key: key(id), held_at: at(*second) });
        holds.remember(found.collect(), false, instant(100));
        holds
    }

    fn ids(keys: &[PaymentKey]) -> Vec<&str> {
        keys.iter().map(|key| key.id.as_str()).collect()
    }

    #[test]
    fn each_hold_is_due_once_per_patience() {
        let mut holds = holds(&[("A", 10), ("B", 20), ("C", 30)]);
        assert_eq!(ids(&holds.due(instant(99), 10)), [""; 0]);
        assert_eq!(ids(&holds.due(instant(100), 10)), ["A", "B", "C"]);
        assert_eq!(ids(&holds.due(instant(100), 2)), ["A", "B"], "no more than are looked at in one round");
        holds.wait(&key("A"), instant(100));
        holds.put_off(&key("B"), instant(101));
        let rows: [(i64, &[&str]); 3] = [(129, &["C"]), (130, &["C", "A"]), (131, &["C", "A", "B"])];
        for (now, expected) in rows {
            assert_eq!(
                ids(&holds.due(instant(now), 10)),
                expected,
                "at {now} s: whoever waits longest comes first"
            );
        }
        // Found again by the other scan: known, and no sooner due.
        holds.remember(vec![OpenHold { key: key("B"), held_at: at(20) }], true, instant(110));
        assert_eq!(ids(&holds.due(instant(130), 10)), ["C", "A"]);
        assert_eq!(ids(&holds.with_lines(&["A", "B", "X"].map(key))), ["B"]);
    }

    #[test]
    fn patience_doubles_while_nothing_changes() {
        let mut holds = holds(&[("A", 10)]);
        // The second of the look, what is found, and when the next look comes.
        let rows = [
            (100, Some(false), 130),
            (130, Some(false), 190),
            // Its message waits: soon again, and nothing is counted.
            (190, None, 220),
            (220, Some(false), 340),
            // Buried: looked at as often, however long that lasts, and with patience anew once the letter is
            // resolved.
            (340, Some(true), 370),
            (370, Some(true), 400),
            (400, Some(true), 430),
            (430, Some(false), 460),
            (460, Some(false), 520),
        ];
        for (now, is_dead, expected) in rows {
            match is_dead {
                None => holds.wait(&key("A"), instant(now)),
                Some(is_dead) => {
                    holds.set_dead(&key("A"), is_dead);
                    match is_dead {
                        true => holds.wait(&key("A"), instant(now)),
                        false => _ = holds.put_off(&key("A"), instant(now)),
                    }
                }
            }
            assert!(holds.due(instant(expected - 1), DEAD_SHARE).is_empty(), "before {expected} s");
            assert_eq!(ids(&holds.due(instant(expected), DEAD_SHARE)), ["A"], "at {expected} s");
        }
        for _ in 0..100 {
            holds.put_off(&key("A"), instant(1_000));
        }
        assert_eq!(ids(&holds.due(instant(1_600), 1)), ["A"]);
    }

    #[test]
    fn the_dead_crowd_nobody_out() {
        let names: Vec<String> = (0..30).map(|number| format!("H{number:02}")).collect();
        let made: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
        // How many are dead, how many are due at most, and how many of each are looked at.
        let rows = [
            (0, 10, (10, 0)),
            (30, 10, (0, 2)),
            (28, 10, (2, 2)),
            (29, 30, (1, 6)),
            (15, 10, (8, 2)),
            (1, 40, (29, 1)),
        ];
        for (count, max, expected) in rows {
            let mut holds = holds(&made);
            let dead: Vec<PaymentKey> = names.iter().take(count).map(|name| key(name)).collect();
            dead.iter().for_each(|key| holds.set_dead(key, true));
            let due = holds.due(instant(100), max);
            let looked_at = due.iter().filter(|key| dead.contains(key)).count();
            assert_eq!((due.len() - looked_at, looked_at), expected, "{count} of 30 are dead, {max} are due");
        }
    }

    #[test]
    fn the_oldest_is_open_and_not_buried() {
        let mut holds = holds(&[("A", 30), ("B", 10), ("C", 20)]);
        assert_eq!((ids(&holds.oldest(2)), holds.oldest_held_at()), (vec!["B", "C"], Some(at(10))));
        holds.set_dead(&key("B"), true);
        assert_eq!((ids(&holds.oldest(9)), holds.oldest_held_at()), (vec!["C", "A"], Some(at(20))));
        holds.forget(&["C", "A", "X"].map(key));
        assert_eq!((ids(&holds.oldest(9)), holds.oldest_held_at(), holds.len()), (vec![], None, 1));
        holds.set_dead(&key("B"), false);
        assert_eq!(holds.oldest_held_at(), Some(at(10)));
    }
}
