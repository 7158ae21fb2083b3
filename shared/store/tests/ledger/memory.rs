//! The ledger in memory answers as the one in Postgres does: random calls of every kind on both, every answer
//! compared, and in the end all that each has.
//!
//! `SEED=17 cargo test -p store memory_answers` runs one seed again, `KILAT_DEEP=1` many.

use crate::common::{BEFORE_ALL, refusal, status};
use crate::generate::{Operation, World};
use crate::lookups::letter;
use crate::memory_pair::{Locked, Pair, assert_same, is_near, same_answer};
use domain::ledger::AccountStatus;
use domain::{AccountId, AccountKey, Money, Payment, PaymentId, PaymentKey, PaymentRecord, Timestamp};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use store::memory::MemoryLedger;
use store::{
    Answer, BorderLedger, DeadLetter, DeadLetterLedger, DepositOutcome, JanitorLedger, Known, OpenHold,
    Settlement, StageLedger, Store, Trace,
};

const SEEDS: u64 = 8;
const SEEDS_DEEP: u64 = 100;
const STEPS_PER_SEED: u32 = 120;

/// Deliveries buried in one step.
const BURIED_MAX: usize = 4;

/// Rows that others hold at a time.
const LOCKED_MAX: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_answers_as_postgres_does() {
    let is_deep = std::env::var_os("KILAT_DEEP").is_some();
    let seeds = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = seeds.map_or(0..if is_deep { SEEDS_DEEP } else { SEEDS }, |seed| seed..seed + 1);
    let is_one_seed = seeds.end - seeds.start == 1;
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    for seed in seeds {
        let mut script = Script::begin(seed).await;
        for step in 0..STEPS_PER_SEED {
            script.step(&format!("seed {seed}, step {step}")).await;
        }
        for (name, count) in std::mem::take(&mut script.met) {
            *met.entry(name).or_default() += count;
        }
        script.end(&format!("seed {seed}")).await;
    }
    let hardly = MET.into_iter().filter(|name| met.get(*name).is_none_or(|count| *count < 10));
    let hardly: Vec<&str> = hardly.collect();
    assert!(is_one_seed || hardly.is_empty(), "the calls hardly meet {hardly:?}: {met:?}");
}

/// The size of a page: often just so many rows as were recorded after an instant and up to another.
fn rows_max(memory: &MemoryLedger, after: Timestamp, random: &mut StdRng) -> u32 {
    let mut instants = Vec::new();
    memory.each_record(|_, at| instants.extend((at > after).then_some(at)));
    let until = instants.choose(random).copied().filter(|_| random.random_bool(0.5));
    match until {
        Some(until) => instants.iter().map(|at| u32::from(*at <= until)).sum(),
        None => random.random_range(1..60),
    }
}

/// The payments and the accounts that a write needs.
fn rows_of(operation: &Operation) -> (Vec<PaymentKey>, Vec<AccountKey>) {
    let of = |payment: &Payment| (payment.key(), payment.source_account.clone());
    let rows: Vec<(PaymentKey, AccountId)> = match operation {
        Operation::Reserve(requests) => requests.iter().map(|request| of(&request.facts.payment)).collect(),
        Operation::Settle { requests, .. } => {
            requests.iter().map(|request| (request.payment.clone(), request.destination.clone())).collect()
        }
        Operation::Reject(refused) => refused.iter().map(|record| of(&record.facts.payment)).collect(),
        Operation::Deposit(deposits) => {
            return (Vec::new(), deposits.iter().map(|deposit| deposit.account.clone()).collect());
        }
    };
    rows.into_iter().map(|(key, id)| (key.clone(), AccountKey { tenant: key.tenant, id })).unzip()
}

fn name_of_record(record: &PaymentRecord) -> String {
    let refusal = refusal(record).map_or(String::new(), |refusal| format!(" {refusal}"));
    format!("{}{refusal}", status(record))
}

fn name_of_answer(answer: &Answer) -> String {
    match answer {
        Answer::Recorded(record) => name_of_record(record),
        Answer::Locked => "reserve or refusal locked".to_owned(),
    }
}

fn name_of_settlement(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Recorded(record) => format!("settled: {}", name_of_record(record)),
        Settlement::NoRow => "no row".to_owned(),
        Settlement::Locked => "settle locked".to_owned(),
        Settlement::Unpostable(_) => "unpostable".to_owned(),
    }
}

/// What the calls must have met, over all seeds.
const MET: [&str; 21] = [
    "RESERVED",
    "CAPTURED",
    "FAILED account_not_found",
    "FAILED account_frozen",
    "FAILED currency_mismatch",
    "FAILED fx_rate_stale",
    "FAILED insufficient_funds",
    "FAILED risk_rejected",
    "FAILED destination_limit",
    "settled: CAPTURED",
    "settled: FAILED destination_limit",
    "settled: FAILED risk_rejected",
    "no row",
    "unpostable",
    "reserve or refusal locked",
    "settle locked",
    "posted",
    "replayed",
    "deposit Mismatch",
    "deposit NoAccount",
    "deposit TooLarge",
];

/// A seed's calls, and where its scans stand.
struct Script {
    /// How often which answer was given.
    met: BTreeMap<String, u32>,
    /// The last write.
    last: Option<Operation>,
    world: World,
    pair: Pair,
    young: Timestamp,
    late: Timestamp,
}

impl Script {
    async fn begin(seed: u64) -> Script {
        let (world, pair) = (World::new(seed), Pair::open().await);
        let met = BTreeMap::new();
        let script =
            Script { met, last: None, world, pair, young: Timestamp::default(), late: Timestamp::default() };
        script.open_accounts(false).await;
        script
    }

    /// Opens the accounts that are missing, or all others.
    async fn open_accounts(&self, is_missing: bool) {
        for account in self.world.accounts.iter().filter(|account| account.is_missing == is_missing) {
            self.pair.ledger.store.open_account(&account.key, account.currency).await.unwrap();
            self.pair.memory.open_account(&account.key, Money::new(0, account.currency)).unwrap();
        }
    }

    async fn step(&mut self, about: &str) {
        match self.world.random.random_range(0..24) {
            0..=8 => {
                let (store, memory) = (self.pair.ledger.store.clone(), self.pair.memory.clone());
                let operation = self.operation();
                self.write(&store, &memory, operation, about).await;
            }
            9..=12 => self.write_around_locks(about).await,
            13 => self.bury(about).await,
            14 => {
                if let Some((tenant, id)) = self.pair.memory.buried().choose(&mut self.world.random) {
                    self.pair.resolve(tenant, id).await;
                }
            }
            15 => {
                let key = self.account();
                let statuses = [AccountStatus::Frozen, AccountStatus::Active, AccountStatus::Active];
                let status = *statuses.choose(&mut self.world.random).unwrap();
                self.pair.set_status(&key, status).await;
            }
            16..=19 => {
                self.pair.begin_read();
                self.scan(about).await;
            }
            _ => {
                self.pair.begin_read();
                self.look(about).await;
            }
        }
    }

    /// The same transaction on both sides.
    async fn write(&mut self, store: &Store, memory: &MemoryLedger, operation: Operation, about: &str) {
        let now = self.world.now();
        self.pair.begin_write();
        match operation {
            Operation::Reserve(requests) => {
                let (theirs, ours) = (requests.clone(), requests);
                let (theirs, ours) = (store.reserve(theirs, now).await, memory.reserve(ours, now).await);
                self.count(same_answer(theirs, ours, about), name_of_answer);
            }
            Operation::Settle { requests, shard } => {
                let theirs = store.settle(requests.clone(), now, shard).await;
                let ours = memory.settle(requests, now, shard).await;
                self.count(same_answer(theirs, ours, about), name_of_settlement);
            }
            Operation::Reject(refused) => {
                let theirs = store.record_rejections(refused.clone()).await;
                let ours = memory.record_rejections(refused).await;
                self.count(same_answer(theirs, ours, about), name_of_answer);
            }
            Operation::Deposit(deposits) => {
                let theirs = store.deposit(deposits.clone(), now).await;
                let ours = memory.deposit(deposits, now).await;
                self.count(same_answer(theirs, ours, about), |outcome| match outcome {
                    DepositOutcome::Posted(_) => "posted".to_owned(),
                    DepositOutcome::Replayed(_) => "replayed".to_owned(),
                    other => format!("deposit {other:?}"),
                });
            }
        }
        self.pair.end_write().await;
    }

    /// The next write; what was asked is asked again at times, as of a message that is delivered twice.
    fn operation(&mut self) -> Operation {
        let again = self.last.take().filter(|_| self.world.random.random_bool(0.1));
        let operation = again.unwrap_or_else(|| self.world.operation());
        self.last = Some(operation.clone());
        operation
    }

    fn count<T>(&mut self, answers: Option<Vec<T>>, name: impl Fn(&T) -> String) {
        for name in answers.map_or(vec!["error".to_owned()], |answers| answers.iter().map(name).collect()) {
            *self.met.entry(name).or_default() += 1;
        }
    }

    /// The same while others hold rows that it may need.
    async fn write_around_locks(&mut self, about: &str) {
        let operation = self.operation();
        let (payments, accounts) = rows_of(&operation);
        let (mut outsiders, mut rows) = (Vec::new(), BTreeSet::new());
        for _ in 0..self.world.random.random_range(1..=LOCKED_MAX) {
            let random = &mut self.world.random;
            let account = accounts.choose(random).cloned().map(Locked::Account);
            let payment =
                payments.choose(random).cloned().map(|key| match self.pair.memory.has_record(&key) {
                    true => Locked::Payment(key),
                    false => Locked::NewPayment(key),
                });
            rows.extend(if random.random_bool(0.6) { payment } else { account });
        }
        for row in rows {
            outsiders.push(self.pair.lock(&row).await);
        }
        let (store, memory) = self.pair.newcomers();
        self.write(&store, &memory, operation, about).await;
        drop(outsiders);
        store.close().await;
    }

    /// Buries some deliveries, often of one payment, and often again.
    async fn bury(&mut self, about: &str) {
        for key in self.world.some_payments().into_iter().take(BURIED_MAX) {
            let random = &mut self.world.random;
            let odd = *["no payment 👻", "zero\0byte"].choose(random).unwrap();
            let id = if random.random_bool(0.1) { odd } else { key.id.as_str() };
            let letter =
                DeadLetter { tenant: key.tenant.to_string(), ..letter(id, random.random_range(0..3), about) };
            self.pair.begin_write();
            let theirs = self.pair.ledger.store.bury(&letter).await;
            assert_same(theirs, self.pair.memory.bury(&letter).await, about);
            self.pair.end_write().await;
        }
    }

    /// What scans the rows in the order in which they were recorded.
    async fn scan(&mut self, about: &str) {
        let (pair, random) = (&self.pair, &mut self.world.random);
        let (store, memory) = (&pair.ledger.store, &pair.memory);
        let age = pair.age(random.random_range(0..20));
        match random.random_range(0..4) {
            0 => {
                let rows_max = rows_max(memory, self.young, random);
                let theirs = store.young_holds(self.young, age, rows_max).await.unwrap();
                let ours = memory.young_holds(self.young, age, rows_max).await.unwrap();
                pair.assert_same_page(&theirs, &ours, about);
                self.young = if random.random_bool(0.3) { Timestamp::default() } else { ours.read_to };
            }
            1 => {
                let rows_max = rows_max(memory, self.late, random);
                let theirs = store.late_holds(self.late, age, rows_max, BEFORE_ALL).await.unwrap();
                let ours = memory.late_holds(self.late, age, rows_max, BEFORE_ALL).await.unwrap();
                pair.assert_same_page(&theirs, &ours, about);
                self.late = if random.random_bool(0.3) { Timestamp::default() } else { ours.read_to };
            }
            2 => {
                let theirs = store.holds_watermark().await.unwrap();
                let ours = memory.holds_watermark().await.unwrap();
                assert!(is_near(ours, theirs), "{about}: {ours}, not {theirs}");
            }
            _ => {
                let after = pair.instant(random.random_range(0..40));
                let rows_max = rows_max(memory, after, random);
                let theirs = store.recent_payments(after, rows_max).await.unwrap();
                let ours = memory.recent_payments(after, rows_max).await.unwrap();
                assert_eq!((ours.is_full, ours.read_to), (theirs.is_full, theirs.read_to), "{about}");
                let groups = [ours, theirs].map(|page| {
                    let payments = page.payments.into_iter();
                    pair.in_groups(payments.map(|payment| (payment.key.clone(), payment)))
                });
                assert_eq!(groups[0], groups[1], "{about}");
            }
        }
    }

    /// What looks for some payments or accounts.
    async fn look(&mut self, about: &str) {
        let keys = self.world.some_payments();
        let (account, key) = (self.account(), self.payment());
        let (store, memory) = (self.pair.ledger.store.clone(), self.pair.memory.clone());
        let random = &mut self.world.random;
        assert_same(store.records(&keys).await, memory.records(&keys).await, about);
        assert_same(store.still_held(&keys).await, memory.still_held(&keys).await, about);
        let (after, rows_max) = (random.random_bool(0.5).then_some(&key), random.random_range(1..40));
        let ours: Result<Vec<OpenHold>, _> = memory.remembered_holds(after, rows_max).await;
        assert_same(store.remembered_holds(after, rows_max).await, ours, about);
        if random.random_bool(0.2) {
            assert_same(store.forget_holds(&keys).await, memory.forget_holds(&keys).await, about);
        }
        assert_same(store.account(&account).await, memory.account(&account).await, about);
        let accounts = (0..6).filter_map(|_| self.world.accounts.choose(random));
        let accounts: BTreeSet<AccountKey> = accounts.map(|account| account.key.clone()).collect();
        let ours = memory.account_currencies(&accounts).await;
        assert_same(store.account_currencies(&accounts).await, ours, about);
        assert_same(store.open_dead_letters().await, memory.open_dead_letters().await, about);
        assert_same(store.status(&key).await, memory.status(&key).await, about);
        assert_same(store.statuses(&keys).await, memory.statuses(&keys).await, about);
        let [theirs, ours] = [store.known(&keys).await, memory.known(&keys).await].map(Result::unwrap);
        // Which of several open letters it is, is nobody's business.
        let told = |known: HashMap<PaymentKey, Known>| {
            let plain = |(key, known): (PaymentKey, Known)| match known {
                Known::Dead(_) => (key, Known::Dead(Vec::new())),
                recorded @ Known::Recorded(_) => (key, recorded),
            };
            known.into_iter().map(plain).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(told(ours), told(theirs), "{about}");
        self.look_at_traces(&keys, about).await;
    }

    async fn look_at_traces(&mut self, keys: &[PaymentKey], about: &str) {
        let mut names: Vec<(String, String)> =
            keys.iter().map(|key| (key.tenant.to_string(), key.id.to_string())).collect();
        let tenant = self.world.accounts[0].key.tenant.to_string();
        names.push((tenant, "no payment 👻".to_owned()));
        let age = self.pair.age(self.world.random.random_range(0..20));
        let theirs = self.pair.ledger.store.traces(&names, age).await.unwrap();
        let ours = self.pair.memory.traces(&names, age).await.unwrap();
        let near = |one: Duration, other: Duration| one.abs_diff(other) < Duration::from_secs(20);
        for place in 0..=names.len() {
            let is_same = match (ours.get(&place), theirs.get(&place)) {
                (Some(Trace::Recorded { wait: ours }), Some(Trace::Recorded { wait: theirs }))
                | (Some(Trace::Dead { wait: ours }), Some(Trace::Dead { wait: theirs })) => {
                    near(*ours, *theirs)
                }
                (ours, theirs) => ours.is_none() && theirs.is_none(),
            };
            assert!(is_same, "{about}: {:?}, not {:?}", ours.get(&place), theirs.get(&place));
        }
    }

    /// A payment, more likely than not one that was asked for.
    fn payment(&mut self) -> PaymentKey {
        let asked = self.world.some_payments().into_iter().next();
        let number = self.world.random.random_range(0..150);
        match asked {
            Some(key) if self.world.random.random_bool(0.8) => key,
            _ => PaymentKey {
                tenant: self.account().tenant,
                id: PaymentId::parse(format!("PAY{number}")).unwrap(),
            },
        }
    }

    fn account(&mut self) -> AccountKey {
        self.world.accounts.choose(&mut self.world.random).unwrap().key.clone()
    }

    /// All that both have, and that it is sound.
    async fn end(mut self, about: &str) {
        // Without its destination a hold is unsound on both sides.
        self.open_accounts(true).await;
        let ours = self.pair.memory_content();
        assert_eq!(ours, self.pair.postgres_content().await, "{about}");
        self.pair.ledger.assert_sound(about).await;
        assert_eq!(self.pair.memory.violations(), Vec::<String>::new(), "{about}");
        let open = (self.pair.memory.open_transactions(), self.pair.memory.locks_held());
        assert_eq!((open, self.pair.memory.lock_cycles()), ((0, 0), 0), "{about}");
    }
}
