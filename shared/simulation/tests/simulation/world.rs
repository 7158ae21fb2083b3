//! A whole pipeline in one thread: two gateways, every stage, the janitor, a broker and a ledger in memory.

use crate::broker_link::BrokerLink;
use crate::conditions::Conditions;
use crate::faults::Fault;
use crate::guards::Guard;
use crate::history::History;
use crate::ledger_link::LedgerLink;
use crate::link::Link;
use crate::observed::Observed;
use crate::process::Process;
use crate::rates::Rates;
use crate::roles;
use crate::strikes::{LOCK_SECONDS, LONG_LOCK};
use crate::weather::Statements;
use config::{Config, StackConfig};
use domain::ledger::AccountStatus;
use domain::{AccountId, AccountKey, Currency, Money, Tenant};
use gateway::border::Border;
use runtime::broker::{MemoryStreams, Streams};
use runtime::clock::Clock;
use runtime::telemetry::Metrics;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::memory::{MemoryLedger, MemoryOptions, Removed};
use wire::Role;

pub(crate) type GatewayBorder = Arc<Border<BrokerLink, LedgerLink>>;

/// How many gateways there are.
pub(crate) const GATEWAYS: usize = 2;

/// Who has an account, in which currency, with how much: some of everything that a payment may meet.
pub(crate) const ACCOUNTS: [(&str, &str, i64); 8] = [
    ("A1", "USD", 5_000_000),
    ("A2", "USD", 40_000),
    ("A3", "EUR", 5_000_000),
    ("A4", "EUR", 5_000_000),
    ("A5", "JPY", 9_000_000),
    ("A6", "KWD", 9_000_000),
    ("POOR", "USD", 0),
    ("FROZEN", "USD", 1_000_000),
];

/// One run's.
pub(crate) struct World {
    pub(crate) conditions: Conditions,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Metrics,
    pub(crate) streams: MemoryStreams,
    pub(crate) ledger: MemoryLedger,
    pub(crate) observed: Observed,
    pub(crate) rates: Rates,
    pub(crate) processes: Vec<Arc<Process>>,
    /// Customers' accounts.
    pub(crate) accounts: Vec<AccountKey>,
    /// Those gateways that run.
    pub(crate) borders: Mutex<[Option<GatewayBorder>; GATEWAYS]>,
    pub(crate) history: History,
    /// Held from when a copy of the ledger is made until it is set back to it.
    pub(crate) copying: tokio::sync::Mutex<()>,
    /// Accounts that an outsider has locked.
    pub(crate) locked: Mutex<BTreeSet<String>>,
}

impl World {
    /// Everything is there and runs.
    pub(crate) async fn begin(conditions: Conditions) -> Arc<World> {
        let clock = conditions.clone();
        let streams = MemoryStreams::with_clock(Clock::new(move || clock.now()));
        let clock = conditions.clone();
        let removed = Removed {
            settle_state_guard: conditions.lacks(Guard::SettleState),
            lock_order: conditions.lacks(Guard::LockOrder),
        };
        let options = MemoryOptions { removed, ..MemoryOptions::new(Arc::new(move || clock.now())) };
        let config = Arc::new(config(&conditions));
        let world = Arc::new(World {
            streams,
            ledger: MemoryLedger::new(options),
            observed: Observed::new(conditions.clone()),
            rates: Rates::new(&conditions),
            processes: processes(&conditions),
            accounts: ACCOUNTS.iter().map(|(id, ..)| account(id)).collect(),
            borders: Mutex::default(),
            history: History::new(conditions.clone()),
            copying: tokio::sync::Mutex::default(),
            locked: Mutex::default(),
            metrics: Metrics::new(Role::Gateway, false).unwrap(),
            config,
            conditions,
        });
        world.streams.declare_all(&world.config.pipeline).await.unwrap();
        for (id, currency, balance) in ACCOUNTS {
            let key = account(id);
            let balance = Money::new(balance, Currency::parse(currency).unwrap());
            world.ledger.open_account(&key, balance).unwrap();
            if id == "FROZEN" {
                world.ledger.set_account_status(&key, AccountStatus::Frozen);
            }
        }
        for (place, process) in world.processes.iter().enumerate() {
            let of_process = world.clone();
            let start =
                move |process: &Arc<Process>| roles::start(of_process.clone(), process.clone(), place);
            world.spawn(process.clone().run(start));
        }
        world
    }

    /// A process' way to the broker.
    pub(crate) fn broker_of(&self, process: &Arc<Process>) -> BrokerLink {
        let link = Link { process: process.clone() };
        BrokerLink { link, streams: self.streams.clone(), observed: self.observed.clone() }
    }

    /// A process' way to the ledger.
    pub(crate) fn ledger_of(&self, process: &Arc<Process>) -> LedgerLink {
        let link = Link { process: process.clone() };
        LedgerLink::new(link, self.ledger.another_process(Arc::new(Statements(process.clone()))))
    }

    /// Something that goes on beside the others. It ends with the run at the latest.
    pub(crate) fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(what);
    }

    /// The ledger is an older one than it was.
    pub(crate) fn was_set_back(&self) {
        self.conditions.tell("world", || "the ledger is set back to that copy");
        self.history.ledger_is_set_back();
    }

    /// How long an outsider holds a lock.
    pub(crate) fn lock_duration(&self) -> Duration {
        match self.conditions.plan().is_only(&[Fault::AccountLocked, Fault::SmallStreams]) {
            true => LONG_LOCK,
            false => self.conditions.chance().seconds(LOCK_SECONDS),
        }
    }
}

pub(crate) fn account(id: &str) -> AccountKey {
    AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
}

/// The programs' own settings, but for sizes: what is full in a day of a large system must be in a minute.
fn config(conditions: &Conditions) -> Config {
    let mut config = Config::on(StackConfig::shifted(0));
    let plan = conditions.plan();
    config.pipeline.batch_max = 8;
    config.pipeline.ack_pending_max = 64;
    config.pipeline.keep_messages = 8;
    config.pipeline.trim_every_ms = 2_500;
    config.pipeline.dead_refresh_ms = 4_000;
    config.janitor.every_ms = 2_000;
    // Two batches and a half, by number or by size.
    match (plan.has(Fault::SmallStreams), conditions.chance().one_in(2)) {
        (true, true) => config.pipeline.stream_messages_max = 20,
        (true, false) => config.pipeline.stream_bytes_max = 24 << 10,
        (false, _) => config.pipeline.stream_messages_max = 1_024,
    }
    config.pipeline.accepted_messages_max = if plan.has(Fault::SmallIntake) { 24 } else { -1 };
    config.pipeline.shards = if conditions.chance().one_in(4) { 2 } else { 1 };
    // In some runs accounts come to their limits, and quotes grow old.
    config.risk.window_count_max = if conditions.chance().one_in(6) { 5 } else { 1_000 };
    config.fx.quote_age_seconds_max = if conditions.chance().one_in(6) { 20 } else { 3_600 };
    config.telemetry.enabled = false;
    config
}

/// Two gateways and one of every other role, or two of some.
fn processes(conditions: &Conditions) -> Vec<Arc<Process>> {
    let plan = conditions.plan();
    let of = |fault: Fault| if plan.has(fault) { 2 } else { 1 };
    let (workers, janitors) = (of(Fault::TwoWorkers), of(Fault::TwoJanitors));
    for fault in [Fault::TwoWorkers, Fault::TwoJanitors] {
        if plan.has(fault) {
            conditions.struck(fault);
        }
    }
    let roles = [
        ("gateway", GATEWAYS),
        ("risk", 1),
        ("fx", workers),
        ("reserve", workers),
        ("settle", workers),
        ("janitor", janitors),
    ];
    let of_role = |(role, count): (&'static str, usize)| {
        (1..=count).map(move |number| (role, format!("{role}-{number}")))
    };
    let named = roles.into_iter().flat_map(of_role);
    named.map(|(role, name)| Process::new(name, role, conditions.clone())).collect()
}
