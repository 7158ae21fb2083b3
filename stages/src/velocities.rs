//! What accounts have sent lately: counted by risk, looked at by `risk.score`, rebuilt after a restart.

use domain::velocity::{Velocity, VelocityBook};
use domain::{AccountKey, Currency, Money, Payment, Timestamp};
use runtime::broker::{Broker, BrokerError};
use std::collections::HashSet;
use std::sync::Mutex;
use store::{Store, StoreError};
use wire::message::PaymentAccepted;
use wire::{Stream, envelope};

/// The counters of one risk process.
pub struct Velocities {
    state: Mutex<State>,
    window_seconds: u32,
}

struct State {
    book: VelocityBook,
    /// Accepted messages up to this sequence are counted. The intake's consumer delivers new messages in order, so
    /// whatever comes at or below it comes again.
    counted_to: u64,
}

/// Why the counters cannot be rebuilt yet.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The intake cannot be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Velocities {
    /// Empty counters over a sliding window.
    pub fn new(window_seconds: u32) -> Velocities {
        Velocities { state: Mutex::new(State { book: VelocityBook::new(window_seconds), counted_to: 0 }), window_seconds }
    }

    /// Counts what was accepted within the window before `now`: the intake's messages, and the rows of those it no longer has.
    pub async fn rebuild(&self, broker: &Broker, store: &Store, now: Timestamp) -> Result<(), RebuildError> {
        let since = Timestamp::from_micros(now.micros() - i64::from(self.window_seconds) * 1_000_000);
        // Rows first: a payment that is purged between the two reads has had its row for long.
        let rows = store.recent_payments(since).await?;
        let counted_to = broker.bounds(Stream::Accepted).await?.map_or(0, |(_, last, _)| last);
        let accepted = broker.accepted_since(since, counted_to).await?;
        let mut book = VelocityBook::new(self.window_seconds);
        let mut counted: HashSet<(AccountKey, String)> = HashSet::new();
        for row in rows {
            if counted.insert((row.source.clone(), row.payment_id)) {
                book.count(row.source, row.amount, row.accepted_at);
            }
        }
        for stored in accepted {
            let Ok(PaymentAccepted { payment, .. }) = envelope::decode::<PaymentAccepted>(&stored.payload) else {
                continue;
            };
            if counted.insert((payment.source_key(), payment.id.to_string())) {
                book.count(payment.source_key(), payment.amount, stored.accepted_at());
            }
        }
        tracing::info!(payments = counted.len(), counted_to, "velocities rebuilt");
        *self.lock() = State { book, counted_to };
        Ok(())
    }

    /// Counts a payment the first time it is seen, and answers with its account's velocity, the payment included.
    pub fn count(&self, payment: &Payment, seq: u64, accepted_at: Timestamp, is_redriven: bool) -> Velocity {
        let mut state = self.lock();
        let account = payment.source_key();
        if seq > state.counted_to {
            state.counted_to = seq;
            // A copy that the janitor published again was counted when its first copy came.
            if !is_redriven {
                state.book.count(account.clone(), payment.amount, accepted_at);
            }
        }
        state.book.observe(&account, payment.amount.currency, accepted_at)
    }

    /// The velocity that an account would have with one more payment now. Counts nothing.
    pub fn with_one_more(&self, account: &AccountKey, amount: Money, now: Timestamp) -> Velocity {
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
