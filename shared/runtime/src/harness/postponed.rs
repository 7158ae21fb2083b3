//! Payments that wait for something of their own, while all others go on. Pure: the clock is handed in.
//!
//! A delivery that waits holds the consumer's acknowledgement floor, and trimming, purging and re-driving all
//! go by the floor: what is acknowledged behind it stays in the stream. So the wait is bounded in number, in
//! time, and by what has been taken from the stream meanwhile; what is beyond that is let go, and the janitor
//! brings it back.

use crate::config::PipelineConfig;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The first wait; it doubles up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A payment that has waited so long is let go. It is brought back like a lost one, whose patience is as
/// long.
const LET_GO_AFTER: Duration = Duration::from_secs(30);

/// What becomes of a delivery that must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Deliver it again after this.
    Again(Duration),
    /// It is to be acknowledged, and so is not delivered again.
    LetGo,
}

/// How a delivery that has waited is judged when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// With the others: it waits for something of its own, and its many deliveries are no sign of a fault.
    Others,
    /// Alone: it met a fault that would take the others with it.
    Alone,
}

/// The deliveries that this process has had wait, by their sequence.
#[derive(Debug)]
pub(super) struct Postponed {
    waiting: HashMap<u64, Waiting>,
    bounds: Bounds,
    taken: Taken,
}

/// What one input stream lets wait.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    at_once: usize,
    taken: Taken,
}

/// Messages and bytes that were taken from the stream.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    messages: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    due: Instant,
    times: u32,
    taken_before: Taken,
    company: Company,
}

impl Postponed {
    /// A quarter of the deliveries that a consumer may have open, for as long as a quarter of a derived
    /// stream passes.
    pub(super) fn new(pipeline: &PipelineConfig) -> Postponed {
        let quarter = |bound: i64| u64::try_from(bound / 4).unwrap_or(0).max(1);
        let bounds = Bounds {
            at_once: usize::try_from(quarter(pipeline.ack_pending_max)).unwrap_or(usize::MAX),
            taken: Taken {
                messages: quarter(pipeline.stream_messages_max),
                bytes: quarter(pipeline.stream_bytes_max),
            },
        };
        Postponed { waiting: HashMap::new(), bounds, taken: Taken::default() }
    }

    /// So many messages of so many bytes together are taken from the stream.
    pub(super) fn take(&mut self, messages: usize, bytes: usize) {
        self.taken =
            Taken { messages: self.taken.messages + messages as u64, bytes: self.taken.bytes + bytes as u64 };
    }

    /// This delivery must wait, for the first time or once more.
    pub(super) fn wait(&mut self, seq: u64, company: Company, now: Instant) -> Wait {
        let waiting = match self.waiting.get(&seq) {
            Some(before) if now - before.since >= LET_GO_AFTER || self.has_passed(before) => {
                self.waiting.remove(&seq);
                return Wait::LetGo;
            }
            Some(before) => Waiting { times: before.times + 1, company, ..*before },
            None if self.waiting.len() >= self.bounds.at_once => return Wait::LetGo,
            None => Waiting { since: now, due: now, times: 0, taken_before: self.taken, company },
        };
        let again = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(waiting.times)).min(WAIT_MAX);
        self.waiting.insert(seq, Waiting { due: now + again, ..waiting });
        Wait::Again(again)
    }

    /// Whether so much has been taken since that the stream might fill up behind this delivery.
    fn has_passed(&self, waiting: &Waiting) -> bool {
        let (before, bound) = (waiting.taken_before, self.bounds.taken);
        self.taken.messages - before.messages >= bound.messages
            || self.taken.bytes - before.bytes >= bound.bytes
    }

    /// How this delivery is to be judged, if it has waited.
    pub(super) fn company(&self, seq: u64) -> Option<Company> {
        self.waiting.get(&seq).map(|waiting| waiting.company)
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

    fn postponed(ack_pending_max: i64) -> Postponed {
        let pipeline = PipelineConfig {
            ack_pending_max,
            stream_messages_max: 4_000,
            stream_bytes_max: 400_000,
            ..PipelineConfig::default()
        };
        Postponed::new(&pipeline)
    }

    #[test]
    fn waits_double_to_their_maximum_and_end_after_half_a_minute() {
        let start = Instant::now();
        let mut postponed = postponed(4_096);
        let mut at = start;
        let mut seen = Vec::new();
        loop {
            let wait = postponed.wait(7, Company::Others, at);
            seen.push(wait);
            match wait {
                Wait::Again(after) => at += after,
                Wait::LetGo => break,
            }
        }
        let expected = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000].map(again);
        assert_eq!(seen[..seen.len() - 1], expected);
        assert_eq!(postponed.company(7), None, "what was let go is forgotten");
        assert_eq!(postponed.wait(7, Company::Alone, at), again(100), "and begins anew when it comes back");
        assert_eq!(postponed.company(7), Some(Company::Alone));
    }

    #[test]
    fn only_a_quarter_waits_at_once() {
        let now = Instant::now();
        let mut postponed = postponed(8);
        let rows = [(1, again(100)), (2, again(100)), (3, Wait::LetGo), (1, again(200)), (3, Wait::LetGo)];
        for (seq, expected) in rows {
            assert_eq!(postponed.wait(seq, Company::Others, now), expected, "{seq}");
        }
        postponed.ended(1);
        assert_eq!(postponed.wait(3, Company::Others, now), again(100), "an end makes room");
        postponed.prune(now + Duration::from_secs(31));
        assert_eq!(
            (postponed.company(2), postponed.company(3)),
            (None, None),
            "so does what never came back"
        );
    }

    #[test]
    fn nothing_waits_until_the_stream_is_full_behind_it() {
        let now = Instant::now();
        // Messages and bytes that are taken while it waits; whether it may wait on.
        for (messages, bytes, waits) in [(999, 99_999, true), (1_000, 0, false), (1, 100_000, false)] {
            let mut postponed = postponed(4_096);
            postponed.take(5_000, 1_000_000);
            assert_eq!(postponed.wait(1, Company::Others, now), again(100));
            postponed.take(messages, bytes);
            assert_eq!(
                postponed.wait(1, Company::Others, now),
                if waits { again(200) } else { Wait::LetGo },
                "{messages} of {bytes}"
            );
        }
    }
}
