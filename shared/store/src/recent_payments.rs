//! The payments that velocities are rebuilt from.

use crate::{Store, StoreError};
use domain::{AccountId, AccountKey, Currency, Money, Tenant, Timestamp};
use sqlx::Row;
use time::OffsetDateTime;

/// A payment that counts in the velocity of its source account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentPayment {
    /// The account that the money leaves.
    pub source: AccountKey,
    /// How much.
    pub amount: Money,
    /// The sequence of the accepted message that the row was derived from.
    pub accepted_seq: u64,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
    /// Which payment.
    pub payment_id: String,
}

impl Store {
    /// Payments recorded since an instant, for rebuilding velocities.
    pub async fn recent_payments(&self, since: Timestamp) -> Result<Vec<RecentPayment>, StoreError> {
        let query = sqlx::query(
            "SELECT tenant, id, source_account, currency, amount, accepted_seq, accepted_at FROM payments WHERE recorded_at >= $1 AND accepted_at >= $1",
        );
        let rows = self.fetch_all(query.bind(since.to_datetime())).await?;
        let corrupt = |what: &str| StoreError::Corrupt(format!("payments.{what}"));
        let decode = |row: &sqlx::postgres::PgRow| -> Result<RecentPayment, StoreError> {
            let currency = Currency::parse(row.try_get("currency")?).map_err(|_| corrupt("currency"))?;
            Ok(RecentPayment {
                source: AccountKey {
                    tenant: Tenant::parse(row.try_get::<String, _>("tenant")?)
                        .map_err(|_| corrupt("tenant"))?,
                    id: AccountId::parse(row.try_get::<String, _>("source_account")?)
                        .map_err(|_| corrupt("source_account"))?,
                },
                amount: Money::new(row.try_get("amount")?, currency),
                accepted_seq: u64::try_from(row.try_get::<i64, _>("accepted_seq")?)
                    .map_err(|_| corrupt("accepted_seq"))?,
                accepted_at: Timestamp::from(row.try_get::<OffsetDateTime, _>("accepted_at")?),
                payment_id: row.try_get("id")?,
            })
        };
        rows.iter().map(decode).collect()
    }
}
