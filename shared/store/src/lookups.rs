//! Reads by payment id: what the border answers from.

use crate::{OpenDeadLetter, Store, StoreError, record};
use domain::{Fingerprint, PaymentKey, PaymentRecord};
use sqlx::Row;
use sqlx::postgres::PgRow;
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

static STATUS: LazyLock<String> = LazyLock::new(|| status_of("(VALUES ($1, $2, 1)) AS k(tenant, id, place)"));

static STATUSES: LazyLock<String> =
    LazyLock::new(|| status_of("UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)"));

/// What there is of each of these keys; a row for each.
fn status_of(keys: &str) -> String {
    format!(
        "SELECT {}, k.place, d.stage AS dead_stage, d.reason AS dead_reason, d.payload AS dead_payload, d.at AS dead_at
         FROM {keys}
         LEFT JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
         LEFT JOIN LATERAL (
            SELECT stage, reason, payload, at FROM dead_letters d
            WHERE d.tenant = k.tenant AND d.id = k.id AND d.resolved_at IS NULL ORDER BY d.at DESC LIMIT 1) d ON true",
        record::selection()
    )
}

/// What a row of a [`status_of`] says.
fn decode_status(row: &PgRow) -> Result<StatusRow, StoreError> {
    let record = row.try_get::<Option<&str>, _>("id")?.map(|_| record::decode(row)).transpose()?;
    Ok(StatusRow { record, dead: OpenDeadLetter::decode(row)? })
}

/// Which of the keys a row is about.
fn key_of<'k>(row: &PgRow, keys: &'k [PaymentKey]) -> Result<&'k PaymentKey, StoreError> {
    let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or(0);
    let key = place.checked_sub(1).and_then(|place| keys.get(place));
    key.ok_or_else(|| StoreError::Corrupt("place".into()))
}

/// The columns that keys are bound as.
fn columns(keys: &[PaymentKey]) -> (Vec<&str>, Vec<&str>) {
    keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip()
}

impl Store {
    /// Which of these payments the ledger knows. One round trip.
    pub async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        let (tenants, ids) = columns(keys);
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
            let key = key_of(&row, keys)?;
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
        decode_status(&self.fetch_one(statement).await?)
    }

    /// What the ledger has of each of these payments, of those that it knows. One round trip.
    pub async fn statuses(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        let (tenants, ids) = columns(keys);
        let rows = self.fetch_all(sqlx::query(STATUSES.as_str()).bind(tenants).bind(ids)).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let status = decode_status(row)?;
            if status != StatusRow::default() {
                found.insert(key_of(row, keys)?.clone(), status);
            }
        }
        Ok(found)
    }

    /// The rows of these payments, those that exist. One round trip.
    pub async fn records(
        &self,
        keys: &[PaymentKey],
    ) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
        record::decode_all(&self.fetch_all(record::by_keys(keys)).await?)
    }
}
