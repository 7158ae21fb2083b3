//! The drain: waits for the ends of what was accepted, and reads them from the ledger.

use super::board::Board;
use domain::PaymentKey;
use serde::Deserialize;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::time::{Instant, sleep};

/// As long as ends are heard of, the ledger is left to those who write it.
const SILENCE_MAX: Duration = Duration::from_secs(1);
const LISTEN_EVERY: Duration = Duration::from_millis(20);
/// Between two readings of the ledger.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Rows of one reading: a few milliseconds of the server's time.
const CHUNK_ROWS: usize = 1_000;

const DUPLICATES: &str = include_str!("../../sql/duplicates.sql");

/// Waits until every accepted payment has its end in the ledger, or until the deadline; reads the ledger at least once.
pub(crate) async fn reconcile(board: &Board, store: &Store, deadline: Instant) -> Result<(), StoreError> {
    loop {
        listen(board, deadline).await;
        match read(board, store).await {
            Ok(()) if !board.awaits_any() => return Ok(()),
            Err(error) if !error.is_outage() || Instant::now() >= deadline => return Err(error),
            Ok(()) if Instant::now() >= deadline => return Ok(()),
            Ok(()) | Err(_) => sleep(READ_EVERY).await,
        }
    }
}

/// Waits until every end was heard of, nothing more is heard, or time is up.
async fn listen(board: &Board, deadline: Instant) {
    while board.silence().is_some_and(|silence| silence < SILENCE_MAX) && Instant::now() < deadline {
        sleep(LISTEN_EVERY).await;
    }
}

/// Reads the rows of all payments whose end is not known yet.
async fn read(board: &Board, store: &Store) -> Result<(), StoreError> {
    for chunk in board.unread().chunks(CHUNK_ROWS) {
        let keys: Vec<PaymentKey> = chunk.iter().map(|(_, key)| key.clone()).collect();
        let records = store.records(&keys).await?;
        for (payment, key) in chunk {
            if let Some(record) = records.get(key) {
                board.read(*payment, record);
            }
        }
    }
    Ok(())
}

/// How many of the payments that were sent have settled more than once.
pub(crate) async fn duplicates(board: &Board, store: &Store) -> Result<u64, StoreError> {
    #[derive(Deserialize)]
    struct Settled {
        tenant: domain::Tenant,
        id: String,
    }
    let (_, rows) = store.violations(DUPLICATES, usize::MAX).await?;
    let settled = rows.iter().filter_map(|row| serde_json::from_str::<Settled>(row).ok());
    let ours = settled.filter(|settled| settled.tenant == domain::Tenant::default() && board.was_sent(&settled.id));
    Ok(ours.count() as u64)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
