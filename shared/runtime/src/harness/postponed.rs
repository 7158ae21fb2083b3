//! Payments that wait for something of their own, while all others go on. Pure: the clock is handed in.
//!
//! A delivery that waits holds the consumer's acknowledgement floor, and trimming, purging and re-driving all go by the
//! floor. So the wait has two bounds, in number and in time; what is beyond them is let go, and the janitor brings it back.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The first wait; it doubles up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A payment that has waited so long is let go. It is brought back like a lost one, whose patience is as long.
const LET_GO_AFTER: Duration = Duration::from_secs(30);

/// What becomes of a delivery that must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Deliver it again after this.
    Again(Duration),
    /// Acknowledge it.
    LetGo,
}

/// The deliveries of one consumer that wait now, by their sequence.
#[derive(Debug)]
pub(super) struct Postponed {
    waiting: HashMap<u64, Waiting>,
    at_once_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    due: Instant,
    times: u32,
}

impl Postponed {
    /// A quarter of the deliveries that a consumer may have open may wait at once.
    pub(super) fn new(ack_pending_max: i64) -> Postponed {
        Postponed { waiting: HashMap::new(), at_once_max: usize::try_from(ack_pending_max / 4).unwrap_or(0).max(1) }
    }

    /// This delivery must wait, for the first time or once more.
    pub(super) fn wait(&mut self, seq: u64, now: Instant) -> Wait {
        let waiting = match self.waiting.get(&seq) {
            Some(before) if now - before.since >= LET_GO_AFTER => {
                self.waiting.remove(&seq);
                return Wait::LetGo;
            }
            Some(before) => Waiting { times: before.times + 1, ..*before },
            None if self.waiting.len() >= self.at_once_max => return Wait::LetGo,
            None => Waiting { since: now, due: now, times: 0 },
        };
        let again = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(waiting.times)).min(WAIT_MAX);
        self.waiting.insert(seq, Waiting { due: now + again, ..waiting });
        Wait::Again(again)
    }

    /// Whether this delivery has waited: then it is not its fault that it has been delivered so often.
    pub(super) fn has_waited(&self, seq: u64) -> bool {
        self.waiting.contains_key(&seq)
    }

    /// This delivery waits no more.
    pub(super) fn ended(&mut self, seq: u64) {
        self.waiting.remove(&seq);
    }

    /// Forgets what was due long ago: another process has had it since, or its stream has vanished.
    pub(super) fn prune(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| now <= waiting.due + LET_GO_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(milliseconds: u64) -> Wait {
        Wait::Again(Duration::from_millis(milliseconds))
    }

    #[test]
    fn waits_double_to_their_maximum_and_end_after_half_a_minute() {
        let start = Instant::now();
        let mut postponed = Postponed::new(4_096);
        let mut at = start;
        let mut seen = Vec::new();
        loop {
            let wait = postponed.wait(7, at);
            seen.push(wait);
            match wait {
                Wait::Again(after) => at += after,
                Wait::LetGo => break,
            }
        }
        let expected = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000].map(again);
        assert_eq!(seen[..seen.len() - 1], expected);
        assert!(!postponed.has_waited(7), "what was let go is forgotten");
        assert_eq!(postponed.wait(7, at), again(100), "and begins anew when it comes back");
    }

    #[test]
    fn only_a_quarter_waits_at_once() {
        let now = Instant::now();
        let mut postponed = Postponed::new(8);
        let rows = [(1, again(100)), (2, again(100)), (3, Wait::LetGo), (1, again(200)), (3, Wait::LetGo)];
        for (seq, expected) in rows {
            assert_eq!(postponed.wait(seq, now), expected, "{seq}");
        }
        postponed.ended(1);
        assert_eq!(postponed.wait(3, now), again(100), "an end makes room");
        postponed.prune(now + Duration::from_secs(31));
        assert!(!postponed.has_waited(2) && !postponed.has_waited(3), "so does what never came back");
    }
}
