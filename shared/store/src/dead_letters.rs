//! Dead letters: payments that a stage could not judge alone, until someone works them off.

use crate::{Store, StoreError};
use domain::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashSet;
use time::OffsetDateTime;

/// A message that is buried. Tenant and id are as far as the subject gave them, well-formed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The tenant that the subject names.
    pub tenant: String,
    /// The payment that the subject names.
    pub id: String,
    /// The stage that could not judge it.
    pub stage: &'static str,
    /// The stream that it came by.
    pub stream: String,
    /// Its sequence there.
    pub seq: u64,
    /// Why it was buried.
    pub reason: String,
    /// The message as it was delivered.
    pub payload: Vec<u8>,
}

/// What the border tells of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDeadLetter {
    /// The stage that could not judge it.
    pub stage: String,
    /// Why it was buried.
    pub reason: String,
    /// The message as it was delivered.
    pub payload: Vec<u8>,
    /// When it was buried.
    pub at: Timestamp,
}

impl OpenDeadLetter {
    /// Reads the `dead_*` columns of a left join.
    pub(crate) fn decode(row: &PgRow) -> Result<Option<OpenDeadLetter>, StoreError> {
        let Some(stage) = row.try_get::<Option<String>, _>("dead_stage")? else {
            return Ok(None);
        };
        let at = Timestamp::from(row.try_get::<OffsetDateTime, _>("dead_at")?);
        Ok(Some(OpenDeadLetter {
            stage,
            reason: row.try_get("dead_reason")?,
            payload: row.try_get("dead_payload")?,
            at,
        }))
    }
}

/// Open dead letters that a process keeps in mind at most. More of them is an outage of its own, seen on the
/// metrics.
const OPEN_MAX: i64 = 100_000;

impl Store {
    /// Writes a dead letter; the same delivery again changes nothing.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO dead_letters (tenant, id, stage, stream, seq, reason, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT DO NOTHING",
        );
        let query = query.bind(&letter.tenant).bind(&letter.id).bind(letter.stage).bind(&letter.stream);
        let query = query.bind(i64::try_from(letter.seq).unwrap_or(i64::MAX));
        self.fetch_all(query.bind(&letter.reason).bind(&letter.payload)).await?;
        Ok(())
    }

    /// The payments with an open dead letter, as tenant and id.
    pub async fn open_dead_letters(&self) -> Result<HashSet<(String, String)>, StoreError> {
        let query =
            sqlx::query("SELECT DISTINCT tenant, id FROM dead_letters WHERE resolved_at IS NULL LIMIT $1");
        let rows = self.fetch_all(query.bind(OPEN_MAX)).await?;
        rows.iter().map(|row| Ok((row.try_get("tenant")?, row.try_get("id")?))).collect()
    }
}
