//! What accounts have sent lately: counted by risk, looked at by `risk.score`, rebuilt after a restart.

use domain::velocity::{Velocity, VelocityBook};
use domain::{AccountKey, Currency, Facts, Money, Timestamp};
use runtime::broker::{BrokerError, Streams};
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use store::{StageLedger, StoreError};
use wire::message::PaymentAccepted;
use wire::{Stream, envelope};

/// The counters of one risk process.
pub(crate) struct Velocities {
    state: Mutex<State>,
    window_seconds: u32,
}

struct State {
    book: VelocityBook,
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

/// Why the counters cannot be rebuilt yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    /// The intake cannot be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Velocities {
    /// Empty counters over a sliding window.
    pub(crate) fn new(window_seconds: u32) -> Velocities {
        Velocities {
            state: Mutex::new(State {
                book: VelocityBook::new(window_seconds),
                counted_to: 0,
                skipped: BTreeSet::new(),
            }),
            window_seconds,
        }
    }

    /// Counts what was accepted within the window before `now`: the intake's messages, and the rows of those
    /// it no longer has.
    pub(crate) async fn rebuild<S: Streams, L: StageLedger>(
        &self,
        streams: &S,
        ledger: &L,
        now: Timestamp,
    ) -> Result<(), RebuildError> {
        let since = Timestamp::from_micros(now.micros() - i64::from(self.window_seconds) * 1_000_000);
        // Rows first: a payment that is purged between the two reads has had its row for long.
        let rows = ledger.recent_payments(since).await?;
        let counted_to = streams.bounds(Stream::Accepted).await?.map_or(0, |bounds| bounds.last);
        let accepted = streams.accepted_since(since, counted_to).await?;
        let mut book = VelocityBook::new(self.window_seconds);
        let mut counted: HashSet<(AccountKey, String)> = HashSet::new();
        for row in rows {
            if counted.insert((row.source.clone(), row.payment_id)) {
                book.count(&row.source, row.amount, row.accepted_at);
            }
        }
        for stored in accepted {
            let Ok(PaymentAccepted { payment, .. }) = envelope::decode::<PaymentAccepted>(&stored.payload)
            else {
                continue;
            };
            if counted.insert((payment.source_key(), payment.id.to_string())) {
                book.count(&payment.source_key(), payment.amount, stored.accepted_at());
            }
        }
        tracing::info!(payments = counted.len(), counted_to, "velocities rebuilt");
        *self.lock() = State { book, counted_to, skipped: BTreeSet::new() };
        Ok(())
    }

    /// Counts a payment the first time it is seen, and answers with its account's velocity, the payment
    /// included.
    pub(crate) fn count(&self, facts: &Facts, is_redriven: bool) -> Velocity {
        let Facts { payment, accepted_seq, accepted_at, .. } = facts;
        let mut state = self.lock();
        let account = payment.source_key();
        // A copy that the janitor published again was counted when its first copy came.
        if state.is_first_sight(*accepted_seq) && !is_redriven {
            state.book.count(&account, payment.amount, *accepted_at);
        }
        state.book.observe(&account, payment.amount.currency, *accepted_at)
    }

    /// The velocity that an account would have with one more payment now. Counts nothing.
    pub(crate) fn with_one_more(&self, account: &AccountKey, amount: Money, now: Timestamp) -> Velocity {
        let seen = self.observe(account, amount.currency, now);
        Velocity { count: seen.count + 1, sum_minor: seen.sum_minor.saturating_add(amount.minor) }
    }

    fn observe(&self, account: &AccountKey, currency: Currency, now: Timestamp) -> Velocity {
        self.lock().book.observe(account, currency, now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "velocities_tests.rs"]
mod tests;
