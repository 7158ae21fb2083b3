//! What others than the services do to the ledger in memory, and what a test looks at.

use crate::locks::{Waiting, customer_row};
use crate::memory::locks::Lockable;
use crate::memory::session::MemorySession;
use crate::memory::tables::{Change, Tables};
use crate::memory::transactions::Running;
use crate::memory::{AccountView, Call, EntryLine, MemoryLedger, OperationKind};
use crate::operations::Recorded;
use crate::posting::Operation;
use crate::{DeadLetter, OpenDeadLetter, OpenHold, StoreError};
use domain::ledger::{AccountStatus, Balance, Book, LedgerAccount, Postings};
use domain::system_account::{SystemAccounts, SystemKind};
use domain::{AccountKey, Money, OperationId, PaymentKey, PaymentRecord, Tenant, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A transaction from outside that holds a lock until it is dropped.
pub struct Outsider {
    _transaction: Running,
}

/// The ledger as it was at an instant.
#[derive(Clone)]
pub struct Backup(Tables);

impl MemoryLedger {
    /// Locks the row of a customer's account from outside. Nothing where another holds it for all of
    /// `lock_timeout`.
    pub async fn lock_account(&self, key: &AccountKey) -> Option<Outsider> {
        self.lock_from_outside(Lockable::Account(customer_row(&key.tenant, &key.id))).await
    }

    /// Locks the row of a payment from outside, likewise.
    pub async fn lock_payment(&self, key: &PaymentKey) -> Option<Outsider> {
        self.lock_from_outside(Lockable::Payment(key.clone())).await
    }

    /// Inserts a payment from outside, likewise, without ever committing it.
    pub async fn lock_new_payment(&self, key: &PaymentKey) -> Option<Outsider> {
        self.lock_from_outside(Lockable::NewPayment(key.clone())).await
    }

    async fn lock_from_outside(&self, key: Lockable) -> Option<Outsider> {
        let transaction = Running::begin(&self.server);
        // The weather is the services'; an outsider's steps take no time.
        let session =
            MemorySession::new(self.clone(), Call::Reserve, Waiting::UntilTimeout, transaction.number);
        session.take(&Arc::new(key)).await.ok().map(|()| Outsider { _transaction: transaction })
    }

    /// What the ledger has now.
    pub fn backup(&self) -> Backup {
        Backup(self.server.state().tables.clone())
    }

    /// Sets the ledger back. Every transaction that is open is cut.
    pub fn restore(&self, backup: &Backup) {
        let mut state = self.server.state();
        state.transactions.end_all();
        state.tables = backup.0.clone();
    }

    /// Opens a customer's account with a deposit of so much, unless it is there already.
    pub fn open_account(&self, key: &AccountKey, balance: Money) -> Result<(), StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(error.to_string());
        let id = OperationId::parse(key.id.as_str()).map_err(|error| corrupt(&error))?;
        let now = self.server.now();
        let mut state = self.server.state();
        let ours = SystemAccounts::of(crate::deposits::SHARD);
        let outside = LedgerAccount::from(ours.current(SystemKind::External, balance.currency));
        let rows = [(key.tenant.clone(), outside), customer_row(&key.tenant, &key.id)];
        if state.tables.accounts.contains_key(&rows[1]) {
            return Ok(());
        }
        let mut book = Book::default();
        for row in rows {
            state.tables.open(row.clone(), balance.currency);
            let Some(found) = state.tables.accounts.get(&row) else { continue };
            book.insert(row.1, Balance { minor: found.balance, entry_count: found.entry_count });
        }
        if balance.minor == 0 {
            return Ok(());
        }
        let entries =
            book.post(&Postings::deposit(&key.id, balance, &ours)).map_err(|error| corrupt(&error))?;
        let recorded =
            Recorded { account_id: key.id.to_string(), amount: balance, balance_after: balance.minor };
        let operation = Operation { tenant: key.tenant.clone(), id: id.to_string(), entries, hold: None };
        state.tables.apply(Change {
            deposits: vec![((key.tenant.clone(), id), recorded)],
            ..Change::of(OperationKind::Deposit, &[operation], now)
        });
        Ok(())
    }

    /// Freezes a customer's account, or lets money leave it again; whether it is there. As by one statement
    /// that waits for nobody.
    pub fn set_account_status(&self, key: &AccountKey, status: AccountStatus) -> bool {
        let mut state = self.server.state();
        let row = state.tables.accounts.get_mut(&customer_row(&key.tenant, &key.id));
        row.map(|row| row.status = status).is_some()
    }

    /// Puts a payment's row in the place of any that it has. The accounts know nothing of it.
    pub fn put_record(&self, record: PaymentRecord, recorded_at: Timestamp) {
        self.server.state().tables.put(record, recorded_at);
    }

    /// Changes a payment's row where it stands; whether it has one. The accounts know nothing of it.
    pub fn change_record(&self, key: &PaymentKey, change: impl FnOnce(&mut PaymentRecord)) -> bool {
        let mut state = self.server.state();
        state.tables.payments.get_mut(key).map(|row| change(&mut row.record)).is_some()
    }

    /// Takes a payment's row away, as in a ledger that was set back; whether it had one.
    pub fn lose_record(&self, key: &PaymentKey) -> bool {
        self.server.state().tables.lose(key)
    }

    /// Another build has written the payment's row, and this one does not understand it; whether it has one.
    pub fn make_unreadable(&self, key: &PaymentKey) -> bool {
        self.server.state().tables.make_unreadable(key)
    }

    /// Buries a delivery at this instant; the same delivery again changes nothing.
    pub fn put_letter(&self, letter: &DeadLetter, at: Timestamp) {
        self.server.state().tables.bury(letter, at);
    }

    /// Resolves the dead letters of a payment, given as tenant and id; how many were open.
    pub fn resolve_letters(&self, tenant: &str, id: &str) -> usize {
        self.server.state().tables.resolve(&(tenant.to_owned(), id.to_owned()))
    }
}

/// What a test looks at: the tables as they are committed, at once and without weather.
impl MemoryLedger {
    /// The row of a payment.
    pub fn record(&self, key: &PaymentKey) -> Option<PaymentRecord> {
        self.server.state().tables.payments.get(key).map(|row| row.record.clone())
    }

    /// Whether a payment has a row.
    pub fn has_record(&self, key: &PaymentKey) -> bool {
        self.server.state().tables.payments.contains_key(key)
    }

    /// Shows each payment's row, in the order of the keys, and when it was recorded. `show` must not ask the
    /// ledger.
    pub fn each_record(&self, mut show: impl FnMut(&PaymentRecord, Timestamp)) {
        let state = self.server.state();
        state.tables.payments.values().for_each(|row| show(&row.record, row.recorded_at));
    }

    /// Every account, ours as well.
    pub fn accounts(&self) -> BTreeMap<(Tenant, LedgerAccount), AccountView> {
        let state = self.server.state();
        state.tables.accounts.iter().map(|(row, account)| (row.clone(), account.into())).collect()
    }

    /// The entries of one operation, in the order in which they were written.
    pub fn entries_of(&self, kind: OperationKind, tenant: &Tenant, id: &str) -> Vec<EntryLine> {
        let key = (kind, tenant.clone(), id.to_owned());
        self.server.state().tables.entries.get(&key).cloned().unwrap_or_default()
    }

    /// Shows the entries of each operation: its kind, tenant and id. `show` must not ask the ledger.
    pub fn each_operation(&self, mut show: impl FnMut(OperationKind, &Tenant, &str, &[EntryLine])) {
        let state = self.server.state();
        for ((kind, tenant, id), lines) in &state.tables.entries {
            show(*kind, tenant, id, lines);
        }
    }

    /// The open dead letters of a payment, given as tenant and id, oldest first.
    pub fn open_letters(&self, tenant: &str, id: &str) -> Vec<OpenDeadLetter> {
        let key = (tenant.to_owned(), id.to_owned());
        self.server.state().tables.open_letters(&key).cloned().collect()
    }

    /// The payments with an open dead letter, as tenant and id.
    pub fn buried(&self) -> Vec<(String, String)> {
        self.server.state().tables.buried().cloned().collect()
    }

    /// The lines of `open_holds`.
    pub fn lines(&self) -> Vec<OpenHold> {
        let hold =
            |(key, held_at): (&PaymentKey, &Timestamp)| OpenHold { key: key.clone(), held_at: *held_at };
        self.server.state().tables.lines.iter().map(hold).collect()
    }

    /// How often the janitor has looked for the payment that it looked for most.
    pub fn looks_max(&self) -> u64 {
        self.server.state().looks.values().copied().max().unwrap_or(0)
    }

    /// How many transactions are open, those of outsiders as well.
    pub fn open_transactions(&self) -> usize {
        self.server.state().transactions.open_count()
    }

    /// How many locks are held.
    pub fn locks_held(&self) -> usize {
        self.server.state().transactions.lock_count()
    }

    /// How often transactions came to wait for each other in a circle: never, as long as all of them take
    /// their locks in one order.
    pub fn lock_cycles(&self) -> usize {
        self.server.state().transactions.circle_count()
    }

    /// What is wrong with the ledger; `violations.rs` says what is looked at.
    pub fn violations(&self) -> Vec<String> {
        self.server.state().tables.violations()
    }
}
