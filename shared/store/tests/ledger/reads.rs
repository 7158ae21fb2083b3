//! What the janitor reads of payments that have ended, counted by the server: each row a few times in its life,
//! however long the janitor runs.

#![allow(clippy::print_stdout, reason = "the count is what the test is asked for")]

use crate::common::{BEFORE_ALL, Ledger, account_key, at, currency, deposit, request, settlements, usd};
use crate::lookups::letter;
use crate::open_holds::{pass, passed};
use crate::sessions::all_reported;
use domain::Timestamp;
use std::time::Duration;
use store::{HoldRequest, Store};

pub(crate) const PAYMENTS: usize = 5_000;
const ROUNDS: usize = 25;

/// Twice by the scans, once or twice when the intake is purged.
const READS_MAX: usize = 4;

/// Payments that have ended, and the oldest of all, which is held and buried.
pub(crate) async fn fill(ledger: &Ledger) -> Vec<HoldRequest> {
    let store = ledger.another_store(|_| {});
    for id in ["A", "B"] {
        store.open_account(&account_key(id), currency("USD")).await.unwrap();
    }
    store.deposit(vec![deposit("D", "A", usd(1_000_000))], at(0)).await.unwrap();
    let requests: Vec<HoldRequest> =
        (0..PAYMENTS).map(|number| request(&format!("P{number}"), "A", "B", usd(1))).collect();
    for part in requests.chunks(500) {
        store.reserve(part.to_vec(), at(10)).await.unwrap();
    }
    for part in requests[1..].chunks(500) {
        store.settle(settlements(part), at(20), 0).await.unwrap();
    }
    store.bury(&letter("P0", 1, "why")).await.unwrap();
    store.close().await;
    requests
}

/// So many rounds of a janitor for whom rows are old at once, and how many open holds its scans met.
async fn rounds(store: &Store, scans: &mut (Timestamp, Timestamp)) -> (usize, usize) {
    let (mut late, mut young) = (0, 0);
    for _ in 0..ROUNDS {
        for _ in 0..3 {
            let page = store.late_holds(scans.0, Duration::ZERO, 2_000, BEFORE_ALL).await.unwrap();
            (scans.0, late) = (page.read_to, late + page.holds.len());
            let page = store.young_holds(scans.1, Duration::ZERO, 2_000).await.unwrap();
            (scans.1, young) = (page.read_to, young + page.holds.len());
        }
    }
    (late, young)
}

#[tokio::test]
async fn a_row_is_read_a_few_times_in_its_life() {
    let ledger = Ledger::open().await;
    // The planner knows nothing of the rows, as in a ledger that has just been restored.
    ledger.sql("ALTER TABLE payments SET (autovacuum_enabled = false)").await;
    let requests = fill(&ledger).await;
    let intake: Vec<(String, String)> =
        requests.iter().map(|request| ("default".to_owned(), request.facts.payment.id.to_string())).collect();
    let mut scans = (Timestamp::default(), Timestamp::default());
    let mut read = 0;
    // The rows are young; then more than a minute passes, and they are late.
    for (seconds, expected) in [(0, (0, 1)), (120, (1, 0))] {
        pass(&ledger, seconds).await;
        scans = (passed(scans.0, seconds), passed(scans.1, seconds));
        let store = ledger.another_store(|options| options.connections_max = 1);
        let before = rows_read(&ledger).await;
        if seconds == 0 {
            assert_eq!(store.traces(&intake, Duration::ZERO).await.unwrap().len(), PAYMENTS);
        }
        assert_eq!(rounds(&store, &mut scans).await, expected, "{seconds} s later");
        store.close().await;
        read += rows_read(&ledger).await - before;
    }
    println!("{} rounds read {read} rows of {PAYMENTS}", 2 * ROUNDS);
    assert!(
        (3 * PAYMENTS..=READS_MAX * PAYMENTS).contains(&read),
        "{} rounds read {read} rows of {PAYMENTS}",
        2 * ROUNDS
    );
}

/// The rows of payments that sessions have read which have ended.
async fn rows_read(ledger: &Ledger) -> usize {
    all_reported(ledger).await;
    ledger
        .sql("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'payments'")
        .await
        .parse()
        .unwrap()
}
