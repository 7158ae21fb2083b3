//! The ledger in memory, for tests that want hours of traffic in a second: the same transactions, step by
//! step, with the judgements of the store itself, over tables in memory instead of Postgres.
//!
//! What it takes from the store is what decides: the bodies of the transactions, the halving of a batch whose
//! INSERT waits, how our own accounts are made and continued. What it does itself is what Postgres does: locks
//! on rows and on keys that are being inserted, each held to the transaction's end; waiting for them, at most
//! `lock_timeout`; writes that nobody sees before the COMMIT; a transaction that is dropped is rolled back.
//! `tests/ledger/memory.rs` compares its answers and its tables with Postgres'.
//!
//! What Postgres would refuse by a check (a customer below zero, a negative hold) is written here, and told by
//! [`MemoryLedger::violations`]. Rows found locked are not remembered from one call to the next.
//!
//! Nothing here depends on the order of a hash map, on a clock of its own or on chance: what happens when is
//! the [`Weather`]'s and the caller's alone.

mod calls;
mod locks;
mod objection;
mod outsiders;
mod queries;
mod session;
mod tables;
mod transactions;
mod violations;
mod weather;

pub use crate::posting::OperationKind;
pub use outsiders::{Backup, Outsider};
pub use tables::{AccountView, EntryLine};
pub use weather::{Call, Calm, Happening, Place, Step, Strike, Weather};

use crate::system_accounts::KnownSystemAccounts;
use domain::Timestamp;
use locks::Transactions;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tables::Tables;

/// What the time is by the ledger's own clock.
pub type LedgerClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the simulation takes out to show that it is missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Settle takes any payment that was ever held for one that is held still, and posts it again.
    pub settle_state_guard: bool,
    /// Locks are taken in no common order, as by a statement without `ORDER BY`: every second transaction
    /// takes them backwards.
    pub lock_order: bool,
}

/// How a ledger in memory is made.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Decides `recorded_at`, the time of dead letters, and every age.
    pub clock: LedgerClock,
    /// How long a locked row is waited for, by tokio's clock.
    pub lock_timeout: Duration,
    /// How long the answer of a statement is waited for, and half of a transaction however many attempts it
    /// takes; then the ledger is silent.
    pub patience: Duration,
    /// What befalls the steps.
    pub weather: Arc<dyn Weather>,
    /// What is taken out.
    pub removed: Removed,
}

impl MemoryOptions {
    /// A ledger in calm weather, with the timeouts that services have by default.
    pub fn new(clock: LedgerClock) -> MemoryOptions {
        MemoryOptions {
            clock,
            lock_timeout: Duration::from_millis(200),
            patience: Duration::from_secs(7),
            weather: Arc::new(Calm),
            removed: Removed::default(),
        }
    }
}

/// A process' way to the ledger; clones are of the same process, and all processes share the tables.
#[derive(Clone)]
pub struct MemoryLedger {
    server: Arc<Server>,
    weather: Arc<dyn Weather>,
    /// Our own accounts that this process knows to be there.
    system_accounts: Arc<Mutex<KnownSystemAccounts>>,
}

/// What takes the place of Postgres.
struct Server {
    clock: LedgerClock,
    lock_timeout: Duration,
    patience: Duration,
    removed: Removed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: Tables,
    transactions: Transactions,
    /// How often the janitor has looked for each payment, by tenant and id.
    looks: BTreeMap<(String, String), u64>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new(options: MemoryOptions) -> MemoryLedger {
        let MemoryOptions { clock, lock_timeout, patience, weather, removed } = options;
        let server = Server { clock, lock_timeout, patience, removed, state: Mutex::default() };
        MemoryLedger { server: Arc::new(server), weather, system_accounts: Arc::default() }
    }

    /// The same ledger as another process sees it, which has weather of its own and has met nothing yet.
    pub fn another_process(&self, weather: Arc<dyn Weather>) -> MemoryLedger {
        MemoryLedger { server: Arc::clone(&self.server), weather, system_accounts: Arc::default() }
    }
}
