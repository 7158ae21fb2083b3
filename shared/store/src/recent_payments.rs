//! The payments that velocities are rebuilt from, in pages: a window may hold millions.

use crate::{Store, StoreError};
use domain::{AccountId, AccountKey, Currency, Money, PaymentId, PaymentKey, Tenant, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

/// A payment that counts in the velocity of its source account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentPayment {
    /// Which payment.
    pub key: PaymentKey,
    /// The account that the money leaves, of the same tenant.
    pub source: AccountId,
    /// How much.
    pub amount: Money,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
}

impl RecentPayment {
    /// The account that the money leaves, over all tenants.
    pub fn source_key(&self) -> AccountKey {
        AccountKey { tenant: self.key.tenant.clone(), id: self.source.clone() }
    }
}

/// Some of the payments that were recorded since an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentPage {
    /// Everything recorded up to here has been read; the next page begins after it.
    pub read_to: Timestamp,
    /// The page was full: there may be more.
    pub is_full: bool,
    /// The payments, in the order in which they were recorded.
    pub payments: Vec<RecentPayment>,
}

impl Store {
    /// The payments that were recorded after an instant, in that order: at most `rows_max`, and those of the
    /// last one's instant, so that no page ends between two of them. A row without a reading is left out and
    /// told of.
    pub async fn recent_payments(&self, after: Timestamp, rows_max: u32) -> Result<PaymentPage, StoreError> {
        let statement = sqlx::query(
            "SELECT tenant, id, source_account, currency, amount, accepted_at, recorded_at FROM payments
             WHERE recorded_at > $1 ORDER BY recorded_at FETCH FIRST ($2::bigint) ROWS WITH TIES",
        );
        let statement = statement.bind(after.to_datetime()).bind(i64::from(rows_max));
        let rows = self.fetch_all(statement).await?;
        let read_to = match rows.last() {
            Some(last) => Timestamp::from(last.try_get::<OffsetDateTime, _>("recorded_at")?),
            None => after,
        };
        let mut payments = Vec::with_capacity(rows.len());
        for row in &rows {
            payments.extend(decode(row)?);
        }
        // One such row must not keep risk from judging all the others.
        if payments.len() < rows.len() {
            let count = rows.len() - payments.len();
            tracing::error!(count, %read_to, "rows of payments cannot be read and are not counted");
        }
        Ok(PaymentPage { read_to, is_full: rows.len() as u64 >= u64::from(rows_max), payments })
    }
}

/// The payment of a row; nothing where no payment can be like that.
fn decode(row: &PgRow) -> Result<Option<RecentPayment>, StoreError> {
    let text = |column| row.try_get::<&str, _>(column);
    let parsed = (
        Tenant::parse(text("tenant")?),
        PaymentId::parse(text("id")?),
        AccountId::parse(text("source_account")?),
        Currency::parse(text("currency")?),
    );
    let (Ok(tenant), Ok(id), Ok(source), Ok(currency)) = parsed else { return Ok(None) };
    Ok(Some(RecentPayment {
        key: PaymentKey { tenant, id },
        source,
        amount: Money::new(row.try_get("amount")?, currency),
        accepted_at: Timestamp::from(row.try_get::<OffsetDateTime, _>("accepted_at")?),
    }))
}
