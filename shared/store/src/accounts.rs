//! Accounts: open, look up.

use crate::{Store, StoreError};
use domain::ledger::AccountStatus;
use domain::{AccountId, AccountKey, Currency, Money, Tenant};
use sqlx::postgres::PgRow;
use sqlx::{ColumnIndex, Row};
use std::collections::{BTreeSet, HashMap};

/// A customer's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account over all tenants.
    pub key: AccountKey,
    /// Its one immutable currency.
    pub currency: Currency,
    /// Whether money may leave it.
    pub status: AccountStatus,
    /// The sum of its entries.
    pub balance: Money,
    /// What open holds keep back.
    pub held: Money,
}

impl Account {
    /// What can be spent.
    pub fn available(&self) -> Money {
        Money::new(self.balance.minor.saturating_sub(self.held.minor), self.currency)
    }
}

/// How opening an account went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It is new.
    Opened(Account),
    /// It was there, in the same currency.
    Replayed(Account),
    /// It was there, in another currency.
    OtherCurrency,
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("accounts.{what}"))
}

/// The currency of a row of `accounts`, from this column.
pub(crate) fn decode_currency(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Currency, StoreError> {
    Currency::parse(row.try_get(column)?).map_err(|_| corrupt("currency"))
}

/// The status of a row of `accounts`, from this column. One that this build does not know may forbid anything, so it is not
/// taken for another.
pub(crate) fn decode_status(
    row: &PgRow,
    column: impl ColumnIndex<PgRow>,
) -> Result<AccountStatus, StoreError> {
    match row.try_get(column)? {
        "ACTIVE" => Ok(AccountStatus::Active),
        "FROZEN" => Ok(AccountStatus::Frozen),
        _ => Err(corrupt("status")),
    }
}

fn decode(row: &PgRow) -> Result<Account, StoreError> {
    let currency = decode_currency(row, "currency")?;
    Ok(Account {
        key: AccountKey {
            tenant: Tenant::parse(row.try_get::<String, _>("tenant")?).map_err(|_| corrupt("tenant"))?,
            id: AccountId::parse(row.try_get::<String, _>("id")?).map_err(|_| corrupt("id"))?,
        },
        currency,
        status: decode_status(row, "status")?,
        balance: Money::new(row.try_get("balance")?, currency),
        held: Money::new(row.try_get("held")?, currency),
    })
}

impl Store {
    /// Opens a customer's account with a zero balance.
    pub async fn open_account(&self, key: &AccountKey, currency: Currency) -> Result<Opening, StoreError> {
        let query = sqlx::query(
            "INSERT INTO accounts (tenant, id, kind, currency) VALUES ($1, $2, 'customer', $3)
             ON CONFLICT (tenant, id) DO NOTHING
             RETURNING tenant, id, currency, status, balance, held",
        );
        let query = query.bind(key.tenant.as_str()).bind(key.id.as_str()).bind(currency.code());
        if let Some(row) = self.fetch_all(query).await?.first() {
            return Ok(Opening::Opened(decode(row)?));
        }
        // The row that was in the way is not visible to the statement that met it; this one sees it.
        let account = self.account(key).await?.ok_or_else(|| corrupt("id"))?;
        Ok(if account.currency == currency { Opening::Replayed(account) } else { Opening::OtherCurrency })
    }

    /// A customer's account.
    pub async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query(
            "SELECT tenant, id, currency, status, balance, held FROM accounts WHERE tenant = $1 AND id = $2 AND kind = 'customer'",
        );
        let rows = self.fetch_all(query.bind(key.tenant.as_str()).bind(key.id.as_str())).await?;
        rows.first().map(decode).transpose()
    }

    /// The currencies of those accounts that exist. One round trip. Only ids of customers can be asked for: those
    /// of our own accounts have a colon.
    pub async fn account_currencies(
        &self,
        keys: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
        let query = sqlx::query(
            "SELECT k.place, a.currency
             FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
             JOIN accounts a ON a.tenant = k.tenant AND a.id = k.id",
        );
        let rows = self.fetch_all(query.bind(tenants).bind(ids)).await?;
        let keys: Vec<&AccountKey> = keys.iter().collect();
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
            let key =
                place.checked_sub(1).and_then(|place| keys.get(place)).ok_or_else(|| corrupt("place"))?;
            found.insert((*key).clone(), decode_currency(&row, 1)?);
        }
        Ok(found)
    }
}
