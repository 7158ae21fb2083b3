//! The ledger in Postgres: the only crate that names sqlx.
//!
//! Every write takes a whole batch through the same five steps, whatever its size:
//!
//! | round trip | what | why apart |
//! |---|---|---|
//! | 1 | `BEGIN` | |
//! | 2 | lock, `SELECT ... ORDER BY id FOR NO KEY UPDATE` | one order of locks, so batches never deadlock |
//! | 3 | read what is already there | a new statement after the lock sees what was committed before it |
//! | - | judge in pure domain code | |
//! | 4 | one statement of common table expressions writes, `RETURNING` what it wrote | fewer rows than expected: roll back, judge again |
//! | 5 | `COMMIT` | |
//!
//! Lock order: `reserve` and deposits lock accounts by id, then insert by id. `settle` locks payments by id,
//! then accounts by id; `locks` is the one place that takes them. Transactions run in tasks of their own that
//! no caller cancels: sqlx 0.9's `begin` is not cancel-safe. What ends one before its time is its deadline,
//! and then its connection is closed. Nor does sqlx's `commit` look at the server's answer, so each
//! transaction ends on the proof that `RETURNING` gave. Whether a COMMIT without an answer was carried out
//! nobody can tell: it is an outage, and whoever asks again is answered by the rows.
//!
//! A locked row is not an outage: what waits longer than `lock_timeout` is judged again without the rows that
//! are locked, and only the payments that need one of them are answered as locked. Where an `INSERT` waits,
//! the batch is halved down to the payment that another transaction is inserting. Whoever needs such a row is
//! answered without being asked about for a while, and nobody waits right after a wait in vain: locked rows
//! cost the others one `lock_timeout` a second, and a key whose `INSERT` waits some ten of them, every ten
//! seconds.
//!
//! A new operation of the ledger (a refund, or a hold by hand and its void) touches, in this order:
//!
//! | where | what |
//! |---|---|
//! | `migrations/` | the checks of `operations.kind` and, if it has entries, of `entries.operation_kind` |
//! | `domain::ledger::Postings` | a constructor for its entries, if it has any: balanced by construction |
//! | `posting::OperationKind` | its kind; one that ends a payment is of the kind that payments are |
//! | `session` | the step that writes it, over Postgres and in `memory::session`; what its COMMIT does, in `memory::tables` |
//! | a file of its own, as `deposits` | the request, its outcomes, the rows it needs; then lock, read, judge, and one `LedgerWrite` |
//! | `ledger` | the trait of whoever asks for it |
//! | `loadtest/sql/invariants.sql` | what always holds of it; what it holds back counts in the sum of holds |
//! | `tests/ledger/` | its answers in order, the model, and its count of round trips |
//!
//! Nothing but `posting` writes balances, holds or entries. It numbers the parameters and proves that all was
//! written.
//!
//! [`memory`] has the same transactions over tables in memory, for tests that want hours of traffic in a
//! second; `tests/ledger/memory.rs` holds its answers to those of Postgres.
//!
//! Our own accounts continue in a further row before a balance could leave the 64-bit range; a customer's
//! balance that would leave it refuses the payment or the deposit.

mod accounts;
mod audit;
mod columns;
mod dead_letters;
mod deposits;
mod error;
mod figures;
mod holds;
mod lease;
mod ledger;
mod locked_rows;
mod locks;
mod lookups;
pub mod memory;
mod open_holds;
mod operations;
mod pool;
mod posting;
mod recent_payments;
mod record;
mod rejections;
mod renewal;
mod self_audit;
mod session;
mod settlements;
mod system_accounts;
mod traces;
mod transaction;

pub use accounts::{Account, Opening};
pub use dead_letters::{DeadLetter, OpenDeadLetter};
pub use deposits::{Deposit, DepositOutcome};
pub use error::StoreError;
pub use figures::{DatabaseFigures, SessionState, TableFigures};
pub use holds::{Answer, HoldRequest};
pub use ledger::{BorderLedger, DeadLetterLedger, JanitorLedger, StageLedger};
pub use lookups::{Known, StatusRow};
pub use open_holds::{HoldPage, OpenHold};
pub use pool::{Plans, PoolFigures, Store, StoreOptions, migrate};
pub use recent_payments::{PaymentPage, RecentPayment};
pub use self_audit::{
    AuditLook, AuditWindow, Audited, FINDINGS_OPEN_MAX, FINDINGS_WRITTEN_MAX, OpenFindings, Outcome, Volume,
};
pub use settlements::{SettleRequest, Settlement};
pub use traces::Trace;
