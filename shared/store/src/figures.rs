//! What the server tells of itself and of the ledger's tables, in one round trip.
//!
//! The services' role sees the state of its own sessions alone: sessions of other roles and of other databases
//! count as [`SessionState::Hidden`], for the server's bound is of all of them, and neither their lock waits
//! nor the age of their transactions are seen. All services connect as that role; migrations, `psql` as the
//! owner and the server's own workers do not.

use crate::{Store, StoreError};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::time::Duration;

/// The tables that are told of.
const TABLES: [&str; 7] =
    ["accounts", "audit_findings", "dead_letters", "entries", "open_holds", "operations", "payments"];

/// Dead letters are counted up to here.
const DEAD_LETTERS_MAX: i64 = 100_000;

/// From this version on checkpoints are counted in a view of their own.
const CHECKPOINTER_VERSION: u32 = 17_00_00;

domain::closed_set! {
    /// What a session does.
    SessionState {
        /// It runs a statement.
        Active = "active",
        /// It waits for work.
        Idle = "idle",
        /// It is inside a transaction and runs nothing.
        InTransaction = "in_transaction",
        /// Another role's or database's, or one of the server's workers.
        Hidden = "hidden",
    }
}

/// A table and its indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFigures {
    /// Its name.
    pub name: &'static str,
    /// With its indexes and what is stored beside it.
    pub bytes: u64,
    /// As the server estimates them.
    pub live_rows: u64,
    /// Rows that no one sees any more and that vacuum has not removed yet, as the server estimates them.
    pub dead_rows: u64,
}

/// The server's figures. Counts go on from the server's last reset of its statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFigures {
    /// All files of the database.
    pub bytes: u64,
    /// A closed list of tables.
    pub tables: Vec<TableFigures>,
    /// Write-ahead log written by the whole server.
    pub wal_bytes: u64,
    /// Transactions of the database that were committed.
    pub committed: u64,
    /// Transactions of the database that were rolled back.
    pub rolled_back: u64,
    /// Blocks that were in the server's memory.
    pub blocks_in_memory: u64,
    /// Blocks that were read from the system.
    pub blocks_from_disk: u64,
    /// Deadlocks that the server has ended.
    pub deadlocks: u64,
    /// Sessions of ours that wait for a lock.
    pub lock_waits: u64,
    /// Sessions of the whole server, of every state.
    pub sessions: Vec<(SessionState, u64)>,
    /// The server's bound of sessions.
    pub sessions_max: u64,
    /// Checkpoints that were due.
    pub checkpoints_timed: u64,
    /// Checkpoints that someone asked for, or that the amount of log made necessary.
    pub checkpoints_requested: u64,
    /// How long the oldest open transaction of ours has been open.
    pub oldest_transaction: Duration,
    /// Dead letters that are not resolved.
    pub dead_letters_open: u64,
}

macro_rules! figures_with {
    ($checkpoints:literal) => {
        concat!(
            "WITH sessions AS MATERIALIZED (
                SELECT CASE WHEN datname <> current_database() OR state IS NULL THEN 'hidden' WHEN state = 'active' THEN 'active'
                        WHEN state = 'idle' THEN 'idle' ELSE 'in_transaction' END AS state, wait_event_type,
                    clock_timestamp() - xact_start AS age
                FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid())
             SELECT pg_database_size(current_database()) AS bytes, w.wal_bytes::bigint AS wal_bytes, d.xact_commit, d.xact_rollback,
                d.blks_hit, d.blks_read, d.deadlocks, c.timed, c.requested, t.sizes, t.live, t.dead,
                ARRAY(SELECT (SELECT count(*) FROM sessions s WHERE s.state = n.state)
                    FROM unnest($1::text[]) WITH ORDINALITY AS n(state, place) ORDER BY n.place) AS sessions,
                (SELECT count(*) FROM sessions WHERE state <> 'hidden' AND wait_event_type = 'Lock') AS lock_waits,
                (SELECT COALESCE(EXTRACT(EPOCH FROM max(age)) * 1000000, 0)::bigint FROM sessions WHERE state <> 'hidden') AS oldest_micros,
                current_setting('max_connections')::bigint AS sessions_max,
                (SELECT count(*) FROM (SELECT FROM dead_letters WHERE resolved_at IS NULL LIMIT $3) AS open) AS dead_letters
             FROM pg_stat_wal w, ",
            $checkpoints,
            " c,
                (SELECT * FROM pg_stat_database WHERE datname = current_database()) d,
                (SELECT array_agg(COALESCE(pg_total_relation_size(oid), 0) ORDER BY place) AS sizes,
                    array_agg(COALESCE(pg_stat_get_live_tuples(oid), 0) ORDER BY place) AS live,
                    array_agg(COALESCE(pg_stat_get_dead_tuples(oid), 0) ORDER BY place) AS dead
                FROM (SELECT to_regclass(name)::oid AS oid, place FROM unnest($2::text[]) WITH ORDINALITY AS n(name, place)) AS names) t"
        )
    };
}

const BEFORE_CHECKPOINTER: &str =
    figures_with!("(SELECT checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_stat_bgwriter)");
const WITH_CHECKPOINTER: &str =
    figures_with!("(SELECT num_timed AS timed, num_requested AS requested FROM pg_stat_checkpointer)");

impl Store {
    /// The server's figures now. One round trip.
    pub async fn figures(&self) -> Result<DatabaseFigures, StoreError> {
        let states: Vec<&str> = SessionState::ALL.map(SessionState::as_str).to_vec();
        let rows = self
            .fetch_by(|version| {
                let sql =
                    if version < CHECKPOINTER_VERSION { BEFORE_CHECKPOINTER } else { WITH_CHECKPOINTER };
                sqlx::query(sql).bind(states).bind(TABLES.to_vec()).bind(DEAD_LETTERS_MAX)
            })
            .await?;
        decode(rows.first().ok_or(sqlx::Error::RowNotFound)?)
    }
}

fn decode(row: &PgRow) -> Result<DatabaseFigures, StoreError> {
    let count = |column: &str| Ok::<u64, StoreError>(unsigned(row.try_get(column)?));
    let counts = |column: &str| Ok::<Vec<i64>, StoreError>(row.try_get(column)?);
    let (sizes, live, dead) = (counts("sizes")?, counts("live")?, counts("dead")?);
    let rows = TABLES.into_iter().zip(sizes).zip(live.into_iter().zip(dead));
    let tables = rows.map(|((name, bytes), (live, dead))| TableFigures {
        name,
        bytes: unsigned(bytes),
        live_rows: unsigned(live),
        dead_rows: unsigned(dead),
    });
    Ok(DatabaseFigures {
        bytes: count("bytes")?,
        tables: tables.collect(),
        wal_bytes: count("wal_bytes")?,
        committed: count("xact_commit")?,
        rolled_back: count("xact_rollback")?,
        blocks_in_memory: count("blks_hit")?,
        blocks_from_disk: count("blks_read")?,
        deadlocks: count("deadlocks")?,
        lock_waits: count("lock_waits")?,
        sessions: SessionState::ALL.into_iter().zip(counts("sessions")?.into_iter().map(unsigned)).collect(),
        sessions_max: count("sessions_max")?,
        checkpoints_timed: count("timed")?,
        checkpoints_requested: count("requested")?,
        oldest_transaction: Duration::from_micros(count("oldest_micros")?),
        dead_letters_open: count("dead_letters")?,
    })
}

/// A count of the server's, which is never negative.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
