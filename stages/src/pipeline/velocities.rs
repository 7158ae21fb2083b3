//! What accounts have sent lately: counted by risk, looked at by `risk.score`, rebuilt after a restart.

use super::rebuild::{Range, Rebuild};
use domain::velocity::{Velocity, VelocityBook};
use domain::{AccountKey, Facts, Money, Timestamp};
use runtime::broker::Streams;
use runtime::config::PipelineConfig;
use runtime::drain::Drain;
use std::collections::BTreeSet;
use std::sync::Mutex;
use store::StageLedger;

/// The counters of one risk process.
pub(crate) struct Velocities {
    state: Mutex<State>,
    window_seconds: u32,
}

struct State {
    book: VelocityBook,
    /// What of the book was counted before this process was given a message; nothing until that is known.
    rebuilt: Option<Range>,
    /// Whether the book keeps the whole window, as the log says.
    is_whole: bool,
    /// Accepted messages up to this sequence are counted, but for those in `skipped`.
    counted_to: u64,
    /// Sequences that were passed over: fetched ahead and let go in an outage, they come later, behind newer
    /// ones.
    skipped: BTreeSet<u64>,
}

/// Passed-over sequences kept in mind at most; a consumer has far fewer deliveries open.
const SKIPPED_MAX: usize = 100_000;

impl State {
    /// Whether a sequence is seen for the first time. The intake's consumer delivers new messages in order,
    /// so what is at or below the newest comes again, unless it was skipped.
    fn is_first_sight(&mut self, seq: u64) -> bool {
        if seq <= self.counted_to {
            return self.skipped.remove(&seq);
        }
        let oldest = seq.saturating_sub(SKIPPED_MAX as u64).max(self.counted_to + 1);
        self.skipped.extend(oldest..seq);
        while self.skipped.len() > SKIPPED_MAX {
            self.skipped.pop_first();
        }
        self.counted_to = seq;
        true
    }
}

impl Velocities {
    /// Empty counters over a sliding window.
    pub(crate) fn new(window_seconds: u32) -> Velocities {
        Velocities {
            state: Mutex::new(State {
                book: VelocityBook::new(window_seconds),
                rebuilt: None,
                is_whole: true,
                counted_to: 0,
                skipped: BTreeSet::new(),
            }),
            window_seconds,
        }
    }

    /// Counts what was accepted within the window before `now`, or before the first message that waits to be
    /// judged; whether that was done before the drain began. Until then the counters are as they were.
    pub(crate) async fn rebuild<S: Streams, L: StageLedger>(
        &self,
        streams: &S,
        ledger: &L,
        pipeline: &PipelineConfig,
        now: Timestamp,
        drain: &Drain,
    ) -> bool {
        let rebuild = Rebuild::new(self.window_seconds, now);
        tokio::select! {
            biased;
            () = drain.begun() => false,
            (book, range) = rebuild.run(streams, ledger, pipeline) => {
                let (rebuilt, counted_to, skipped) = (Some(range), range.counted_to, BTreeSet::new());
                *self.lock() = State { book, rebuilt, is_whole: true, counted_to, skipped };
                true
            }
        }
    }

    /// Whether they have been rebuilt: nothing is judged before.
    pub(crate) fn are_rebuilt(&self) -> bool {
        self.lock().rebuilt.is_some()
    }

    /// Counts a payment the first time it is seen, and answers with its account's velocity, the payment
    /// included.
    pub(crate) fn count(&self, facts: &Facts, is_redriven: bool) -> Velocity {
        let Facts { payment, accepted_seq, accepted_at, .. } = facts;
        let mut state = self.lock();
        let account = payment.source_key();
        // A copy that is driven again was counted when its first copy came, if that came to this process.
        let is_counted = is_redriven && state.rebuilt.is_none_or(|range| *accepted_seq > range.redriven_to);
        if state.is_first_sight(*accepted_seq) && !is_counted {
            state.book.count(&account, payment.amount, *accepted_at);
        }
        let velocity = state.book.observe(&account, payment.amount.currency, *accepted_at);
        let is_whole = state.book.is_whole();
        let was_whole = std::mem::replace(&mut state.is_whole, is_whole);
        drop(state);
        match (was_whole, is_whole) {
            (true, false) => tracing::warn!("more accounts send than risk keeps: its window is shorter"),
            (false, true) => tracing::info!("risk's window is whole again"),
            _ => {}
        }
        velocity
    }

    /// The velocity that an account would have with one more payment now; nothing before it is known. Counts
    /// nothing.
    pub(crate) fn with_one_more(
        &self,
        account: &AccountKey,
        amount: Money,
        now: Timestamp,
    ) -> Option<Velocity> {
        let state = self.lock();
        state.rebuilt?;
        let seen = state.book.observe(account, amount.currency, now);
        Some(Velocity { count: seen.count + 1, sum_minor: seen.sum_minor.saturating_add(amount.minor) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "velocities_tests.rs"]
mod tests;
