//! The ledger as one process reaches it.

use crate::faults::Fault;
use crate::guards::Guard;
use crate::link::Link;
use crate::process::Server;
use domain::facts::RecordState;
use domain::{AccountKey, Currency, PaymentKey, PaymentRecord, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::memory::MemoryLedger;
use store::{
    Account, Answer, BorderLedger, DeadLetter, DeadLetterLedger, HoldPage, HoldRequest, JanitorLedger, Known,
    OpenHold, PaymentPage, SettleRequest, Settlement, StageLedger, StatusRow, StoreError, Trace,
};

/// Clones are the same way to the same ledger.
#[derive(Clone)]
pub(crate) struct LedgerLink {
    link: Link,
    ledger: MemoryLedger,
    /// What the janitor has been told of payments, where it does not ask again: when each may be purged.
    remembered: Arc<Mutex<BTreeMap<(String, String), Timestamp>>>,
}

impl LedgerLink {
    pub(crate) fn new(link: Link, ledger: MemoryLedger) -> LedgerLink {
        LedgerLink { link, ledger, remembered: Arc::default() }
    }

    async fn ask<T>(
        &self,
        call: &'static str,
        about: impl Fn() -> String + Send + Sync,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.link.ask(Server::Ledger, call, || format!("{call} {}", about()), act).await
    }

    /// A call whose answer is worth a line.
    async fn write<T: Send>(
        &self,
        call: &'static str,
        about: String,
        short: impl Fn(&T) -> &'static str + Send + Sync,
        act: impl Future<Output = Result<Vec<T>, StoreError>> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let act = async {
            let answers = act.await;
            self.link.tell(|| match &answers {
                Ok(answers) => {
                    format!("{call} {about}: {}", answers.iter().map(&short).collect::<Vec<_>>().join(" "))
                }
                Err(error) => format!("{call} {about}: {error}"),
            });
            answers
        };
        self.ask(call, || about.clone(), act).await
    }

    /// Rows come before the messages that settle reads, and stay: what has one is never called missing.
    fn check_missing(&self, keys: &[PaymentKey], settled: &[Settlement]) {
        if self.link.conditions().plan().has(Fault::LedgerSetBack) {
            return;
        }
        let missing = keys.iter().zip(settled).filter(|(_, settled)| matches!(settled, Settlement::NoRow));
        for (key, _) in missing.filter(|(key, _)| self.ledger.has_record(key)) {
            self.link.conditions().violated(format!("{} is called missing, and has a row", key.id));
        }
    }

    /// Without its second look a janitor purges by what it was told before.
    fn as_remembered(&self, keys: &[(String, String)], found: &mut HashMap<usize, Trace>) {
        let now = self.link.conditions().now();
        let mut remembered = self.remembered.lock().unwrap();
        for (place, key) in keys.iter().enumerate() {
            if let Some(purge_at) = remembered.get(key) {
                let micros = u64::try_from(purge_at.micros() - now.micros()).unwrap_or(0);
                found.insert(place, Trace::Recorded { wait: Duration::from_micros(micros) });
            } else if let Some(Trace::Recorded { wait }) = found.get(&place) {
                let purge_at = now.micros() + i64::try_from(wait.as_micros()).unwrap();
                remembered.insert(key.clone(), Timestamp::from_micros(purge_at));
            }
        }
    }
}

fn ids<'k>(keys: impl Iterator<Item = &'k PaymentKey>) -> String {
    keys.map(|key| key.id.as_str()).collect::<Vec<_>>().join(" ")
}

fn state(record: &PaymentRecord) -> &'static str {
    match record.state {
        RecordState::Reserved(_) => "RESERVED",
        RecordState::Captured { .. } => "CAPTURED",
        RecordState::Failed { .. } => "FAILED",
    }
}

fn answered(answer: &Answer) -> &'static str {
    match answer {
        Answer::Recorded(record) => state(record),
        Answer::Locked => "LOCKED",
    }
}

fn settled(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Recorded(record) => state(record),
        Settlement::NoRow => "NO ROW",
        Settlement::Locked => "LOCKED",
        Settlement::Unpostable(_) => "UNPOSTABLE",
    }
}

impl StageLedger for LedgerLink {
    async fn account_currencies(
        &self,
        keys: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        self.ask("account_currencies", || format!("of {}", keys.len()), self.ledger.account_currencies(keys))
            .await
    }

    async fn reserve(&self, requests: Vec<HoldRequest>, now: Timestamp) -> Result<Vec<Answer>, StoreError> {
        let keys: Vec<PaymentKey> = requests.iter().map(|request| request.facts.payment.key()).collect();
        for key in &keys {
            if self.ledger.record(key).is_some_and(|record| !matches!(record.state, RecordState::Reserved(_)))
            {
                self.link.conditions().window("W29");
            }
        }
        self.write("reserve", ids(keys.iter()), answered, self.ledger.reserve(requests, now)).await
    }

    async fn settle(
        &self,
        requests: Vec<SettleRequest>,
        now: Timestamp,
        shard: u16,
    ) -> Result<Vec<Settlement>, StoreError> {
        let keys: Vec<PaymentKey> = requests.iter().map(|request| request.payment.clone()).collect();
        let act = async {
            let settled = self.ledger.settle(requests, now, shard).await;
            self.check_missing(&keys, settled.as_deref().unwrap_or_default());
            settled
        };
        self.write("settle", ids(keys.iter()), settled, act).await
    }

    async fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Result<Vec<Answer>, StoreError> {
        let keys: Vec<PaymentKey> = refused.iter().map(|record| record.facts.payment.key()).collect();
        let act = self.ledger.record_rejections(refused);
        self.write("record_rejections", ids(keys.iter()), answered, act).await
    }

    async fn recent_payments(&self, after: Timestamp, rows_max: u32) -> Result<PaymentPage, StoreError> {
        let act = self.ledger.recent_payments(after, rows_max);
        self.ask("recent_payments", || format!("after {after}"), act).await
    }
}

impl DeadLetterLedger for LedgerLink {
    async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let about = || format!("{} at {}: {}", letter.id, letter.stage, letter.reason);
        self.ask("bury", about, self.ledger.bury(letter)).await
    }

    async fn open_dead_letters(&self) -> Result<HashSet<(String, String)>, StoreError> {
        self.ask("open_dead_letters", String::new, self.ledger.open_dead_letters()).await
    }
}

impl BorderLedger for LedgerLink {
    async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        self.ask("known", || ids(keys.iter()), self.ledger.known(keys)).await
    }

    async fn status(&self, key: &PaymentKey) -> Result<StatusRow, StoreError> {
        self.ask("status", || key.id.to_string(), self.ledger.status(key)).await
    }

    async fn statuses(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        self.ask("statuses", || ids(keys.iter()), self.ledger.statuses(keys)).await
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        self.ask("account", || key.id.to_string(), self.ledger.account(key)).await
    }
}

impl JanitorLedger for LedgerLink {
    async fn traces(
        &self,
        keys: &[(String, String)],
        age: Duration,
    ) -> Result<HashMap<usize, Trace>, StoreError> {
        let mut found =
            self.ask("traces", || format!("of {}", keys.len()), self.ledger.traces(keys, age)).await?;
        if self.link.conditions().lacks(Guard::SecondLook) {
            self.as_remembered(keys, &mut found);
        }
        Ok(found)
    }

    async fn records(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
        self.ask("records", || ids(keys.iter()), self.ledger.records(keys)).await
    }

    async fn holds_watermark(&self) -> Result<Timestamp, StoreError> {
        self.ask("holds_watermark", String::new, self.ledger.holds_watermark()).await
    }

    async fn young_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
    ) -> Result<HoldPage, StoreError> {
        self.ask("young_holds", String::new, self.ledger.young_holds(after, age, rows_max)).await
    }

    async fn late_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
        known: Timestamp,
    ) -> Result<HoldPage, StoreError> {
        self.ask("late_holds", String::new, self.ledger.late_holds(after, age, rows_max, known)).await
    }

    async fn remembered_holds(
        &self,
        after: Option<&PaymentKey>,
        rows_max: u32,
    ) -> Result<Vec<OpenHold>, StoreError> {
        self.ask("remembered_holds", String::new, self.ledger.remembered_holds(after, rows_max)).await
    }

    async fn still_held(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, bool>, StoreError> {
        self.ask("still_held", || ids(keys.iter()), self.ledger.still_held(keys)).await
    }

    async fn forget_holds(&self, keys: &[PaymentKey]) -> Result<(), StoreError> {
        self.ask("forget_holds", || ids(keys.iter()), self.ledger.forget_holds(keys)).await
    }
}
