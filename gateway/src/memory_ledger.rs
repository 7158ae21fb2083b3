//! The ledger in memory, as the border sees it: what a test says that it has.

use domain::{AccountKey, PaymentKey, PaymentRecord, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Account, BorderLedger, Known, OpenDeadLetter, StatusRow, StoreError};

/// Clones share what it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLedger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rows: HashMap<PaymentKey, StatusRow>,
    is_silent: bool,
}

impl MemoryLedger {
    pub(crate) fn record(&self, record: PaymentRecord) {
        let key = record.facts.payment.key();
        self.0.lock().unwrap().rows.entry(key).or_default().record = Some(record);
    }

    pub(crate) fn bury(&self, key: PaymentKey, payload: &[u8]) {
        let (stage, reason, at) = ("fx".to_owned(), "a test".to_owned(), Timestamp::from_micros(9));
        let letter = OpenDeadLetter { stage, reason, payload: payload.to_owned(), at };
        self.0.lock().unwrap().rows.entry(key).or_default().dead = Some(letter);
    }

    /// From now on nothing is answered.
    pub(crate) fn fall_silent(&self) {
        self.0.lock().unwrap().is_silent = true;
    }

    /// It answers again.
    pub(crate) fn speak(&self) {
        self.0.lock().unwrap().is_silent = false;
    }

    fn ask<T>(&self, answer: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        let state = self.0.lock().unwrap();
        if state.is_silent { Err(StoreError::Silent(Duration::ZERO)) } else { Ok(answer(&state)) }
    }
}

impl BorderLedger for MemoryLedger {
    async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        let known = |row: &StatusRow| match (&row.record, &row.dead) {
            (Some(record), _) => Some(Known::Recorded(record.facts.fingerprint)),
            (None, letter) => letter.as_ref().map(|letter| Known::Dead(letter.payload.clone())),
        };
        self.ask(|state| {
            keys.iter().filter_map(|key| Some((key.clone(), known(state.rows.get(key)?)?))).collect()
        })
    }

    async fn status(&self, key: &PaymentKey) -> Result<StatusRow, StoreError> {
        self.ask(|state| state.rows.get(key).cloned().unwrap_or_default())
    }

    async fn statuses(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        self.ask(|state| {
            keys.iter().filter_map(|key| Some((key.clone(), state.rows.get(key)?.clone()))).collect()
        })
    }

    async fn account(&self, _: &AccountKey) -> Result<Option<Account>, StoreError> {
        self.ask(|_| None)
    }
}
