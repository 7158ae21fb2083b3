//! A server that vanishes without a word: who asks hears of it in time, and no place in the pool is lost,
//! whatever was under way and whoever has gone meanwhile.

use crate::common::{Ledger, account_key, at, currency, insist, recorded, request, status, try_sql, usd};
use crate::faulty_wire::{Fault, FaultyWire, Moment, Side};
use crate::sessions::await_answer;
use std::pin::Pin;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::task::JoinSet;

/// The limits of a statement and of the wait for a connection: an answer is waited for twice as long, one to
/// a transaction four times.
const LIMIT: Duration = Duration::from_secs(1);

/// How often a store is asked that has to come back. Each attempt takes a limit at most.
const ATTEMPTS_MAX: u32 = 20;

type Asked = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

fn read(store: Store) -> Asked {
    Box::pin(async move { store.account(&account_key("A")).await.map(drop) })
}

fn hold(store: Store) -> Asked {
    Box::pin(async move { store.reserve(vec![request("P", "A", "B", usd(100))], at(10)).await.map(drop) })
}

/// What whoever asks makes of a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Waits, and is told of it.
    IsTold,
    /// Has its answer already.
    IsAnswered,
    /// Has gone by then.
    Leaves,
}

/// A ledger with money in it, and a store of so many connections behind a faulty wire.
async fn set_up(connections_max: u32) -> (Ledger, FaultyWire, Store) {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let wire = FaultyWire::start(ledger.address()).await;
    let store = ledger.store_through(wire.address, |options| {
        (options.connections_max, options.statement_timeout, options.acquire_timeout) =
            (connections_max, LIMIT, LIMIT);
    });
    (ledger, wire, store)
}

fn is_silent(error: &StoreError) -> bool {
    match error {
        StoreError::Of { source, .. } => is_silent(source),
        error => matches!(error, StoreError::Silent(_)) && error.is_outage(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_vanishes_takes_no_connection_with_it() {
    use Caller::{IsAnswered, IsTold, Leaves};
    let mut rows = JoinSet::new();
    for (about, ask, moment, side, caller) in [
        ("a transaction in the middle", hold as fn(Store) -> Asked, Moment::Statement, Side::Before, IsTold),
        ("a commit that does not arrive", hold, Moment::Commit, Side::Before, IsTold),
        ("a commit whose answer does not", hold, Moment::Commit, Side::After, IsTold),
        ("a read", read, Moment::Statement, Side::Before, IsTold),
        ("the answer of a read", read, Moment::Statement, Side::After, IsTold),
        ("a transaction that nobody waits for", hold, Moment::Statement, Side::Before, Leaves),
        ("a commit that nobody waits for", hold, Moment::Commit, Side::After, Leaves),
        ("a read that nobody waits for", read, Moment::Statement, Side::Before, Leaves),
        ("the way back of a transaction", hold, Moment::Ping, Side::Before, IsAnswered),
        ("the way back of a read", read, Moment::Ping, Side::Before, IsAnswered),
    ] {
        rows.spawn(async move {
            let (ledger, wire, store) = set_up(1).await;
            wire.set_trap(moment, side, Fault::Silence);
            let asked = tokio::spawn(ask(store.clone()));
            wire.faults(1).await;
            match caller {
                IsTold => {
                    let error = asked.await.unwrap().expect_err(about);
                    assert!(is_silent(&error), "{about}: {error:?}");
                    // Whoever has been told finds the place free.
                    read(store.clone()).await.unwrap_or_else(|error| panic!("{about}: {error:?}"));
                }
                IsAnswered => asked.await.unwrap().unwrap_or_else(|error| panic!("{about}: {error:?}")),
                Leaves => asked.abort(),
            }
            insist(ATTEMPTS_MAX, || read(store.clone())).await;
            // The session that nobody hears of keeps its locks until the server ends it.
            let one = || store.reserve(vec![request("P", "A", "B", usd(100))], at(20));
            let told = recorded(insist(ATTEMPTS_MAX, one).await);
            assert_eq!(told.iter().map(status).collect::<Vec<_>>(), ["RESERVED"], "{about}");
            assert_eq!(ledger.sql("SELECT held FROM accounts WHERE id = 'A'").await, "100", "{about}");
            ledger.assert_sound(about).await;
        });
    }
    rows.join_all().await;
}

/// One connection has fallen silent: those that lie idle are as old, and cost nobody another wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_is_met_once_however_many_connections_there_are() {
    const CONNECTIONS: u32 = 3;
    let (ledger, wire, store) = set_up(CONNECTIONS).await;
    let at_once = |sql: &'static str| {
        let asks = (0..CONNECTIONS).map(|_| {
            let store = store.clone();
            async move { store.violations(sql, 1).await }
        });
        asks.collect::<JoinSet<_>>().join_all()
    };
    for answer in at_once("SELECT pg_sleep(0.3)").await {
        answer.unwrap();
    }
    // They go back to the pool once each has given a sign of life.
    let idle = |_: &str| store.connections().idle == u64::from(CONNECTIONS);
    await_answer(&ledger, "SELECT 1", idle).await;
    wire.end_all(Fault::Silence);
    let error = read(store.clone()).await.expect_err("every connection is silent");
    assert!(is_silent(&error), "{error:?}");
    for answer in at_once("SELECT 1").await {
        answer.unwrap();
    }
    ledger.assert_sound("after the silence").await;
}

/// Who has gone is not waited for: the server looks for its client while it works, and what a statement without
/// one has locked is free long before the statement would have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statement_of_a_client_that_is_gone_ends() {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'kilat_app' AND wait_event_type = 'Lock'";
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    let wire = FaultyWire::start(ledger.address()).await;
    let store = ledger.store_through(wire.address, |options| {
        (options.statement_timeout, options.lock_timeout) =
            (Duration::from_secs(600), Duration::from_secs(600));
    });
    let mut rival = ledger.session(devstack::OWNER).await;
    try_sql(&mut rival, "BEGIN; SELECT FROM accounts WHERE id = 'A' FOR UPDATE").await.unwrap();
    let asked = tokio::spawn(hold(store));
    await_answer(&ledger, WAITING, |count| count == "1").await;
    wire.end_all(Fault::Cut);
    let error = asked.await.unwrap().expect_err("the connection is cut");
    assert!(error.is_outage(), "{error:?}");
    await_answer(&ledger, WAITING, |count| count == "0").await;
}
