//! Reads by payment id: what the border answers from.

use crate::{OpenDeadLetter, Store, StoreError, record};
use domain::{Fingerprint, PaymentKey, PaymentRecord};
use sqlx::Row;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What the ledger has of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusRow {
    /// What its row says, if it has one.
    pub record: Option<PaymentRecord>,
    /// Its newest open dead letter.
    pub dead: Option<OpenDeadLetter>,
}

/// What is known under an id that a client has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A row, of this content.
    Recorded(Fingerprint),
    /// No row but a dead letter, with the message as it was delivered.
    Dead(Vec<u8>),
}

static STATUS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {}, d.stage AS dead_stage, d.reason AS dead_reason, d.payload AS dead_payload, d.at AS dead_at
         FROM (VALUES ($1, $2)) AS k(tenant, id)
         LEFT JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
         LEFT JOIN LATERAL (
            SELECT stage, reason, payload, at FROM dead_letters d
            WHERE d.tenant = k.tenant AND d.id = k.id AND d.resolved_at IS NULL ORDER BY d.at DESC LIMIT 1) d ON true",
        record::selection()
    )
});

impl Store {
    /// Which of these payments the ledger knows. One round trip.
    pub async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
        let query = sqlx::query(
            "SELECT k.place, p.fingerprint, d.payload
             FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
             LEFT JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
             LEFT JOIN LATERAL (
                SELECT payload FROM dead_letters d
                WHERE p.id IS NULL AND d.tenant = k.tenant AND d.id = k.id AND d.resolved_at IS NULL LIMIT 1) d ON true
             WHERE p.id IS NOT NULL OR d.payload IS NOT NULL",
        );
        let rows = self.fetch_all(query.bind(tenants).bind(ids)).await?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or(0);
            let key = place
                .checked_sub(1)
                .and_then(|place| keys.get(place))
                .ok_or_else(|| StoreError::Corrupt("place".into()))?;
            let found = match row.try_get::<Option<&[u8]>, _>("fingerprint")? {
                Some(bytes) => {
                    let bytes = <[u8; 32]>::try_from(bytes)
                        .map_err(|_| StoreError::Corrupt("payments.fingerprint".into()))?;
                    Known::Recorded(Fingerprint(bytes))
                }
                None => Known::Dead(row.try_get("payload")?),
            };
            known.insert(key.clone(), found);
        }
        Ok(known)
    }

    /// What the ledger has of one payment. One round trip.
    pub async fn status(&self, key: &PaymentKey) -> Result<StatusRow, StoreError> {
        let statement = sqlx::query(STATUS.as_str()).bind(key.tenant.as_str()).bind(key.id.as_str());
        let row = self.fetch_one(statement).await?;
        let record = row.try_get::<Option<&str>, _>("id")?.map(|_| record::decode(&row)).transpose()?;
        Ok(StatusRow { record, dead: OpenDeadLetter::decode(&row)? })
    }

    /// The rows of these payments, those that exist. One round trip.
    pub async fn records(
        &self,
        keys: &[PaymentKey],
    ) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
        record::decode_all(&self.fetch_all(record::by_keys(keys)).await?)
    }
}
