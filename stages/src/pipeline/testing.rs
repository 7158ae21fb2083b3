//! What the stages' tests share: payments as they come to each stage, and a ledger that answers what a test
//! has prepared.

use domain::facts::{Facts, Quote, RecordState, Rejection, Reserved, Screening};
use domain::{
    AccountId, AccountKey, Currency, Money, Payment, PaymentId, PaymentRecord, Refusal, StageName, Tenant,
    Timestamp, TraceContext,
};
use runtime::stage::Input;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Answer, HoldRequest, PaymentPage, SettleRequest, Settlement, StageLedger, StoreError};

/// When the stage under test is asked.
pub(crate) const NOW: Timestamp = at(9_000);

pub(crate) const fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

pub(crate) fn euros(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

pub(crate) fn account(id: &str) -> AccountKey {
    AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
}

/// A payment from `S`.
pub(crate) fn payment(id: &str, destination: &str, amount: Money) -> Payment {
    Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: account("S").id,
        destination_account: account(destination).id,
        amount,
        destination_currency: None,
        description: Some("as it was sent".to_owned()),
        metadata: None,
    }
}

pub(crate) fn facts(payment: Payment) -> Facts {
    Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 7, accepted_at: at(1_000) }
}

pub(crate) fn screening() -> Screening {
    Screening { score: 1, at: at(2_000) }
}

pub(crate) fn quote(amount: Money) -> Quote {
    Quote { destination_amount: amount, conversion: None, at: at(3_000) }
}

pub(crate) fn rejection(stage: StageName, reason: Refusal) -> Rejection {
    Rejection { stage, reason, rules: Vec::new(), at: at(3_000) }
}

/// The row of a payment whose money is held.
pub(crate) fn held(facts: Facts) -> Box<PaymentRecord> {
    let reserved = Reserved { screening: screening(), quote: quote(facts.payment.amount), at: at(4_000) };
    Box::new(PaymentRecord { facts, state: RecordState::Reserved(reserved), trace: None })
}

/// The span of every delivery.
pub(crate) const TRACE: TraceContext = TraceContext { trace_id: 7, span_id: 7, is_sampled: true };

/// A delivery of the message, as a stage is asked about it.
pub(crate) fn input<M: Clone>(message: &M) -> Input<M> {
    Input { message: message.clone(), seq: 7, accepted_at: at(1_000), is_redriven: false, trace: Some(TRACE) }
}

/// A ledger that answers what was prepared, and remembers what it was asked. Clones share what they remember.
#[derive(Clone, Default)]
pub(crate) struct ScriptedLedger {
    currencies: HashMap<AccountKey, Currency>,
    answers: Vec<Answer>,
    settlements: Vec<Settlement>,
    failure: Option<fn() -> StoreError>,
    asked: Arc<Mutex<Asked>>,
}

/// What a ledger was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) currencies: Vec<BTreeSet<AccountKey>>,
    pub(crate) holds: Vec<(Vec<HoldRequest>, Timestamp)>,
    pub(crate) settlements: Vec<(Vec<SettleRequest>, Timestamp, u16)>,
    pub(crate) rejections: Vec<Vec<PaymentRecord>>,
}

impl ScriptedLedger {
    /// One in which these accounts exist.
    pub(crate) fn with_accounts(accounts: &[(&str, Currency)]) -> ScriptedLedger {
        let currencies = accounts.iter().map(|(id, currency)| (account(id), *currency)).collect();
        ScriptedLedger { currencies, ..ScriptedLedger::default() }
    }

    /// One that says this of each payment that it is to record.
    pub(crate) fn answering(answers: Vec<Answer>) -> ScriptedLedger {
        ScriptedLedger { answers, ..ScriptedLedger::default() }
    }

    /// One that says this of each payment that it is to settle.
    pub(crate) fn settling(settlements: Vec<Settlement>) -> ScriptedLedger {
        ScriptedLedger { settlements, ..ScriptedLedger::default() }
    }

    /// One that fails, whatever it is asked.
    pub(crate) fn failing(failure: fn() -> StoreError) -> ScriptedLedger {
        ScriptedLedger { failure: Some(failure), ..ScriptedLedger::default() }
    }

    /// What it was asked until now.
    pub(crate) fn asked(&self) -> Asked {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn answer<T>(&self, remember: impl FnOnce(&mut Asked), answer: T) -> Result<T, StoreError> {
        remember(&mut self.asked.lock().unwrap());
        self.failure.map_or(Ok(answer), |failure| Err(failure()))
    }
}

impl StageLedger for ScriptedLedger {
    async fn account_currencies(
        &self,
        keys: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        let found = self.currencies.clone().into_iter().filter(|(key, _)| keys.contains(key)).collect();
        self.answer(|asked| asked.currencies.push(keys.clone()), found)
    }

    async fn reserve(&self, requests: Vec<HoldRequest>, now: Timestamp) -> Result<Vec<Answer>, StoreError> {
        self.answer(|asked| asked.holds.push((requests, now)), self.answers.clone())
    }

    async fn settle(
        &self,
        requests: Vec<SettleRequest>,
        now: Timestamp,
        shard: u16,
    ) -> Result<Vec<Settlement>, StoreError> {
        self.answer(|asked| asked.settlements.push((requests, now, shard)), self.settlements.clone())
    }

    async fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Result<Vec<Answer>, StoreError> {
        self.answer(|asked| asked.rejections.push(refused), self.answers.clone())
    }

    async fn recent_payments(&self, after: Timestamp, _: u32) -> Result<PaymentPage, StoreError> {
        self.answer(|_| {}, PaymentPage { read_to: after, is_full: false, payments: Vec::new() })
    }
}

/// Errors of a ledger, and whether a stage takes each for an outage.
pub(crate) fn errors() -> [(fn() -> StoreError, bool); 2] {
    [
        (|| StoreError::Silent(Duration::from_secs(1)), true),
        (|| StoreError::Corrupt("a row".to_owned()), false),
    ]
}
