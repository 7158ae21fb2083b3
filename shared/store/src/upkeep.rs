//! What the janitor and a starting risk stage ask of the ledger.

use crate::record::{self, record_columns};
use crate::{Store, StoreError};
use domain::{AccountId, AccountKey, Currency, Money, PaymentRecord, Tenant, Timestamp};
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

/// Open holds that one scan takes in, oldest first.
const OPEN_HOLDS_MAX: i64 = 10_000;

/// Rows within this distance of the end of a scan may still be uncommitted: longer than any transaction lives.
const COMMIT_DELAY: Duration = Duration::from_secs(60);

fn milliseconds(duration: Duration) -> i64 {
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

    /// Payments whose money has been held for at least `age`, oldest first, those with an open dead letter left out. Rows
    /// before the watermark `open_holds` have ended; the watermark moves up to the oldest open hold.
    pub async fn open_holds(&self, age: Duration) -> Result<Vec<PaymentRecord>, StoreError> {
        // Taken before the scan: however long this process is suspended after it, the watermark stays below what it saw.
        let began = self.within(sqlx::query("SELECT clock_timestamp() AS at").fetch_one(&self.pool)).await?;
        let began: OffsetDateTime = began.try_get("at")?;
        let rows = self
            .within(
                sqlx::query(concat!(
                    "SELECT ",
                    record_columns!(),
                    ", d.stage IS NOT NULL AS is_dead, p.recorded_at
             FROM payments p
             LEFT JOIN LATERAL (
                SELECT stage FROM dead_letters d
                WHERE d.tenant = p.tenant AND d.id = p.id AND d.resolved_at IS NULL LIMIT 1) d ON true
             WHERE p.recorded_at >= COALESCE((SELECT at FROM watermarks WHERE name = 'open_holds'), '-infinity')
               AND p.recorded_at <= clock_timestamp() - $1::bigint * interval '1 millisecond'
               AND p.status = 'RESERVED'
             ORDER BY p.recorded_at
             LIMIT $2"
                ))
                .bind(milliseconds(age))
                .bind(OPEN_HOLDS_MAX)
                .fetch_all(&self.pool),
            )
            .await?;
        let oldest = rows.first().map(|row| row.try_get::<OffsetDateTime, _>("recorded_at")).transpose()?;
        self.within(
            sqlx::query(
                "INSERT INTO watermarks (name, at)
             VALUES ('open_holds', LEAST($1, $3 - $2::bigint * interval '1 millisecond'))
             ON CONFLICT (name) DO UPDATE SET at = GREATEST(watermarks.at, EXCLUDED.at)",
            )
            .bind(oldest)
            .bind(milliseconds(age + COMMIT_DELAY))
            .bind(began)
            .execute(&self.pool),
        )
        .await?;
        let alive = rows.iter().filter(|row| !row.get::<bool, _>("is_dead"));
        alive.map(record::decode).collect()
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
