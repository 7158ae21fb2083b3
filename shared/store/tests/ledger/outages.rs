//! The server dies, or drops its connections: an outage is told as one, the same store works again, and
//! nothing is done twice.

use crate::common::{Ledger, at, currency, insist, recorded, request, settled, settlements, status, usd};
use devstack::testing::TestPostgres;
use std::time::Duration;
use store::{HoldRequest, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// More than a store has connections: each attempt on a dead one buries it.
const ATTEMPTS_MAX: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_an_outage_and_no_more() {
    let postgres = TestPostgres::start().await;
    let ledger = Ledger::open_on(&postgres).await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let [before, after] = ["BEFORE", "AFTER"].map(|id| request(id, "A", "B", usd(100)));
    let told_before = ledger.hold(std::slice::from_ref(&before)).await;
    // sqlx tries to connect until the pool's patience ends; the time of each call that finds the server down.
    let impatient = || ledger.another_store(|options| options.acquire_timeout = Duration::from_millis(300));
    let store = impatient();
    store.ping().await.unwrap();
    for is_crash in [true, false] {
        if is_crash {
            postgres.kill().await
        } else {
            postgres.stop().await
        }
        let new = impatient();
        let errors = [
            store.ping().await.err(),
            store.reserve(vec![after.clone()], at(10)).await.err(),
            store.settle(settlements(std::slice::from_ref(&before)), at(20), 0).await.err(),
            store.status(&before.facts.payment.key()).await.err(),
            store.deposit(vec![crate::common::deposit("D", "A", usd(1))], at(10)).await.err(),
            // One that has never been connected.
            new.ping().await.err(),
        ];
        for (place, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("call {place} was answered by a server that is down"));
            assert!(error.is_outage(), "call {place}: {error:?}");
        }
        postgres.restart().await;
        insist(ATTEMPTS_MAX, || new.ping()).await;
        let told = recorded(
            insist(ATTEMPTS_MAX, || store.reserve(vec![before.clone(), after.clone()], at(30))).await,
        );
        assert_eq!(told[..1], told_before[..], "a commit survives");
        let held = ledger
            .sql("SELECT held, (SELECT count(*) FROM operations WHERE id = 'D') FROM accounts WHERE id = 'A'")
            .await;
        assert_eq!(held, "200|0", "and what failed was not done");
    }
    ledger.assert_sound("after two restarts").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_repeat_nothing() {
    const WORKERS: usize = 4;
    const BATCHES: usize = 15;
    const BATCH: usize = 8;
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let store = ledger.another_store(|options| options.connections_max = u32::try_from(WORKERS).unwrap());
    let (steps, mut progress) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for worker in 0..WORKERS {
        let (store, steps) = (store.clone(), steps.clone());
        tasks.spawn(async move {
            for batch in 0..BATCHES {
                let one = |number: usize| request(&format!("P{worker}-{batch}-{number}"), "A", "B", usd(10));
                carry_to_the_end(&store, &(0..BATCH).map(one).collect::<Vec<_>>()).await;
                steps.send(()).unwrap();
            }
        });
    }
    drop(steps);
    // A cut for every fourth batch that has ended: wherever the others are just then.
    let mut owner = ledger.session(devstack::OWNER).await;
    let mut cuts = 0;
    let mut ended = 0;
    while progress.recv().await.is_some() {
        ended += 1;
        if ended % WORKERS == 0 {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND usename = 'kilat_app'";
            let rows = sqlx::query(sql).fetch_all(&mut owner).await.unwrap();
            cuts += rows.len();
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(cuts >= BATCHES, "only {cuts} connections were cut");
    let payments = WORKERS * BATCHES * BATCH;
    let counts = "SELECT count(*), count(*) FILTER (WHERE status = 'CAPTURED') FROM payments";
    assert_eq!(ledger.sql(counts).await, format!("{payments}|{payments}"));
    assert_eq!(ledger.sql("SELECT balance FROM accounts WHERE id = 'B'").await, (payments * 10).to_string());
    ledger.assert_sound("after the cuts").await;
}

/// Reserves and settles a batch, again and again while the connections are cut; every answer must be a right
/// one.
async fn carry_to_the_end(store: &Store, requests: &[HoldRequest]) {
    const PATIENCE: u32 = 1_000;
    let held = recorded(insist(PATIENCE, || store.reserve(requests.to_vec(), at(10))).await);
    let asked: Vec<_> = requests.iter().map(|request| &request.facts.payment).collect();
    assert_eq!(held.iter().map(|record| &record.facts.payment).collect::<Vec<_>>(), asked);
    let captured = settled(insist(PATIENCE, || store.settle(settlements(requests), at(20), 0)).await);
    assert_eq!(captured.iter().map(|record| &record.facts.payment).collect::<Vec<_>>(), asked);
    assert!(captured.iter().all(|record| status(record) == "CAPTURED"), "{captured:?}");
}
