//! Our own accounts in the ledger: made when a currency is seen first, and row after row as each is full.

use crate::locks::{AccountRow, AccountState, Rows};
use crate::transaction::Broken;
use crate::{Store, StoreError};
use domain::ledger::LedgerAccount;
use domain::system_account::{SystemAccount, SystemAccounts, SystemKind};
use domain::{Currency, Tenant};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{MutexGuard, PoisonError};

/// Those that this process has met, by tenant and shard: as many as the ledger has, which clients can only
/// make one of per currency. Each knows how far its account had come; another process may have gone on, which
/// the next batch finds out.
pub(crate) type KnownSystemAccounts = HashMap<(Tenant, u16), SystemAccounts>;

/// How often one batch goes on in a further row. Others would have to fill row after row meanwhile.
const ROUNDS_MAX: u32 = 5;

/// The accounts of one shard that a batch posts to, by tenant.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    known: HashMap<Tenant, SystemAccounts>,
    unknown: SystemAccounts,
    /// They were made anew: one that is not there now is a fault.
    is_renewed: bool,
}

/// What a batch found of our accounts, when it locked them.
pub(crate) enum Judged<T> {
    /// They could be posted to, and this is what came of it.
    Answered(T),
    /// These rows take no further batch.
    Full(Vec<(Tenant, SystemAccount)>),
    /// These rows are not there.
    Missing(Vec<(Tenant, SystemAccount)>),
}

impl Ours {
    /// The accounts of a tenant.
    pub(crate) fn of(&self, tenant: &Tenant) -> &SystemAccounts {
        self.known.get(tenant).unwrap_or(&self.unknown)
    }

    /// What stands in the way of posting to these rows, if anything of ours does.
    pub(crate) fn obstacle<T>(
        &self,
        touched: &BTreeSet<AccountRow>,
        rows: &Rows<AccountRow, AccountState>,
    ) -> Option<Judged<T>> {
        let (mut full, mut missing) = (Vec::new(), Vec::new());
        for key in touched {
            let Some(account) = SystemAccount::parse(key.1.as_str()) else { continue };
            match rows.found.get(key) {
                Some(row) if SystemAccount::is_full(row.balance) => full.push((key.0.clone(), account)),
                None if !rows.locked.contains(key) => missing.push((key.0.clone(), account)),
                _ => {}
            }
        }
        match (missing.is_empty(), full.is_empty()) {
            (false, _) if !self.is_renewed => Some(Judged::Missing(missing)),
            (_, false) => Some(Judged::Full(full)),
            _ => None,
        }
    }
}

/// Where the rows of our accounts are, and what this process knows of them.
pub(crate) trait OurRows: Sync {
    /// What this process knows.
    fn known_system_accounts(&self) -> MutexGuard<'_, KnownSystemAccounts>;

    /// Makes these rows where they are not there, and tells for each which is its account's last, if that is
    /// none of the first ones. One round trip.
    fn make(
        &self,
        rows: &BTreeSet<(Tenant, SystemAccount)>,
    ) -> impl Future<Output = Result<Vec<Option<SystemAccount>>, StoreError>> + Send;
}

/// Judges a batch with the accounts of these currencies: again with the next row where one is full, and once
/// more, with accounts made anew, where a known one is not there, as after the ledger was set back.
pub(crate) async fn with_system_accounts<T, F>(
    ledger: &impl OurRows,
    mut currencies: BTreeSet<(Tenant, Currency)>,
    shard: u16,
    judge: impl Fn(Ours) -> F,
) -> Result<T, Broken>
where
    F: Future<Output = Result<Judged<T>, Broken>>,
{
    let mut is_renewed = false;
    for _ in 0..ROUNDS_MAX {
        let ours = ours(ledger, &currencies, shard, is_renewed).await?;
        match judge(ours).await? {
            Judged::Answered(answer) => return Ok(answer),
            Judged::Full(rows) => {
                currencies.extend(rows.iter().map(|(tenant, account)| (tenant.clone(), account.currency)));
                let next = rows.into_iter().map(|(tenant, account)| (tenant, account.next())).collect();
                meet(ledger, next).await?;
            }
            Judged::Missing(rows) => {
                let example = rows.first().map(|(_, account)| account.to_string());
                tracing::error!(
                    example,
                    "system accounts are not in the ledger any more: they are made anew"
                );
                currencies.extend(rows.into_iter().map(|(tenant, account)| (tenant, account.currency)));
                ledger.known_system_accounts().clear();
                is_renewed = true;
            }
        }
    }
    Err(StoreError::Contention(ROUNDS_MAX).into())
}

/// The accounts of these currencies, made if this process has not met them.
async fn ours(
    ledger: &impl OurRows,
    currencies: &BTreeSet<(Tenant, Currency)>,
    shard: u16,
    is_renewed: bool,
) -> Result<Ours, StoreError> {
    let first_rows = currencies.iter().flat_map(|(tenant, currency)| {
        SystemKind::ALL.map(|kind| (tenant.clone(), SystemAccount::first(kind, *currency, shard)))
    });
    let unmet: BTreeSet<(Tenant, SystemAccount)> = {
        let known = ledger.known_system_accounts();
        let is_known = |tenant: &Tenant, account: &SystemAccount| {
            known
                .get(&(tenant.clone(), shard))
                .is_some_and(|accounts| accounts.knows(account.kind, account.currency))
        };
        first_rows.filter(|(tenant, account)| !is_known(tenant, account)).collect()
    };
    if !unmet.is_empty() {
        meet(ledger, unmet).await?;
    }
    let known = ledger.known_system_accounts();
    let of_tenant = |tenant: &Tenant| Some((tenant.clone(), known.get(&(tenant.clone(), shard))?.clone()));
    let tenants: BTreeSet<&Tenant> = currencies.iter().map(|(tenant, _)| tenant).collect();
    Ok(Ours {
        known: tenants.into_iter().filter_map(of_tenant).collect(),
        unknown: SystemAccounts::of(shard),
        is_renewed,
    })
}

/// Makes these rows where they are not there, and learns which is the last of each account.
async fn meet(ledger: &impl OurRows, rows: BTreeSet<(Tenant, SystemAccount)>) -> Result<(), StoreError> {
    let last_rows = ledger.make(&rows).await?;
    let mut known = ledger.known_system_accounts();
    for ((tenant, made), last) in rows.into_iter().zip(last_rows) {
        let accounts = known.entry((tenant, made.shard)).or_insert_with(|| SystemAccounts::of(made.shard));
        accounts.reach(made);
        last.into_iter().for_each(|last| accounts.reach(last));
    }
    Ok(())
}

impl Store {
    /// The row that an account of ours is at, as far as this process knows.
    pub(crate) fn current_row(
        &self,
        tenant: &Tenant,
        kind: SystemKind,
        currency: Currency,
        shard: u16,
    ) -> LedgerAccount {
        let known = self.known_system_accounts();
        let current = known.get(&(tenant.clone(), shard)).map(|accounts| accounts.current(kind, currency));
        current.unwrap_or(SystemAccount::first(kind, currency, shard)).into()
    }
}

impl OurRows for Store {
    fn known_system_accounts(&self) -> MutexGuard<'_, KnownSystemAccounts> {
        self.system_accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(
        &self,
        rows: &BTreeSet<(Tenant, SystemAccount)>,
    ) -> Result<Vec<Option<SystemAccount>>, StoreError> {
        let query = sqlx::query(
            "WITH made AS (
                INSERT INTO accounts (tenant, id, kind, currency)
                SELECT n.tenant, n.id, 'system', n.currency FROM UNNEST($1::text[], $2::text[], $3::text[]) AS n(tenant, id, currency)
                ORDER BY n.tenant, n.id
                ON CONFLICT (tenant, id) DO NOTHING)
             SELECT n.place, (
                SELECT a.id FROM accounts a
                WHERE a.tenant = n.tenant AND a.id > n.prefix AND a.id < n.prefix || ':'
                ORDER BY length(a.id) DESC, a.id DESC LIMIT 1) AS last
             FROM UNNEST($1::text[], $4::text[]) WITH ORDINALITY AS n(tenant, prefix, place)
             ORDER BY n.place",
        );
        let accounts = || rows.iter().map(|(_, account)| *account);
        let query = query
            .bind(rows.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
            .bind(accounts().map(|account| account.to_string()).collect::<Vec<_>>())
            .bind(accounts().map(|account| account.currency.code()).collect::<Vec<_>>())
            .bind(accounts().map(SystemAccount::later_rows_prefix).collect::<Vec<_>>());
        let last = |row: &PgRow| match row.try_get::<Option<&str>, _>("last")? {
            None => Ok(None),
            Some(id) => SystemAccount::parse(id)
                .map(Some)
                .ok_or_else(|| StoreError::Corrupt("accounts.id".to_owned())),
        };
        self.fetch_all(query).await?.iter().map(last).collect()
    }
}
