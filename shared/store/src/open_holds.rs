//! Holds that do not end in time: found once, remembered until they end.
//!
//! Two scans read the rows of `payments` in the order in which they were recorded, each row once. The young
//! scan meets them as soon as they are old enough to be late. Rows are recorded before they are committed, so
//! it can miss some; the late scan follows it by [`COMMIT_DELAY`] and misses none. What the late scan still
//! finds open it writes to `open_holds` in the same statement that moves the watermark, so the watermark
//! moves on whatever becomes of a hold.

use crate::pool::milliseconds;
use crate::{Store, StoreError};
use domain::{PaymentId, PaymentKey, Tenant, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use std::time::Duration;

/// How much later the late scan reads a row than the young one: longer than any transaction lives.
pub(crate) const COMMIT_DELAY: Duration = Duration::from_secs(60);

/// A payment whose money is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHold {
    /// The payment that is neither captured nor failed.
    pub key: PaymentKey,
    /// When its money was held.
    pub held_at: Timestamp,
}

/// What one step of a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldPage {
    /// Everything recorded up to here has been read; the next page begins after it.
    pub read_to: Timestamp,
    /// The page was full: there may be more rows that are old enough.
    pub is_full: bool,
    /// The holds that were open, oldest first.
    pub holds: Vec<OpenHold>,
    /// Of the late scan: its watermark after this step, as [`Store::holds_watermark`] tells it.
    pub watermark: Option<Timestamp>,
}

/// The step of a scan that both share: the rows recorded after the instant that the query calls `from`, until
/// they are too young (`$2`, in milliseconds), or at least `$3` of them: all that were recorded in the last
/// one's instant, so that no page ends between two of them. `now()` is older than the statement's snapshot,
/// and unlike a clock may bound an index scan.
macro_rules! page_after {
    ($from:literal) => {
        concat!(
            "page AS MATERIALIZED (
            SELECT tenant, id, status, reserved_at, recorded_at FROM payments
            WHERE recorded_at > ",
            $from,
            " AND recorded_at <= now() - $2::bigint * interval '1 millisecond'
            ORDER BY recorded_at
            FETCH FIRST ($3::bigint) ROWS WITH TIES),
         read AS (
            SELECT count(*) >= $3 AS is_full, count(*) > 0 AS found_rows,
                CASE WHEN count(*) >= $3 THEN max(recorded_at) ELSE GREATEST($1, now() - $2::bigint * interval '1 millisecond') END AS read_to
            FROM page)"
        )
    };
}

/// A line per open hold of the page, or one line without any, each with a watermark.
macro_rules! answer {
    ($watermark:literal) => {
        concat!(
            "SELECT r.read_to, r.is_full, ",
            $watermark,
            " AS watermark, p.tenant, p.id, p.reserved_at AS held_at
             FROM read r LEFT JOIN page p ON p.status = 'RESERVED' ORDER BY p.recorded_at"
        )
    };
}

/// Where the late scan stands. Older builds read the instant of the watermark again, so an open hold may have
/// been recorded in it.
macro_rules! watermark {
    () => {
        "COALESCE((SELECT at FROM watermarks WHERE name = 'open_holds'), 'epoch'::timestamptz) - interval '1 microsecond'"
    };
}

impl Store {
    /// How far the late scan has come, over all processes there ever were: each open hold that was recorded
    /// up to here has its line in `open_holds`.
    pub async fn holds_watermark(&self) -> Result<Timestamp, StoreError> {
        let query = sqlx::query(concat!("SELECT ", watermark!(), " AS at"));
        let row = self.fetch_one(query).await?;
        Ok(Timestamp::from(row.try_get::<time::OffsetDateTime, _>("at")?))
    }

    /// One step of the young scan: of the rows recorded after `after` and at least `age` ago, those that the
    /// late scan has yet to come to. At most `rows_max` rows, and those of the last one's instant.
    pub async fn young_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
    ) -> Result<HoldPage, StoreError> {
        let statement = sqlx::query(concat!(
            "WITH ",
            page_after!("GREATEST($1, now() - $4::bigint * interval '1 millisecond')"),
            " ",
            answer!("NULL::timestamptz")
        ));
        let statement = statement.bind(after.to_datetime()).bind(milliseconds(age)).bind(i64::from(rows_max));
        let rows = self.fetch_all(statement.bind(milliseconds(age + COMMIT_DELAY))).await?;
        decode_page(&rows)
    }

    /// One step of the late scan: of the rows recorded after `after` and at least `age` and `COMMIT_DELAY` (a
    /// minute) ago. The holds that it finds are written to `open_holds`, and the watermark moves past them.
    /// At most `rows_max` rows, and those of the last one's instant. `known` is the watermark that the caller has
    /// seen last: one that lies before it is another ledger's, set back, and stays where it is.
    pub async fn late_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
        known: Timestamp,
    ) -> Result<HoldPage, StoreError> {
        // The watermark stays where nothing happens: reading no rows again costs nothing.
        let statement = sqlx::query(concat!(
            "WITH ",
            page_after!("$1"),
            ",
         lines AS (
            INSERT INTO open_holds (tenant, id, held_at)
            SELECT tenant, id, reserved_at FROM page WHERE status = 'RESERVED' ORDER BY tenant, id
            ON CONFLICT (tenant, id) DO NOTHING),
         before AS (SELECT ",
            watermark!(),
            " AS at),
         moved AS (
            INSERT INTO watermarks (name, at) SELECT 'open_holds', read_to FROM read, before WHERE found_rows AND before.at >= $4
            ON CONFLICT (name) DO UPDATE SET at = GREATEST(watermarks.at, EXCLUDED.at)
            RETURNING at - interval '1 microsecond' AS at)
         ",
            answer!("COALESCE((SELECT at FROM moved), (SELECT at FROM before))")
        ));
        let statement = statement
            .bind(after.to_datetime())
            .bind(milliseconds(age + COMMIT_DELAY))
            .bind(i64::from(rows_max))
            .bind(known.to_datetime());
        decode_page(&self.fetch_all(statement).await?)
    }

    /// The lines of `open_holds` after this payment, by key, at most `rows_max`: what a janitor that starts
    /// has to remember.
    pub async fn remembered_holds(
        &self,
        after: Option<&PaymentKey>,
        rows_max: u32,
    ) -> Result<Vec<OpenHold>, StoreError> {
        let (tenant, id) = after.map_or(("", ""), |key| (key.tenant.as_str(), key.id.as_str()));
        let query = sqlx::query(
            "SELECT tenant, id, held_at FROM open_holds WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3",
        );
        let rows = self.fetch_all(query.bind(tenant).bind(id).bind(i64::from(rows_max))).await?;
        rows.iter().map(decode_hold).filter_map(Result::transpose).collect()
    }

    /// Which of these payments are still held, and whether each waits for someone to resolve its dead letter.
    /// One round trip.
    pub async fn still_held(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, bool>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
        let query = sqlx::query(
            "SELECT p.tenant, p.id, d.stage IS NOT NULL AS is_dead
             FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
             JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
             LEFT JOIN LATERAL (
                SELECT stage FROM dead_letters d
                WHERE d.tenant = p.tenant AND d.id = p.id AND d.resolved_at IS NULL LIMIT 1) d ON true
             WHERE p.status = 'RESERVED'",
        );
        let rows = self.fetch_all(query.bind(tenants).bind(ids)).await?;
        let mut held = HashMap::with_capacity(rows.len());
        for row in &rows {
            if let Some(key) = decode_key(row)? {
                held.insert(key, row.try_get("is_dead")?);
            }
        }
        Ok(held)
    }

    /// Takes the lines of holds that have ended out of `open_holds`.
    pub async fn forget_holds(&self, keys: &[PaymentKey]) -> Result<(), StoreError> {
        // In one order, as they are written.
        let mut keys: Vec<&PaymentKey> = keys.iter().collect();
        keys.sort_unstable();
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
        let query = sqlx::query(
            "DELETE FROM open_holds h USING UNNEST($1::text[], $2::text[]) AS k(tenant, id) WHERE h.tenant = k.tenant AND h.id = k.id",
        );
        self.fetch_all(query.bind(tenants).bind(ids)).await?;
        Ok(())
    }
}

fn decode_page(rows: &[PgRow]) -> Result<HoldPage, StoreError> {
    let first = rows.first().ok_or_else(|| StoreError::Corrupt("a scan without an answer".into()))?;
    Ok(HoldPage {
        read_to: Timestamp::from(first.try_get::<time::OffsetDateTime, _>("read_to")?),
        is_full: first.try_get("is_full")?,
        watermark: first.try_get::<Option<time::OffsetDateTime>, _>("watermark")?.map(Timestamp::from),
        holds: rows.iter().map(decode_hold).filter_map(Result::transpose).collect::<Result<_, _>>()?,
    })
}

/// The hold of a line; nothing where there is none.
fn decode_hold(row: &PgRow) -> Result<Option<OpenHold>, StoreError> {
    let Some(held_at) = row.try_get::<Option<time::OffsetDateTime>, _>("held_at")? else {
        return Ok(None);
    };
    Ok(decode_key(row)?.map(|key| OpenHold { key, held_at: Timestamp::from(held_at) }))
}

/// The payment of a line; nothing where its id could be none of ours: one such row must not stop the scan for
/// ever.
fn decode_key(row: &PgRow) -> Result<Option<PaymentKey>, StoreError> {
    let (tenant, id) = (row.try_get::<String, _>("tenant")?, row.try_get::<String, _>("id")?);
    let key = Tenant::parse(tenant.as_str())
        .and_then(|tenant| Ok(PaymentKey { tenant, id: PaymentId::parse(id.as_str())? }));
    if key.is_err() {
        tracing::error!(tenant, payment = id, "a row has an id that no payment can have");
    }
    Ok(key.ok())
}
