//! A server that vanishes without a word: who asks hears of it in time, and no place in the pool is lost,
//! whatever was under way and whoever has gone meanwhile.

use crate::common::{Ledger, account_key, at, currency, insist, recorded, request, status, try_sql, usd};
use crate::faulty_wire::{Fault, FaultyWire, Moment, Side};
use crate::sessions::await_answer;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The limits of a statement and of the wait for a connection: an answer is waited for twice as long, one to
/// a transaction four times.
const LIMIT: Duration = Duration::from_secs(1);

/// How often a store is asked that has to come back. Each attempt takes a limit at most.
const ATTEMPTS_MAX: u32 = 20;

/// How many ledgers are asked at once: on a busy machine more would not connect within their limits.
const ROWS_AT_ONCE: usize = 3;

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
async fn set_up(connections_max: u32, limit: Duration) -> (Ledger, FaultyWire, Store) {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let wire = FaultyWire::start(ledger.address()).await;
    let store = ledger.store_through(wire.address, |options| {
        (options.connections_max, options.statement_timeout, options.acquire_timeout) =
            (connections_max, limit, limit);
    });
    // The faults come to a connection that there is, and lies idle.
    insist(ATTEMPTS_MAX, || read(store.clone())).await;
    await_answer(&ledger, "SELECT 1", |_| store.connections().idle > 0).await;
    (ledger, wire, store)
}

fn is_silent(error: &StoreError) -> bool {
    silence(error).is_some() && error.is_outage()
}

/// How long an answer was waited for that did not come.
fn silence(error: &StoreError) -> Option<Duration> {
    match error {
        StoreError::Of { source, .. } => silence(source),
        StoreError::Silent(waited) => Some(*waited),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_vanishes_takes_no_connection_with_it() {
    use Caller::{IsAnswered, IsTold, Leaves};
    let mut rows = JoinSet::new();
    let places = Arc::new(Semaphore::new(ROWS_AT_ONCE));
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
        let places = Arc::clone(&places);
        rows.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let (ledger, wire, store) = set_up(1, LIMIT).await;
            wire.set_trap(moment, side, Fault::Silence);
            let asked = tokio::spawn(ask(store.clone()));
            wire.faults(1).await;
            match caller {
                IsTold => {
                    let error = asked.await.unwrap().expect_err(about);
                    assert!(is_silent(&error), "{about}: {error:?}");
                    assert_eq!(
                        store.connections().open,
                        0,
                        "{about}: whoever has been told finds the place free"
                    );
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
    let (ledger, wire, store) = set_up(CONNECTIONS, LIMIT).await;
    let at_once = |sql: &'static str| {
        let asks = (0..CONNECTIONS).map(|_| {
            let store = store.clone();
            async move {
                for _ in 0..ATTEMPTS_MAX {
                    match store.violations(sql, 1).await {
                        Ok(_) => return,
                        // A busy machine does not always connect in time.
                        Err(error) => assert!(!is_silent(&error), "{sql}: {error:?}"),
                    }
                }
                panic!("never answered: {sql}");
            }
        });
        asks.collect::<JoinSet<_>>().join_all()
    };
    at_once("SELECT pg_sleep(0.3)").await;
    // They go back to the pool once each has given a sign of life.
    let idle = |_: &str| store.connections().idle == u64::from(CONNECTIONS);
    await_answer(&ledger, "SELECT 1", idle).await;
    wire.end_all(Fault::Silence);
    let error = read(store.clone()).await.expect_err("every connection is silent");
    assert!(is_silent(&error), "{error:?}");
    // Who waited for a place has not used up the time of its answer.
    assert_eq!(silence(&error), Some(LIMIT + LIMIT / 4), "{error:?}");
    at_once("SELECT 1").await;
    ledger.assert_sound("after the silence").await;
}

/// What a server does with a session that nobody listens to is not known: it may keep it for ever, and must not
/// be asked for one more with every attempt, whatever else it answers meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_silent_is_not_asked_for_ever_more_sessions() {
    const CONNECTIONS: u32 = 2;
    const ASKS: usize = 24;
    // The places of those that were not answered are held for longer each time.
    const SESSIONS_MAX: usize = ASKS / 2;
    let write = |store: Store, number: usize| -> Asked {
        Box::pin(async move {
            // A read is answered all the while.
            let _ = read(store.clone()).await;
            let one = request(&format!("P{number}"), "A", "B", usd(1));
            store.reserve(vec![one], at(10)).await.map(drop)
        })
    };
    for (about, ask, moment) in [
        ("reads", (|store, _| read(store)) as fn(Store, usize) -> Asked, Moment::Statement),
        ("commits", write, Moment::Commit),
    ] {
        let (ledger, wire, store) = set_up(CONNECTIONS, LIMIT / 4).await;
        wire.set_trap_for_all(moment, Side::After, Fault::Silence);
        for round in 0..ASKS / 2 {
            let asks: JoinSet<_> = (0..2).map(|place| ask(store.clone(), 2 * round + place)).collect();
            let told = asks.join_all().await;
            assert!(told.iter().all(Result::is_err), "{about}: {told:?}");
        }
        let open = wire.open();
        assert!(open <= SESSIONS_MAX, "{about}: {open} sessions after {ASKS} attempts");
        wire.end_silence();
        insist(ATTEMPTS_MAX, || read(store.clone())).await;
        insist(ATTEMPTS_MAX, || ask(store.clone(), ASKS)).await;
        await_answer(&ledger, "SELECT 1", |_| wire.open() <= CONNECTIONS as usize).await;
        ledger.assert_sound(about).await;
    }
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
