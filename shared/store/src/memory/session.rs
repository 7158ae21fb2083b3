//! The steps of a transaction of the ledger in memory.

use crate::StoreError;
use crate::locks::{AccountRow, AccountState, Rows, Waiting};
use crate::memory::locks::{Lockable, Taken};
use crate::memory::tables::{Change, Tables, hold_of};
use crate::memory::{Call, MemoryLedger, Place, objection};
use crate::operations::Recorded;
use crate::posting::{Operation, OperationKind};
use crate::session::Session;
use crate::transaction::Broken;
use domain::facts::RecordState;
use domain::{OperationId, PaymentKey, PaymentRecord, Refusal, Tenant, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use tokio::time::Instant;

/// A transaction that has begun, by its number.
pub(super) struct MemorySession {
    ledger: MemoryLedger,
    call: Call,
    waiting: Waiting,
    number: u64,
}

impl MemorySession {
    pub(super) fn new(ledger: MemoryLedger, call: Call, waiting: Waiting, number: u64) -> MemorySession {
        MemorySession { ledger, call, waiting, number }
    }

    /// One round trip that reads.
    async fn read<T>(&self, read: impl FnOnce(&Tables) -> Result<T, StoreError>) -> Result<T, Broken> {
        let begun = self.ledger.step(self.call, Place::Read).await?;
        let answer = read(&self.ledger.server.state().tables)?;
        begun.answered().await?;
        Ok(answer)
    }

    /// Takes a lock, waiting for it as long as for any.
    pub(super) async fn take(&self, key: &Arc<Lockable>) -> Result<(), sqlx::Error> {
        let server = &self.ledger.server;
        let deadline = Instant::now() + server.lock_timeout;
        loop {
            let taken = server.state().transactions.take(self.number, key);
            let ended = match taken {
                Taken::Held => return Ok(()),
                Taken::After(ended) => ended,
                Taken::Circle => return Err(objection::deadlock()),
                Taken::Ended => return Err(objection::cut()),
            };
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                server.state().transactions.gives_up(self.number);
                return Err(objection::lock_timeout());
            }
        }
    }

    /// Takes the lock of a row, or goes on without it where locked rows are skipped.
    async fn take_or_skip(&self, key: &Arc<Lockable>) -> Result<(), Broken> {
        match self.waiting {
            Waiting::UntilTimeout => self.take(key).await.map_err(Broken::at_lock),
            Waiting::Skipping => {
                let taken = self.ledger.server.state().transactions.take_free(self.number, key);
                Ok(taken.map(|_| ()).ok_or_else(objection::cut)?)
            }
        }
    }

    /// Takes the locks of those rows that are there, in the order of the keys, and reads them. The first one
    /// as the statement begins and the others when it has taken its time, so that two statements can come to
    /// hold what the other needs.
    async fn lock<K: Ord + Hash + Clone, R>(
        &self,
        keys: &BTreeSet<K>,
        lockable: impl Fn(K) -> Lockable,
        there: impl Fn(&Tables, &K) -> bool,
        read: impl Fn(&Tables, &K) -> Result<Option<R>, StoreError>,
    ) -> Result<Rows<K, R>, Broken> {
        let server = &self.ledger.server;
        let mut present: Vec<(Arc<Lockable>, &K)> = {
            let state = server.state();
            let present = keys.iter().filter(|key| there(&state.tables, key));
            present.map(|key| (Arc::new(lockable(key.clone())), key)).collect()
        };
        self.put_in_order(&mut present);
        let mut locks = present.iter().map(|(lock, _)| lock);
        if let Some(first) = locks.next() {
            self.take_or_skip(first).await?;
        }
        let begun = self.ledger.step(self.call, Place::Lock).await?;
        for lock in locks {
            self.take_or_skip(lock).await?;
        }
        let rows = {
            let state = server.state();
            let mut rows = Rows { found: HashMap::with_capacity(keys.len()), locked: HashSet::new() };
            for (_, key) in present.iter().filter(|(lock, _)| state.transactions.holds(self.number, lock)) {
                rows.found.extend(read(&state.tables, key)?.map(|row| (K::clone(key), row)));
            }
            if self.waiting == Waiting::Skipping {
                let skipped = |key: &&K| !rows.found.contains_key(*key) && there(&state.tables, key);
                rows.locked = keys.iter().filter(skipped).cloned().collect();
            }
            rows
        };
        begun.answered().await?;
        Ok(rows)
    }

    /// Sorted, unless that is taken out.
    fn put_in_order<K: Ord>(&self, keys: &mut [K]) {
        keys.sort_unstable();
        if self.ledger.server.removed.lock_order && self.number.is_multiple_of(2) {
            keys.reverse();
        }
    }

    /// Inserts rows by their keys, in the order of the keys; each waits for whoever else is inserting it.
    /// When each was inserted.
    async fn insert(&self, mut keys: Vec<(Arc<Lockable>, usize)>) -> Result<Vec<(usize, Timestamp)>, Broken> {
        self.put_in_order(&mut keys);
        let mut inserted = Vec::with_capacity(keys.len());
        for (key, place) in keys {
            self.take(&key).await.map_err(Broken::at_insert)?;
            inserted.push((place, self.ledger.server.now()));
        }
        Ok(inserted)
    }

    /// Writes new payments, and what they do to the ledger.
    async fn insert_payments(
        &self,
        records: &[PaymentRecord],
        operations: &[Operation],
        at: Timestamp,
    ) -> Result<bool, Broken> {
        let begun = self.ledger.step(self.call, Place::Write).await?;
        let keys = records.iter().map(|record| Arc::new(Lockable::NewPayment(record.facts.payment.key())));
        let inserted = self.insert(keys.zip(0..).collect()).await?;
        if let Some(error) = records.iter().find_map(objection::to_record) {
            return Err(error.into());
        }
        let record = |(place, at): (usize, Timestamp)| Some((records.get(place)?.clone(), at));
        let inserted = inserted.into_iter().filter_map(record).collect();
        let change = Change { inserted, ..Change::of(OperationKind::Payment, operations, at) };
        let is_new = |tables: &Tables, change: &Change| {
            let mut keys = change.inserted.iter().map(|(record, _)| record.facts.payment.key());
            keys.all(|key| !tables.payments.contains_key(&key))
        };
        let is_written = self.write(change, is_new)?;
        begun.answered().await?;
        Ok(is_written)
    }

    /// Keeps what is written until the COMMIT; whether all of it can be.
    fn write(
        &self,
        change: Change,
        is_possible: impl FnOnce(&Tables, &Change) -> bool,
    ) -> Result<bool, Broken> {
        let mut state = self.ledger.server.state();
        let is_written = is_possible(&state.tables, &change);
        state.transactions.write(self.number, change).ok_or_else(objection::cut)?;
        Ok(is_written)
    }
}

impl Session for MemorySession {
    async fn lock_payments(
        &mut self,
        keys: &BTreeSet<PaymentKey>,
    ) -> Result<Rows<PaymentKey, PaymentRecord>, Broken> {
        let is_unguarded = self.ledger.server.removed.settle_state_guard;
        let read = |tables: &Tables, key: &PaymentKey| {
            let mut record = tables.record(key)?.cloned();
            if is_unguarded
                && let Some(record) = &mut record
                && let Some(reserved) = hold_of(&record.state)
            {
                record.state = RecordState::Reserved(reserved);
            }
            Ok(record)
        };
        self.lock(keys, Lockable::Payment, |tables, key| tables.payments.contains_key(key), read).await
    }

    async fn lock_accounts(
        &mut self,
        keys: &BTreeSet<AccountRow>,
    ) -> Result<Rows<AccountRow, AccountState>, Broken> {
        let there = |tables: &Tables, key: &AccountRow| tables.accounts.contains_key(key);
        self.lock(keys, Lockable::Account, there, |tables, key| Ok(tables.accounts.get(key).copied())).await
    }

    async fn records(&mut self, keys: Vec<PaymentKey>) -> Result<HashMap<PaymentKey, PaymentRecord>, Broken> {
        let read = |tables: &Tables| {
            let found = |key: PaymentKey| Ok(tables.record(&key)?.cloned().map(|record| (key, record)));
            keys.into_iter().map(found).filter_map(Result::transpose).collect()
        };
        self.read(read).await
    }

    async fn deposits(
        &mut self,
        keys: Vec<(Tenant, OperationId)>,
    ) -> Result<HashMap<(Tenant, OperationId), Recorded>, Broken> {
        let read = |tables: &Tables| {
            let found = |key| Some((tables.deposits.get(&key)?.clone(), key));
            Ok(keys.into_iter().filter_map(found).map(|(recorded, key)| (key, recorded)).collect())
        };
        self.read(read).await
    }

    async fn write_holds(
        &mut self,
        records: &[PaymentRecord],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        self.insert_payments(records, operations, now).await
    }

    async fn write_rejections(&mut self, records: &[PaymentRecord]) -> Result<bool, Broken> {
        self.insert_payments(records, &[], Timestamp::default()).await
    }

    async fn write_ends(
        &mut self,
        ended: &[(PaymentKey, Option<Refusal>)],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        let is_unguarded = self.ledger.server.removed.settle_state_guard;
        let is_held = |tables: &Tables, change: &Change| {
            let mut rows = change.ended.iter().map(|(key, _)| tables.payments.get(key));
            rows.all(|row| {
                row.is_some_and(|row| is_unguarded || matches!(row.record.state, RecordState::Reserved(_)))
            })
        };
        let begun = self.ledger.step(self.call, Place::Write).await?;
        let change = Change { ended: ended.to_vec(), ..Change::of(OperationKind::Payment, operations, now) };
        let is_written = self.write(change, is_held)?;
        begun.answered().await?;
        Ok(is_written)
    }

    async fn write_deposits(
        &mut self,
        recorded: &[Recorded],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        let begun = self.ledger.step(self.call, Place::Write).await?;
        let key = |operation: &Operation| {
            Some((operation.tenant.clone(), OperationId::parse(operation.id.as_str()).ok()?))
        };
        let deposits: Vec<((Tenant, OperationId), Recorded)> = operations
            .iter()
            .zip(recorded)
            .filter_map(|(operation, recorded)| Some((key(operation)?, recorded.clone())))
            .collect();
        let keys = deposits
            .iter()
            .map(|((tenant, id), _)| Arc::new(Lockable::NewDeposit(tenant.clone(), id.clone())));
        self.insert(keys.zip(0..).collect()).await?;
        let change = Change { deposits, ..Change::of(OperationKind::Deposit, operations, now) };
        let is_new = |tables: &Tables, change: &Change| {
            change.deposits.iter().all(|(key, _)| !tables.deposits.contains_key(key))
        };
        let is_written = self.write(change, is_new)?;
        begun.answered().await?;
        Ok(is_written)
    }
}
