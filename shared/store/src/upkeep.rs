//! What the janitor and a starting risk stage ask of the ledger.

use crate::{Store, StoreError};
use domain::{AccountId, AccountKey, Currency, Money, Tenant, Timestamp};
use sqlx::Row;
use std::collections::HashMap;
use std::time::Duration;
use time::OffsetDateTime;

/// What the ledger has of an accepted payment. Both kinds say how long it takes until they are as old as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// A row, which never goes away.
    Recorded {
        /// Until it is old enough.
        wait: Duration,
    },
    /// No row but an open dead letter, which someone may resolve.
    Dead {
        /// Until it is old enough.
        wait: Duration,
    },
}

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

/// As statements take it.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// What these payments, given as tenant and id, have left in the ledger, by their place in `keys`; and how long each
    /// trace takes until it is `age` old by the database's clock. One round trip.
    pub async fn traces(&self, keys: &[(String, String)], age: Duration) -> Result<HashMap<usize, Trace>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) = keys.iter().map(|(tenant, id)| (tenant.as_str(), id.as_str())).unzip();
        let rows = self
            .within(
                sqlx::query(
                    "SELECT k.place, p.id IS NOT NULL AS recorded,
                (extract(epoch FROM COALESCE(p.recorded_at, d.at) - clock_timestamp()) * 1000)::bigint + $3 AS wait_ms
             FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
             LEFT JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
             LEFT JOIN LATERAL (
                SELECT min(at) AS at FROM dead_letters d
                WHERE p.id IS NULL AND d.tenant = k.tenant AND d.id = k.id AND d.resolved_at IS NULL) d ON true
             WHERE p.id IS NOT NULL OR d.at IS NOT NULL",
                )
                .bind(tenants)
                .bind(ids)
                .bind(milliseconds(age))
                .fetch_all(&self.pool),
            )
            .await?;
        let mut traces = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or(0);
            let place = place.checked_sub(1).ok_or_else(|| StoreError::Corrupt("place".into()))?;
            let wait = Duration::from_millis(u64::try_from(row.try_get::<i64, _>("wait_ms")?).unwrap_or(0));
            traces.insert(place, if row.try_get("recorded")? { Trace::Recorded { wait } } else { Trace::Dead { wait } });
        }
        Ok(traces)
    }

    /// Payments recorded since an instant, for rebuilding velocities.
    pub async fn recent_payments(&self, since: Timestamp) -> Result<Vec<RecentPayment>, StoreError> {
        let rows = self.within(sqlx::query(
            "SELECT tenant, id, source_account, currency, amount, accepted_seq, accepted_at FROM payments WHERE recorded_at >= $1 AND accepted_at >= $1",
        )
        .bind(since.to_datetime())
        .fetch_all(&self.pool)).await?;
        let corrupt = |what: &str| StoreError::Corrupt(format!("payments.{what}"));
        let decode = |row: &sqlx::postgres::PgRow| -> Result<RecentPayment, StoreError> {
            let currency = Currency::parse(row.try_get("currency")?).map_err(|_| corrupt("currency"))?;
            Ok(RecentPayment {
                source: AccountKey {
                    tenant: Tenant::parse(row.try_get::<String, _>("tenant")?).map_err(|_| corrupt("tenant"))?,
                    id: AccountId::parse(row.try_get::<String, _>("source_account")?).map_err(|_| corrupt("source_account"))?,
                },
                amount: Money::new(row.try_get("amount")?, currency),
                accepted_seq: u64::try_from(row.try_get::<i64, _>("accepted_seq")?).map_err(|_| corrupt("accepted_seq"))?,
                accepted_at: Timestamp::from(row.try_get::<OffsetDateTime, _>("accepted_at")?),
                payment_id: row.try_get("id")?,
            })
        };
        rows.iter().map(decode).collect()
    }
}
