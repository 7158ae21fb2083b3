//! The ledger in memory, as far as the janitor asks it.

use domain::facts::{Quote, RecordState, Reserved, Screening};
use domain::{
    AccountId, Currency, Facts, Money, Payment, PaymentId, PaymentKey, PaymentRecord, Tenant, Timestamp,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{HoldPage, JanitorLedger, OpenHold, StoreError, Trace};

/// How much later the late scan reads a row than the young one.
const COMMIT_DELAY: Duration = Duration::from_secs(60);

/// Rows, open dead letters, and lines of open holds; clones share them.
#[derive(Clone, Default)]
pub(super) struct MemoryLedger(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    now: Timestamp,
    rows: HashMap<PaymentKey, Row>,
    /// By tenant and id, and when each was written.
    letters: HashMap<(String, String), Timestamp>,
    lines: BTreeMap<PaymentKey, Timestamp>,
    watermark: Timestamp,
    /// So many calls until the ledger is away.
    calls_left: Option<usize>,
    /// How often each payment was looked for.
    looks: HashMap<(String, String), usize>,
}

#[derive(Clone)]
struct Row {
    recorded_at: Timestamp,
    record: PaymentRecord,
    is_readable: bool,
}

/// A payment whose money was held at this instant, with a description of so many bytes.
pub(super) fn held(key: &PaymentKey, at: Timestamp, bytes: usize) -> PaymentRecord {
    let amount = Money::new(5, Currency::EUR);
    let payment = Payment {
        tenant: key.tenant.clone(),
        id: key.id.clone(),
        source_account: AccountId::parse("S").unwrap(),
        destination_account: AccountId::parse("D").unwrap(),
        amount,
        destination_currency: None,
        description: Some("x".repeat(bytes)),
        metadata: None,
    };
    let quote = Quote { destination_amount: amount, conversion: None, at };
    PaymentRecord {
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: at },
        state: RecordState::Reserved(Reserved { screening: Screening { score: 1, at }, quote, at }),
        trace: Some(super::TRACE),
    }
}

impl MemoryLedger {
    pub(super) fn set_now(&self, now: Timestamp) {
        self.0.lock().unwrap().now = now;
    }

    pub(super) fn record(&self, record: PaymentRecord, recorded_at: Timestamp, is_readable: bool) {
        self.0
            .lock()
            .unwrap()
            .rows
            .insert(record.facts.payment.key(), Row { recorded_at, record, is_readable });
    }

    /// The payment has no row any more, as in a ledger that was restored to an older state.
    pub(super) fn lose(&self, key: &PaymentKey) {
        self.0.lock().unwrap().rows.remove(key);
    }

    /// What there is now, to be restored later.
    pub(super) fn backup(&self) -> MemoryLedger {
        MemoryLedger(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// Everything is again as it was then.
    pub(super) fn restore(&self, backup: &MemoryLedger) {
        let backup = backup.0.lock().unwrap().clone();
        *self.0.lock().unwrap() = backup;
    }

    /// How often the payment that was looked for most was.
    pub(super) fn looks_max(&self) -> usize {
        self.0.lock().unwrap().looks.values().copied().max().unwrap_or(0)
    }

    /// The payment's money has moved.
    pub(super) fn capture(&self, key: &PaymentKey, finished_at: Timestamp) {
        let mut state = self.0.lock().unwrap();
        let row = state.rows.get_mut(key).unwrap();
        if let RecordState::Reserved(reserved) = row.record.state.clone() {
            row.record.state = RecordState::Captured { reserved, finished_at };
        }
    }

    pub(super) fn bury(&self, tenant_and_id: (String, String), at: Timestamp) {
        self.0.lock().unwrap().letters.insert(tenant_and_id, at);
    }

    /// Someone has resolved a payment's letter.
    pub(super) fn resolve(&self, tenant_and_id: &(String, String)) {
        self.0.lock().unwrap().letters.remove(tenant_and_id);
    }

    pub(super) fn resolve_letters(&self) {
        self.0.lock().unwrap().letters.clear();
    }

    /// The ids of the holds that have a line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.keys().map(|key| key.id.to_string()).collect()
    }

    /// After so many more calls every call fails; none does when nothing is said.
    pub(super) fn set_outage_after(&self, calls: Option<usize>) {
        self.0.lock().unwrap().calls_left = calls;
    }

    fn call<T>(&self, act: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.0.lock().unwrap();
        match &mut state.calls_left {
            Some(0) => return Err(StoreError::Silent(Duration::ZERO)),
            Some(calls) => *calls -= 1,
            None => {}
        }
        act(&mut state)
    }
}

impl State {
    /// The holds recorded after an instant and at least `age` ago.
    fn page(&self, after: Timestamp, age: Duration) -> HoldPage {
        let until = earlier(self.now, age);
        let mut holds: Vec<OpenHold> =
            self.rows.iter().filter_map(|(key, row)| row.hold(key, after, until)).collect();
        holds.sort_by_key(|hold| hold.held_at);
        HoldPage { read_to: after.max(until), is_full: false, holds }
    }
}

impl Row {
    fn hold(&self, key: &PaymentKey, after: Timestamp, until: Timestamp) -> Option<OpenHold> {
        match &self.record.state {
            RecordState::Reserved(reserved) if self.recorded_at > after && self.recorded_at <= until => {
                Some(OpenHold { key: key.clone(), held_at: reserved.at })
            }
            _ => None,
        }
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros() - i64::try_from(by.as_micros()).unwrap())
}

impl JanitorLedger for MemoryLedger {
    async fn traces(
        &self,
        keys: &[(String, String)],
        age: Duration,
    ) -> Result<HashMap<usize, Trace>, StoreError> {
        self.call(|state| {
            for key in keys {
                *state.looks.entry(key.clone()).or_default() += 1;
            }
            let wait = |at: Timestamp| {
                Duration::from_micros(
                    u64::try_from(at.micros() - earlier(state.now, age).micros()).unwrap_or(0),
                )
            };
            let row = |(tenant, id): &(String, String)| {
                let key = PaymentKey { tenant: Tenant::parse(tenant).ok()?, id: PaymentId::parse(id).ok()? };
                state.rows.get(&key).map(|row| row.recorded_at)
            };
            let trace = |key| match (row(key), state.letters.get(key)) {
                (Some(at), _) => Some(Trace::Recorded { wait: wait(at) }),
                (None, Some(at)) => Some(Trace::Dead { wait: wait(*at) }),
                (None, None) => None,
            };
            Ok(keys.iter().enumerate().filter_map(|(place, key)| Some((place, trace(key)?))).collect())
        })
    }

    async fn records(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
        self.call(|state| {
            let rows = keys.iter().filter_map(|key| Some((key, state.rows.get(key)?)));
            let record = |(key, row): (&PaymentKey, &Row)| match row.is_readable {
                true => Ok((key.clone(), row.record.clone())),
                false => Err(StoreError::Corrupt("a later build's".to_owned())),
            };
            rows.map(record).collect()
        })
    }

    async fn holds_watermark(&self) -> Result<Timestamp, StoreError> {
        self.call(|state| Ok(state.watermark))
    }

    async fn young_holds(&self, after: Timestamp, age: Duration, _: u32) -> Result<HoldPage, StoreError> {
        self.call(|state| Ok(state.page(after.max(earlier(state.now, age + COMMIT_DELAY)), age)))
    }

    async fn late_holds(&self, after: Timestamp, age: Duration, _: u32) -> Result<HoldPage, StoreError> {
        self.call(|state| {
            let page = state.page(after, age + COMMIT_DELAY);
            state.lines.extend(page.holds.iter().map(|hold| (hold.key.clone(), hold.held_at)));
            // It stays where nothing happens, as in the ledger.
            let is_read = |row: &Row| row.recorded_at > after && row.recorded_at <= page.read_to;
            if state.rows.values().any(is_read) {
                state.watermark = state.watermark.max(page.read_to);
            }
            Ok(page)
        })
    }

    async fn remembered_holds(
        &self,
        after: Option<&PaymentKey>,
        _: u32,
    ) -> Result<Vec<OpenHold>, StoreError> {
        self.call(|state| {
            let lines = state.lines.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
            Ok(lines.map(|(key, held_at)| OpenHold { key: key.clone(), held_at: *held_at }).collect())
        })
    }

    async fn still_held(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, bool>, StoreError> {
        self.call(|state| {
            let is_held = |key: &&PaymentKey| matches!(state.rows.get(key), Some(Row { record, .. }) if matches!(record.state, RecordState::Reserved(_)));
            let is_dead = |key: &PaymentKey| state.letters.contains_key(&(key.tenant.to_string(), key.id.to_string()));
            Ok(keys.iter().filter(is_held).map(|key| (key.clone(), is_dead(key))).collect())
        })
    }

    async fn forget_holds(&self, keys: &[PaymentKey]) -> Result<(), StoreError> {
        self.call(|state| {
            state.lines.retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }
}
