//! Batches that get in each other's way: no deadlock, no money made or lost, every payment once.

use crate::common::{
    Ledger, at, converted, currency, deposit, recorded, refusal, request, settled, settlements, status, usd,
};
use domain::fx::Rate;
use domain::{Money, PaymentRecord, Refusal};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{DepositOutcome, HoldRequest, Settlement, Store};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const WORKERS: usize = 8;
const ROUNDS: usize = 8;
const BATCH: usize = 24;
const ACCOUNTS: usize = 8;

/// Deadlocks that the server has broken in this database. The sessions must be closed: they report when they
/// end.
async fn deadlocks(ledger: &Ledger) -> String {
    ledger.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await
}

/// A batch over all accounts, ascending or descending; three in ten convert.
fn batch(worker: usize, round: usize) -> Vec<HoldRequest> {
    let mut requests: Vec<HoldRequest> = (0..BATCH)
        .map(|number| {
            let (id, source) = (format!("W{worker}-{round}-{number}"), number % ACCOUNTS);
            let destination = (source + 1 + worker % (ACCOUNTS - 1)) % ACCOUNTS;
            let dollars = request(&id, &format!("US{source}"), &format!("US{destination}"), usd(100));
            if number % 10 < 3 {
                let euros = request(
                    &id,
                    &format!("EU{source}"),
                    &format!("US{destination}"),
                    Money::new(100, currency("EUR")),
                );
                converted(euros, currency("USD"), Rate { numerator: 10_823, denominator: 10_000 }, 25)
                    .unwrap()
            } else {
                dollars
            }
        })
        .collect();
    if worker % 2 == 1 {
        requests.reverse();
    }
    requests
}

/// One worker's life: it reserves a batch, settles it, and settles once more what its neighbour has just
/// reserved, or not yet.
async fn work(store: Store, worker: usize) {
    for round in 0..ROUNDS {
        let requests = batch(worker, round);
        store.reserve(requests.clone(), at(10)).await.unwrap();
        let mut both = settlements(&batch((worker + 1) % WORKERS, round));
        both.extend(settlements(&requests));
        let settled = store.settle(both, at(20), 0).await.unwrap();
        let (neighbours, own) = settled.split_at(BATCH);
        let is_recorded = |answer: &Settlement| matches!(answer, Settlement::Recorded(_));
        assert!(own.iter().all(is_recorded), "{own:?}");
        assert!(
            neighbours.iter().all(|answer| is_recorded(answer) || *answer == Settlement::NoRow),
            "{neighbours:?}"
        );
    }
}

/// Deposits to all accounts, upwards and downwards in turn.
async fn pay_in(store: Store, payer: usize) {
    for round in 0..ROUNDS {
        let one =
            |number: usize| deposit(&format!("D{payer}-{round}-{number}"), &format!("US{number}"), usd(1));
        let mut deposits: Vec<store::Deposit> = (0..ACCOUNTS).map(one).collect();
        if (payer + round) % 2 == 1 {
            deposits.reverse();
        }
        let outcomes = store.deposit(deposits, at(15)).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, DepositOutcome::Posted(_))), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_orders_do_not_deadlock() {
    const PAYERS: usize = 2;
    let ledger = Ledger::open().await;
    for number in 0..ACCOUNTS {
        ledger.fund(&format!("US{number}"), usd(1_000_000)).await;
        ledger.fund(&format!("EU{number}"), Money::new(1_000_000, currency("EUR"))).await;
    }
    // More connections than workers, so that they wait for locks and not for the pool.
    let store =
        ledger.another_store(|options| options.connections_max = u32::try_from(WORKERS + PAYERS).unwrap());
    let mut tasks = JoinSet::new();
    (0..WORKERS).for_each(|worker| drop(tasks.spawn(work(store.clone(), worker))));
    (0..PAYERS).for_each(|payer| drop(tasks.spawn(pay_in(store.clone(), payer))));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    store.close().await;
    assert_eq!(deadlocks(&ledger).await, "0");
    let captured = ledger.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await;
    assert_eq!(captured, (WORKERS * ROUNDS * BATCH).to_string(), "every payment has ended");
    let external = ledger.sql("SELECT -balance FROM accounts WHERE id = 'external:USD'").await;
    let paid_in = ACCOUNTS * 1_000_000 + PAYERS * ROUNDS * ACCOUNTS;
    assert_eq!(external, paid_in.to_string(), "all that came in, and nothing else");
    ledger.assert_sound("after the crowd").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racers_over_the_same_payments_agree() {
    const PAYMENTS: usize = 100;
    const RACERS: u64 = 4;
    let seed: u64 = std::env::var("SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    let ledger = Ledger::open().await;
    for racer in 0..RACERS {
        ledger.fund(&format!("SOURCE{racer}"), usd(10_000)).await;
    }
    ledger.open_account("SHOP", currency("USD")).await;
    // Two processes, of two tasks each. Racers 0 and 1 say the same; the others would take the money
    // elsewhere, as a client that uses an id twice does: their batches lock other accounts, and only the
    // payments' own keys bring them together.
    let stores = [ledger.store.clone(), ledger.another_store(|_| {})];
    let start = Arc::new(Barrier::new(usize::try_from(RACERS).unwrap()));
    let mut tasks = JoinSet::new();
    for racer in 0..RACERS {
        let (store, start) = (stores[usize::try_from(racer % 2).unwrap()].clone(), Arc::clone(&start));
        tasks.spawn(async move {
            let source = if racer == 0 { 1 } else { racer };
            let one =
                |number: usize| request(&format!("P{number}"), &format!("SOURCE{source}"), "SHOP", usd(100));
            let mut requests: Vec<HoldRequest> = (0..PAYMENTS).map(one).collect();
            requests.shuffle(&mut StdRng::seed_from_u64(seed ^ racer));
            start.wait().await;
            race(&store, &requests).await
        });
    }
    let answers: Vec<BTreeMap<String, PaymentRecord>> = tasks.join_all().await;
    for other in &answers[1..] {
        assert_eq!(other, &answers[0], "seed {seed}: every racer is told the same of every payment");
    }
    assert!(
        answers[0].len() == PAYMENTS && answers[0].values().all(|record| status(record) == "CAPTURED"),
        "seed {seed}"
    );
    let counts = ledger.sql("SELECT (SELECT count(*) FROM payments), count(*), sum(amount) FROM entries WHERE account_id = 'SHOP'").await;
    assert_eq!(
        counts,
        format!("{PAYMENTS}|{PAYMENTS}|{}", PAYMENTS * 100),
        "seed {seed}: each payment arrives once"
    );
    ledger.assert_sound(&format!("seed {seed}")).await;
}

/// Reserves and settles in small batches; what was said of each payment in the end.
async fn race(store: &Store, requests: &[HoldRequest]) -> BTreeMap<String, PaymentRecord> {
    let mut told = BTreeMap::new();
    for chunk in requests.chunks(10) {
        store.reserve(chunk.to_vec(), at(10)).await.unwrap();
        for record in settled(store.settle(settlements(chunk), at(20), 0).await.unwrap()) {
            told.insert(record.facts.payment.id.to_string(), record);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_holds_never_take_more_than_there_is() {
    const HOLDS: usize = 20;
    let ledger = Ledger::open().await;
    ledger.fund("SOURCE", usd(10_000)).await;
    ledger.open_account("SHOP", currency("USD")).await;
    let store = ledger.another_store(|options| options.connections_max = u32::try_from(HOLDS).unwrap());
    let start = Arc::new(Barrier::new(HOLDS));
    let mut tasks = JoinSet::new();
    for number in 0..HOLDS {
        let (store, start) = (store.clone(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            let requests = vec![request(&format!("P{number}"), "SOURCE", "SHOP", usd(1_000))];
            recorded(store.reserve(requests, at(10)).await.unwrap()).remove(0)
        });
    }
    let records = tasks.join_all().await;
    let count = |wanted: &str| records.iter().filter(|record| status(record) == wanted).count();
    assert_eq!((count("RESERVED"), count("FAILED")), (10, 10));
    let refusals = records.iter().filter_map(refusal);
    assert!(refusals.into_iter().all(|reason| reason == Refusal::InsufficientFunds));
    assert_eq!(ledger.sql("SELECT balance, held FROM accounts WHERE id = 'SOURCE'").await, "10000|10000");
    ledger.assert_sound("after the race").await;
}
