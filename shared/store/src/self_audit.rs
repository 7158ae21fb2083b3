//! The incremental audit: each entry is looked at once, when it is old enough, in windows of time.
//!
//! A look takes the entries that were posted from the watermark on, judges them by [`FINDINGS`], writes what
//! it finds and moves the watermark, all in one statement: whoever of two auditors comes second finds the
//! watermark moved, writes nothing and counts nothing.
//!
//! What it proves: the entries of each operation sum to zero, and each entry went on from the one before it
//! when it was looked at: none was removed, inserted or altered before that.
//!
//! What it does not see, and the full pass, `loadtest verify`, does:
//! - Entries posted late. They carry the clock of the process that settled them. One that is ahead has its
//!   entries audited later; one that is behind by more than the age at which entries are audited posts below
//!   the watermark, where no look comes any more. So does a transaction that lasts longer than that age. The
//!   next entry of the same account still has to go on from such an entry.
//! - An account's last entry when it is removed, until the account has another; what was audited already and
//!   is altered later.
//! - A captured payment without entries, or one in sixteen apart, whose entries are not as its row says.
//! - Balances and holds of accounts, which are no entries.
//!
//! The watermark goes by the server's clock alone, and never back: where that clock was set back, the
//! watermark may be ahead of it, and what is posted until the clock has caught up is not audited.

use crate::pool::milliseconds;
use crate::{Store, StoreError};
use domain::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::sync::LazyLock;
use std::time::Duration;

/// What one look writes at most. The full pass tells of the rest.
pub const FINDINGS_WRITTEN_MAX: u64 = 1_000;

/// While so many findings are open no more are written: someone has been told.
pub const FINDINGS_OPEN_MAX: u64 = 100_000;

domain::closed_set! {
    /// What became of a payment.
    Outcome {
        /// Its money has moved.
        Captured = "captured",
        /// It was refused.
        Failed = "failed",
    }
}

/// Payments of one currency that a look has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The source's currency, as the row spells it.
    pub currency: String,
    /// What became of them.
    pub outcome: Outcome,
    /// How many.
    pub payments: u64,
    /// Their amounts together.
    pub minor: u64,
}

/// What a look has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Everything posted before this is audited.
    pub to: Timestamp,
    /// Entries that were looked at.
    pub entries: u64,
    /// Violations that were found, written or not.
    pub found: u64,
    /// Captured payments are counted by their entries; failed ones by their rows, and not those that fail
    /// later than they are audited.
    pub volumes: Vec<Volume>,
}

/// A look at the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLook {
    /// What is old enough and was not audited when the look ended; at most that, where others audit too. Of a
    /// watermark ahead of the server's clock, how far.
    pub behind: Duration,
    /// How it ended.
    pub window: AuditWindow,
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditWindow {
    /// The window is audited, by this look.
    Audited(Audited),
    /// More entries than asked for lie in the window. None was judged.
    TooMany,
    /// Another auditor has moved the watermark meanwhile.
    Elsewhere,
    /// The watermark is ahead of the server's clock: what is posted now is never looked at.
    Ahead,
}

/// Findings of one currency that nobody has resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFindings {
    /// As the entries spell it.
    pub currency: String,
    /// How many.
    pub count: u64,
    /// What they do not sum to zero by.
    pub minor: i64,
}

/// The entries of the window, and what each operation comes to in each currency. `now()` is older than the
/// statement's snapshot, so nothing that was committed before it is passed by. A customer's account has no
/// colon in its id.
const WINDOW: &str = "mark AS MATERIALIZED (
        SELECT at AS was, now() - $2::bigint * interval '1 millisecond' AS ripe FROM watermarks WHERE name = 'audit'),
     bounds AS MATERIALIZED (
        SELECT was, ripe, GREATEST(was, LEAST(was + $1::bigint * interval '1 millisecond', ripe)) AS till FROM mark),
     page AS MATERIALIZED (
        SELECT tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after, posted_at,
            CASE WHEN amount < 0 AND operation_kind = 'payment' AND position(':' IN account_id) = 0 THEN amount END AS debit
        FROM entries
        WHERE posted_at >= (SELECT was FROM bounds) AND posted_at < (SELECT till FROM bounds)
        LIMIT $3::bigint + 1),
     size AS MATERIALIZED (SELECT count(*) AS entries, count(*) <= $3 AS fits FROM page),
     sums AS MATERIALIZED (
        SELECT tenant, operation_kind, operation_id, currency, sum(amount) AS excess, min(posted_at) AS posted_at,
            count(debit) AS debits, -sum(debit) AS debited
        FROM page WHERE (SELECT fits FROM size)
        GROUP BY tenant, operation_kind, operation_id, currency)";

/// The rules; they compute with numerics, so that no corrupted number overflows and stops the audit. Each
/// entry goes on from the one before it, which is read by key, whenever it was posted: it is there before its
/// successor. A payment's entries are of the instant at which its row was captured: entries of any other
/// instant were posted twice, or without it. To read every payment's row would be half as dear as all else:
/// one payment in sixteen is compared with its row, and each that has two debits in one window.
const FINDINGS: &str = "findings AS MATERIALIZED (
        SELECT 'operation_sums_to_zero' AS rule, tenant, operation_kind || ' ' || operation_id AS subject, currency, excess,
            'the entries sum to ' || excess AS detail
        FROM sums WHERE excess <> 0
        UNION ALL
        SELECT 'balances_chain', e.tenant, e.account_id || ' ' || e.number, e.currency, 0,
            'from ' || COALESCE(b.balance_after::text, 'nothing') || ' by ' || e.amount || ' to ' || e.balance_after
        FROM page e LEFT JOIN entries b ON b.tenant = e.tenant AND b.account_id = e.account_id
            AND b.number = CASE WHEN e.number > 1 THEN e.number - 1 END
        WHERE (SELECT fits FROM size) AND e.balance_after
            IS DISTINCT FROM (CASE WHEN e.number = 1 THEN 0 ELSE b.balance_after END)::numeric + e.amount
        UNION ALL
        SELECT 'debit_is_of_its_capture', s.tenant, s.operation_id, s.currency, 0,
            s.debits || ' debits of ' || s.debited || ' ' || s.currency || ' at ' || s.posted_at || '; the row: '
                || COALESCE(concat_ws(' ', p.status, p.amount, p.currency, p.finished_at), 'none')
        FROM sums s LEFT JOIN payments p ON p.tenant = s.tenant AND p.id = s.operation_id
        WHERE (s.debits > 1 OR s.debits = 1 AND hashtext(s.operation_id) & 15 = 0) AND (s.debits, p.status, p.amount::numeric, p.currency, p.finished_at)
            IS DISTINCT FROM (1::bigint, 'CAPTURED'::text, s.debited, s.currency, s.posted_at))";

/// What the payments of the window come to, and whether the watermark has to move: a window without any is
/// looked at again until it is as long as a look may be, so that an idle ledger writes nothing.
const VOLUMES: &str = "volumes AS MATERIALIZED (
        SELECT currency, 'captured' AS outcome, sum(debits) AS payments, sum(debited) AS minor
        FROM sums WHERE debits > 0 GROUP BY currency
        UNION ALL
        SELECT currency, 'failed', count(*), sum(amount) FROM payments
        WHERE status = 'FAILED' AND (SELECT fits FROM size)
            AND recorded_at >= (SELECT was FROM bounds) AND recorded_at < (SELECT till FROM bounds)
        GROUP BY currency),
     step AS MATERIALIZED (
        SELECT b.was, b.till, b.ripe, s.entries, s.fits,
            s.fits AND b.till > b.was AND (s.entries > 0 OR b.till < b.ripe OR EXISTS (SELECT FROM volumes)) AS is_due
        FROM bounds b CROSS JOIN size s)";

/// A line per currency and outcome, or one without any.
const ANSWER: &str = "SELECT t.till, t.entries, t.fits, t.is_due, EXISTS (SELECT FROM moved) AS is_moved,
        t.was > now() AS is_ahead,
        (EXTRACT(EPOCH FROM CASE WHEN t.was > now() THEN t.was - now()
            WHEN t.fits AND (NOT t.is_due OR EXISTS (SELECT FROM moved)) THEN t.ripe - t.till ELSE t.ripe - t.was END)
            * 1000000)::bigint AS behind_micros,
        (SELECT count(*) FROM findings) AS found, v.currency, v.outcome,
        LEAST(v.payments, $4::bigint)::bigint AS payments, LEAST(v.minor, $4)::bigint AS minor
     FROM step t LEFT JOIN volumes v ON true";

static LOOK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {WINDOW}, {FINDINGS}, {VOLUMES},
         moved AS (
            UPDATE watermarks w SET at = t.till FROM step t WHERE w.name = 'audit' AND w.at = t.was AND t.is_due
            RETURNING w.at),
         written AS (
            INSERT INTO audit_findings (rule, tenant, subject, currency, minor, detail)
            SELECT rule, tenant, subject, currency, GREATEST(LEAST(excess, $4::bigint), -$4::bigint)::bigint, left(detail, 500) FROM findings
            WHERE EXISTS (SELECT FROM moved)
                AND (SELECT count(*) FROM (SELECT FROM audit_findings WHERE resolved_at IS NULL LIMIT $6::bigint) AS open) < $6
            LIMIT $5::bigint)
         {ANSWER}"
    )
});

impl Store {
    /// Looks at the entries from the watermark on, at most `step` of time and `entries_max` of them, and only
    /// at those posted at least `age` ago. One statement.
    pub async fn audit(
        &self,
        step: Duration,
        age: Duration,
        entries_max: u32,
    ) -> Result<AuditLook, StoreError> {
        let query = sqlx::query(LOOK.as_str())
            .bind(milliseconds(step))
            .bind(milliseconds(age))
            .bind(i64::from(entries_max))
            .bind(i64::MAX)
            .bind(i64::try_from(FINDINGS_WRITTEN_MAX).unwrap_or(i64::MAX))
            .bind(i64::try_from(FINDINGS_OPEN_MAX).unwrap_or(i64::MAX));
        decode_look(&self.fetch_all(query).await?)
    }

    /// Has the index of entries by time know the newest of them, so that looks do not read them again.
    pub async fn summarize_entries(&self) -> Result<(), StoreError> {
        self.fetch_all(sqlx::query("SELECT summarize_entries()")).await?;
        Ok(())
    }

    /// What is open, by currency, of at most [`FINDINGS_OPEN_MAX`] findings.
    pub async fn open_findings(&self) -> Result<Vec<OpenFindings>, StoreError> {
        let query = sqlx::query(
            "SELECT currency, count(*) AS count, GREATEST(LEAST(sum(minor), $2::bigint), -$2::bigint)::bigint AS minor
             FROM (SELECT currency, minor FROM audit_findings WHERE resolved_at IS NULL LIMIT $1) AS open GROUP BY currency",
        );
        let query = query.bind(i64::try_from(FINDINGS_OPEN_MAX).unwrap_or(i64::MAX)).bind(i64::MAX);
        let rows = self.fetch_all(query).await?;
        let open = |row: &PgRow| {
            Ok(OpenFindings {
                currency: row.try_get("currency")?,
                count: unsigned(row.try_get("count")?),
                minor: row.try_get("minor")?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// The currencies that money has come in by, 1,000 at most: read by key, one look a currency, however many
    /// tenants have accounts in it. The id of such an account begins with `external:` and its currency.
    pub async fn funded_currencies(&self) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(
            "WITH RECURSIVE firsts AS (
                (SELECT id, currency, 1 AS place FROM accounts WHERE id >= 'external:' AND id < 'external;' ORDER BY id LIMIT 1)
                UNION ALL
                SELECT n.id, n.currency, f.place + 1
                FROM firsts f CROSS JOIN LATERAL (
                    SELECT id, currency FROM accounts
                    WHERE id >= 'external:' || split_part(f.id, ':', 2) || ';' AND id < 'external;'
                    ORDER BY id LIMIT 1) n
                WHERE f.place < 1000)
             SELECT DISTINCT currency FROM firsts",
        );
        let rows = self.fetch_all(query).await?;
        rows.iter().map(|row| Ok(row.try_get("currency")?)).collect()
    }
}

fn decode_look(rows: &[PgRow]) -> Result<AuditLook, StoreError> {
    let first = rows.first().ok_or_else(|| StoreError::Corrupt("the audit has no watermark".into()))?;
    let has = |column| Ok::<bool, StoreError>(first.try_get(column)?);
    let window = match (has("fits")?, has("is_due")?, has("is_moved")?) {
        _ if has("is_ahead")? => AuditWindow::Ahead,
        (false, _, _) => AuditWindow::TooMany,
        (true, true, false) => AuditWindow::Elsewhere,
        (true, false, _) | (true, true, true) => AuditWindow::Audited(Audited {
            to: Timestamp::from(first.try_get::<time::OffsetDateTime, _>("till")?),
            entries: unsigned(first.try_get("entries")?),
            found: unsigned(first.try_get("found")?),
            volumes: rows
                .iter()
                .map(decode_volume)
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
        }),
    };
    Ok(AuditLook { behind: Duration::from_micros(unsigned(first.try_get("behind_micros")?)), window })
}

/// The volume of a line; nothing where there is none.
fn decode_volume(row: &PgRow) -> Result<Option<Volume>, StoreError> {
    let Some(currency) = row.try_get::<Option<String>, _>("currency")? else {
        return Ok(None);
    };
    let outcome: String = row.try_get("outcome")?;
    let outcome = Outcome::named(&outcome).ok_or(StoreError::Corrupt(outcome))?;
    let (payments, minor) = (unsigned(row.try_get("payments")?), unsigned(row.try_get("minor")?));
    Ok(Some(Volume { currency, outcome, payments, minor }))
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
