//! The drain: waits for the ends of what was accepted, and reads them from the ledger.

use super::board::Board;
use domain::PaymentKey;
use serde::Deserialize;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::time::{Instant, sleep};

/// As long as ends are heard of, the ledger is left to those who write it.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Between two looks whether the last end was heard of: the time that is measured ends with it.
const HEAR_EVERY: Duration = Duration::from_millis(2);
const LISTEN_EVERY: Duration = Duration::from_millis(100);
/// Between two readings of the ledger.
const READ_EVERY: Duration = Duration::from_millis(500);
/// The ledger may be late itself, or have broken the connection since: it gets this long even when the drain
/// is over.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// Rows of one reading: a few milliseconds of the server's time.
const CHUNK_ROWS: usize = 1_000;

const DUPLICATES: &str = include_str!("../../sql/duplicates.sql");

/// Waits until as many ends were heard of as there are accepted payments, nothing more is heard, or time is up.
pub(crate) async fn hear(board: &Board, deadline: Instant) {
    while board.hears_more(SILENCE_MAX) && Instant::now() < deadline {
        sleep(HEAR_EVERY).await;
    }
}

/// Waits until every accepted payment has its end in the ledger, or until the deadline; reads the ledger at
/// least once.
pub(crate) async fn reconcile(board: &Board, store: &Store, deadline: Instant) -> Result<(), StoreError> {
    loop {
        listen(board, deadline).await;
        patiently(deadline, async || read(board, store).await).await?;
        if !board.awaits_any() || Instant::now() >= deadline {
            return Ok(());
        }
        sleep(READ_EVERY).await;
    }
}

/// Asks the ledger again while it is away, until the deadline at least.
async fn patiently<T>(
    deadline: Instant,
    ask: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let deadline = deadline.max(Instant::now() + READ_PATIENCE);
    loop {
        match ask().await {
            Err(error) if error.is_outage() && Instant::now() < deadline => sleep(READ_EVERY).await,
            answer => return answer,
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
        let keys: Vec<(usize, PaymentKey)> =
            chunk.iter().filter_map(|payment| Some((*payment, board.key(*payment)?))).collect();
        let records = store.records(&keys.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>()).await?;
        for (payment, key) in &keys {
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
    let (_, rows) =
        patiently(Instant::now(), async || store.violations(DUPLICATES, usize::MAX).await).await?;
    let settled = rows.iter().filter_map(|row| serde_json::from_str::<Settled>(row).ok());
    let ours =
        settled.filter(|settled| settled.tenant == domain::Tenant::default() && board.was_sent(&settled.id));
    Ok(ours.count() as u64)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
