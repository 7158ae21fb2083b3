//! Purges the intake up to the first payment that the ledger does not have for good.
//!
//! What the window remembers of the ledger may be a minute old, and the ledger another one since: restored to
//! an older state, or a dead letter was resolved. So it is asked again right before the purge, and only what
//! it still has goes. The intake may be another one, too, and have other payments on the sequences that were
//! read: so it is asked for the last of what would go.

use super::{Janitor, LOOK_MAX, RoundError};
use domain::PaymentKey;
use runtime::broker::{Stored, Streams};
use std::time::Duration;
use store::{JanitorLedger, Trace};
use tokio::time::Instant;
use wire::{Stream, Subject};

/// A purge rewrites the intake's index: it waits for this many messages or for [`PURGE_EVERY`].
const PURGE_MESSAGES: usize = 10_000;
const PURGE_EVERY: Duration = Duration::from_secs(5);

/// Payments that one purge asks the ledger for: several times what is accepted in a round, so that a backlog
/// goes, and little enough that no round is long for it.
const PURGE_MAX: usize = 10 * LOOK_MAX;

impl<S: Streams, L: JanitorLedger> Janitor<S, L> {
    pub(super) async fn purge(&mut self, now: Instant) -> Result<(), RoundError> {
        let rested = self.purged_at.is_none_or(|purged_at| now - purged_at >= PURGE_EVERY);
        let every = Duration::from_millis(self.config.purge_after_ms) < PURGE_EVERY;
        if !(rested || every || self.window.len() >= PURGE_MESSAGES) {
            return Ok(());
        }
        let prefix = self.window.purgeable(now, PURGE_MAX);
        let mut count = 0;
        for part in prefix.chunks(LOOK_MAX) {
            let still = self.still_purgeable(part, now).await?;
            count += still;
            if still < part.len() {
                break;
            }
        }
        if let Some(last) = count.checked_sub(1).and_then(|place| prefix.get(place)) {
            if !self.is_as_read(*last).await? {
                tracing::warn!(last, "the intake is another one than was read: it is read anew, not purged");
                self.window.clear();
                return Ok(());
            }
            let below = last + 1;
            self.streams.purge_below(Stream::Accepted, below).await?;
            self.window.purged(below);
            self.purged_at = Some(now);
            tracing::debug!(count, below, "purged the intake");
        }
        Ok(())
    }

    /// Whether the intake has the very message that was read with this sequence. Then it has what was read
    /// before it, too: a copy that was accepted on the same sequence anew was accepted later.
    pub(super) async fn is_as_read(&self, seq: u64) -> Result<bool, RoundError> {
        let Some(entry) = self.window.entry(seq) else { return Ok(false) };
        let stored = self.streams.last(Stream::Accepted, &Subject::accepted(&entry.token)).await?;
        let is_it = |stored: Stored| stored.seq == seq && stored.accepted_at() == entry.accepted_at;
        Ok(stored.is_some_and(is_it))
    }

    /// How many of these payments, from the first one on, the ledger still has for good. What else it says is
    /// kept in mind of all of them.
    async fn still_purgeable(&mut self, seqs: &[u64], now: Instant) -> Result<usize, RoundError> {
        let (mut still, mut gone) = (seqs.len(), 0);
        for (place, (seq, trace)) in self.traces(seqs).await?.into_iter().enumerate() {
            let may_go = match trace {
                Some(Trace::Recorded { wait } | Trace::Dead { wait }) => wait.is_zero(),
                // What names no payment has no row, and no letter once that is resolved.
                None => {
                    self.window.entry(seq).is_some_and(|entry| PaymentKey::from_token(&entry.token).is_err())
                }
            };
            if !may_go {
                still = still.min(place);
                gone += u64::from(trace.is_none());
                self.note(seq, trace, now);
            }
        }
        if gone > 0 {
            tracing::warn!(gone, "payments are not purged, since the ledger has them no more");
        }
        Ok(still)
    }
}
