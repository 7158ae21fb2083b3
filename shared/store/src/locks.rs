//! Every lock that a batch takes, in the one order: payments by id, then accounts by id.
//!
//! A locked row is not an outage. A lock is waited for `lock_timeout` (a setting of the session). Only when
//! that has passed the batch is judged again with `SKIP LOCKED`: rows that are skipped are told apart from
//! rows that are not there by one more look without a lock, and only the payments that need a skipped row
//! have to wait.

use crate::locked_rows::{LockedRows, RowKey};
use crate::transaction::Broken;
use crate::{StoreError, accounts, record};
use domain::ledger::{AccountStatus, LedgerAccount, SourceAccount};
use domain::{AccountId, Currency, Money, PaymentKey, PaymentRecord, Refusal, Tenant};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// A ledger account within its tenant.
pub(crate) type AccountRow = (Tenant, LedgerAccount);

/// The row of a customer's account.
pub(crate) fn customer_row(tenant: &Tenant, id: &AccountId) -> AccountRow {
    (tenant.clone(), LedgerAccount::customer(id))
}

/// What a batch does about a row that another transaction has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It waits, as long as `lock_timeout` says.
    UntilTimeout,
    /// It goes on without the row.
    Skipping,
}

/// How the locks of one attempt are taken.
#[derive(Debug)]
pub(crate) struct Locks {
    waiting: Waiting,
    /// Where to remember rows that are skipped, if they were waited for.
    memory: Option<Arc<Mutex<LockedRows>>>,
}

/// What came of locking a set of rows. Those in neither are not there.
#[derive(Debug)]
pub(crate) struct Rows<K, R> {
    /// Locked by this transaction, as they stand.
    pub(crate) found: HashMap<K, R>,
    /// Locked by another transaction.
    pub(crate) locked: HashSet<K>,
}

/// An account as it stands under its lock, amounts in minor units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountState {
    pub(crate) currency: Currency,
    pub(crate) status: AccountStatus,
    pub(crate) balance: i64,
    pub(crate) held: i64,
    pub(crate) entry_count: i64,
}

impl AccountState {
    /// Holds `amount` if the account can afford it.
    pub(crate) fn hold(&mut self, amount: Money) -> Result<(), Refusal> {
        let mut account = SourceAccount {
            currency: self.currency,
            status: self.status,
            balance: self.balance,
            held: self.held,
        };
        account.hold(amount)?;
        self.held = account.held;
        Ok(())
    }
}

/// Locks payments. Their keys come sorted, and `ORDER BY` their places is the order of the locks: places need no
/// sorting by the server, and rows of thirty columns would.
static LOCK_PAYMENTS: LazyLock<String> =
    LazyLock::new(|| format!("{} ORDER BY k.place FOR NO KEY UPDATE OF p", record::by_place()));

/// Locks those payments that nobody else has locked.
static LOCK_FREE_PAYMENTS: LazyLock<String> = LazyLock::new(|| format!("{} SKIP LOCKED", *LOCK_PAYMENTS));

/// Locks accounts, in the order of the keys likewise; the argument is what to do about those that are locked.
macro_rules! lock_accounts {
    ($skip:literal) => {
        concat!(
            "SELECT k.place, a.currency, a.status, a.balance, a.held, a.entry_count
             FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
             JOIN accounts a ON a.tenant = k.tenant AND a.id = k.id
             ORDER BY k.place
             FOR NO KEY UPDATE OF a",
            $skip
        )
    };
}

/// Finds those that are there, by their place.
macro_rules! find_unlocked {
    ($table:literal) => {
        concat!(
            "SELECT k.place FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place) JOIN ",
            $table,
            " r ON r.tenant = k.tenant AND r.id = k.id"
        )
    };
}

impl Locks {
    pub(crate) fn new(waiting: Waiting, memory: Option<Arc<Mutex<LockedRows>>>) -> Locks {
        Locks { waiting, memory }
    }

    /// Locks payments in id order, and reads them.
    pub(crate) async fn payments(
        &self,
        connection: &mut PgConnection,
        keys: &BTreeSet<PaymentKey>,
    ) -> Result<Rows<PaymentKey, PaymentRecord>, Broken> {
        let statement = match self.waiting {
            Waiting::UntilTimeout => LOCK_PAYMENTS.as_str(),
            Waiting::Skipping => LOCK_FREE_PAYMENTS.as_str(),
        };
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
        let rows = sqlx::query(statement)
            .bind(tenants)
            .bind(ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(Broken::at_lock)?;
        let found = record::decode_all(&rows)?;
        let columns = |key: &PaymentKey| (key.tenant.to_string(), key.id.to_string());
        let locked = self.skipped(connection, find_unlocked!("payments"), keys, &found, columns).await?;
        self.remember(locked.iter().cloned().map(RowKey::Payment));
        Ok(Rows { found, locked })
    }

    /// Locks accounts in id order, and reads them.
    pub(crate) async fn accounts(
        &self,
        connection: &mut PgConnection,
        keys: &BTreeSet<AccountRow>,
    ) -> Result<Rows<AccountRow, AccountState>, Broken> {
        let statement = match self.waiting {
            Waiting::UntilTimeout => lock_accounts!(""),
            Waiting::Skipping => lock_accounts!(" SKIP LOCKED"),
        };
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(tenant, account)| (tenant.as_str(), account.as_str())).unzip();
        let rows = sqlx::query(statement)
            .bind(tenants)
            .bind(ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(Broken::at_lock)?;
        let by_place: Vec<&AccountRow> = keys.iter().collect();
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            // By their places in the statement: a row that is asked by name hashes it.
            let state = AccountState {
                currency: accounts::decode_currency(row, 1)?,
                status: accounts::decode_status(row, 2)?,
                balance: row.try_get(3)?,
                held: row.try_get(4)?,
                entry_count: row.try_get(5)?,
            };
            found.insert(at_place(row, &by_place)?.clone(), state);
        }
        let columns = |(tenant, account): &AccountRow| (tenant.to_string(), account.as_str().to_owned());
        let locked = self.skipped(connection, find_unlocked!("accounts"), keys, &found, columns).await?;
        self.remember(locked.iter().cloned().map(RowKey::Account));
        Ok(Rows { found, locked })
    }

    /// Of the keys that were not found those that are there. A statement of its own: it sees what was
    /// committed meanwhile.
    async fn skipped<K: Ord + Hash + Clone, R>(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        keys: &BTreeSet<K>,
        found: &HashMap<K, R>,
        columns: impl Fn(&K) -> (String, String),
    ) -> Result<HashSet<K>, Broken> {
        let absent: Vec<&K> = keys.iter().filter(|key| !found.contains_key(*key)).collect();
        if self.waiting == Waiting::UntilTimeout || absent.is_empty() {
            return Ok(HashSet::new());
        }
        let (tenants, ids): (Vec<String>, Vec<String>) = absent.iter().map(|key| columns(key)).unzip();
        let rows = sqlx::query(statement).bind(tenants).bind(ids).fetch_all(&mut *connection).await?;
        rows.iter().map(|row| Ok(K::clone(at_place(row, &absent)?))).collect()
    }

    fn remember(&self, rows: impl ExactSizeIterator<Item = RowKey>) {
        if let Some(memory) = self.memory.as_ref().filter(|_| rows.len() > 0) {
            tracing::warn!(
                rows = rows.len(),
                "locked by another transaction for too long: who needs these rows waits, the others do not"
            );
            memory.lock().unwrap_or_else(PoisonError::into_inner).remember(rows, Instant::now());
        }
    }
}

/// The key that a row answers, by its place among those asked for: the first column.
fn at_place<'k, K>(row: &sqlx::postgres::PgRow, keys: &[&'k K]) -> Result<&'k K, StoreError> {
    let place = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
    place
        .checked_sub(1)
        .and_then(|place| keys.get(place))
        .copied()
        .ok_or_else(|| StoreError::Corrupt("place".to_owned()))
}
