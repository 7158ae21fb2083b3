//! What the server tells of itself, as the services' role sees it.

use crate::common::{Ledger, SERVICES, usd};
use crate::lookups::letter;
use crate::sessions::await_answer;
use sqlx::{Connection, Executor};
use std::time::Duration;
use store::{SessionState, TableFigures};

/// Both are inside transactions, one waits for the other, and both are the services'.
const WAITS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[tokio::test]
async fn what_the_server_does_is_seen() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(5)).await;
    for seq in 1..=3 {
        ledger.store.bury(&letter("P", seq, "why")).await.unwrap();
    }
    ledger.sql("UPDATE dead_letters SET resolved_at = now() WHERE seq = 1").await;
    let before = ledger.store.figures().await.unwrap();
    assert_eq!((before.dead_letters_open, before.lock_waits), (2, 0));
    assert!(before.bytes > 1_000_000 && before.wal_bytes > 0 && before.committed > 0, "{before:?}");
    assert!(before.blocks_in_memory > 0 && before.sessions_max >= 10, "{before:?}");
    let names: Vec<&str> = before.tables.iter().map(|table| table.name).collect();
    assert_eq!(names.len(), 7);
    let has_bytes = |table: &TableFigures| table.bytes > 0;
    assert!(before.tables.iter().all(has_bytes), "every table is there: {:?}", before.tables);

    let lock = "BEGIN; SELECT FROM accounts WHERE id = 'A' FOR UPDATE";
    let mut holder = ledger.session(SERVICES).await;
    holder.execute(sqlx::raw_sql(lock)).await.unwrap();
    let elsewhere = Ledger::open().await.session(SERVICES).await;
    let mut waiter = ledger.session(SERVICES).await;
    let waits = tokio::spawn(async move { waiter.execute(sqlx::raw_sql(lock)).await.map(drop) });
    await_answer(&ledger, WAITS, |count| count == "1").await;
    let during = ledger.store.figures().await.unwrap();
    assert_eq!(during.lock_waits, 1, "{during:?}");
    assert!(during.oldest_transaction > Duration::ZERO, "{during:?}");
    let count = |state| during.sessions.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
    assert_eq!((count(SessionState::Active), count(SessionState::InTransaction)), (1, 1), "{during:?}");
    assert!(count(SessionState::Hidden) >= 1, "of another database: {during:?}");
    elsewhere.close().await.unwrap();
    holder.execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
}
