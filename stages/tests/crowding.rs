//! What one client, or one silent server, must not do to the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use devstack::testing::{TestNats, TestPostgres};
use futures::future::join_all;
use serde_json::Value;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use wire::Role;

/// Far more requests than places wait for their bodies, which never come; somebody else's payment is
/// accepted.
#[tokio::test(flavor = "multi_thread")]
async fn heads_without_bodies_keep_nobody_out() {
    const PLACES: usize = 4;
    let mut system =
        System::prepare(&[&format!("gateway.in_flight_max={PLACES}"), "http.body_timeout_ms=600000"]).await;
    system.start_gateway().await;
    let port = system.config.gateway.ports[0];
    let mut waiting = Vec::new();
    for path in ["/payments", "/accounts", "/accounts/S/deposits", "/score"].iter().cycle().take(PLACES * 8) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 100", "{path}: the body is waited for");
        waiting.push(stream);
    }
    let answer = system.client().post("/payments", &payment("P", "S", "D", "USD", "1")).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    drop(waiting);
    system.stop().await;
}

/// Every process of a Postgres stopped, so that it neither answers nor refuses, until this is dropped.
struct Silenced(Vec<u32>);

impl Silenced {
    async fn all_of(postgres: &TestPostgres) -> Silenced {
        let postmaster = postgres.process().await.unwrap().pid;
        // The postmaster first, so that it makes no more backends.
        signal("STOP", &[postmaster]);
        let parent = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let pids = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let backends: Vec<u32> = pids.filter(|pid| parent(pid) == Some(postmaster)).collect();
        assert!(!backends.is_empty(), "a Postgres has processes of its own");
        signal("STOP", &backends);
        Silenced([vec![postmaster], backends].concat())
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    assert!(
        Command::new("sh").args(["-c", &format!("kill -s {name} {pids}")]).status().unwrap().success(),
        "{name} {pids}"
    );
}

/// A Postgres that says nothing: payments that need no look-up are accepted meanwhile, one after the other,
/// while those that do still wait for it and end as an outage. A crowd of them, and of reads, leaves places
/// to the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_ledger_holds_up_only_those_that_ask_it() {
    const PLACES: usize = 16;
    let postgres: &'static TestPostgres = Box::leak(Box::new(TestPostgres::start().await));
    let places = format!("gateway.in_flight_max={PLACES}");
    let settings =
        [places.as_str(), "postgres.acquire_timeout_ms=3000", "postgres.statement_timeout_ms=5000"];
    let mut system = System::prepare_on(TestNats::start().await, postgres, &settings).await;
    system.start_roles(&[Role::Wallet]).await;
    system.start_gateway().await;
    let client = system.client();
    let warm = post_named(client.clone(), "WARM".to_owned()).await;
    assert_eq!(warm, (202, String::new()));

    let silenced = Silenced::all_of(postgres).await;
    let named = |count: usize| -> Vec<_> {
        (0..count).map(|number| tokio::spawn(post_named(client.clone(), format!("N{number}")))).collect()
    };
    let waiting =
        |tasks: &[JoinHandle<(u16, String)>]| tasks.iter().filter(|task| !task.is_finished()).count();

    let few = named(PLACES / 4);
    post_nameless(&client).await;
    assert_eq!(waiting(&few), PLACES / 4, "named payments that still waited for the ledger then");
    for answer in join_all(few).await {
        assert_eq!(answer.unwrap(), (503, "unavailable".to_owned()));
    }

    let reads = (0..PLACES).map(|number| tokio::spawn(get(client.clone(), format!("/payments/N{number}"))));
    let balances = (0..PLACES).map(|_| tokio::spawn(get(client.clone(), "/balance/S".to_owned())));
    let crowd: Vec<_> = balances.chain(reads).chain(named(PLACES)).collect();
    until("half of the places are free", || async { waiting(&crowd) <= PLACES / 2 }).await;
    post_nameless(&client).await;
    assert!(waiting(&crowd) > 0, "nobody waited for the ledger then");
    for answer in join_all(crowd).await {
        let (status, code) = answer.unwrap();
        assert!(status == 503 && ["unavailable", "overloaded"].contains(&code.as_str()), "{status} {code}");
    }
    drop(silenced);
    until("a named payment is accepted again", || async {
        post_named(client.clone(), "N0".to_owned()).await.0 == 202
    })
    .await;
    system.stop().await;
}

/// Payments whose ids the gateway makes, one after the other, each accepted.
async fn post_nameless(client: &Client) {
    let mut nameless = payment("", "S", "D", "USD", "1");
    nameless.as_object_mut().unwrap().remove("id");
    for number in 0..50 {
        let answer = client.post("/payments", &nameless).await;
        assert_eq!(answer.status, 202, "nameless payment {number}: {}", answer.body);
    }
}

async fn post_named(client: Client, id: String) -> (u16, String) {
    let answer = client.post("/payments", &payment(&id, "S", "D", "USD", "1")).await;
    (answer.status, answer.code().to_owned())
}

async fn get(client: Client, path: String) -> (u16, String) {
    let answer = client.get(&path).await.unwrap();
    (answer.status, answer.code().to_owned())
}

/// Reads that all wait for a locked table take neither the connections of acceptance nor those of readiness.
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_leave_acceptance_and_readiness_their_connections() {
    const CONNECTIONS: usize = 4;
    const LOCK: &str = "BEGIN; LOCK TABLE accounts; SELECT pg_sleep(60)";
    const WAITING: &str =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'accounts'::regclass";
    let connections = format!("postgres.connections_max={CONNECTIONS}");
    let settings =
        [connections.as_str(), "postgres.acquire_timeout_ms=10000", "postgres.statement_timeout_ms=30000"];
    let mut system = System::prepare(&settings).await;
    system.start_roles(&[Role::Wallet]).await;
    system.start_gateway().await;
    let (gateway, wallet) = (system.client(), Client::new(system.config.admin.wallet));
    // The session of the lock ends with an error, when it is ended from outside.
    let (postgres, database) = (system.postgres, system.database.clone());
    let locking = tokio::spawn(async move { postgres.query(&database, LOCK).await });
    let is_locked = "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'accounts'::regclass AND mode = 'AccessExclusiveLock'";
    until("the table is locked", || async { system.sql(is_locked).await == "1" }).await;

    let reads: Vec<_> = [(&gateway, "/accounts/S"), (&wallet, "/balance/S")]
        .into_iter()
        .flat_map(|(client, path)| {
            (0..CONNECTIONS * 2).map(move |_| tokio::spawn(get(client.clone(), path.to_owned())))
        })
        .collect();
    // Of the gateway's connections two are for look-ups.
    let waiting_min = CONNECTIONS - 2 + CONNECTIONS;
    until("reads have taken every connection", || async {
        system.sql(WAITING).await.parse::<usize>().unwrap() >= waiting_min
    })
    .await;
    for (whose, client) in [("gateway", &gateway), ("wallet", &wallet)] {
        let answer = client.get("/readyz").await.unwrap();
        assert_eq!(
            (answer.status, &answer.body["checks"]["postgres"]),
            (200, &Value::Bool(true)),
            "{whose}: {}",
            answer.body
        );
    }
    let answer = gateway.post("/payments", &payment("P", "S", "D", "USD", "1")).await;
    assert_eq!(answer.status, 202, "{}", answer.body);

    system.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE granted AND relation = 'accounts'::regclass AND mode = 'AccessExclusiveLock'").await;
    assert!(locking.await.is_err(), "the lock was held all the while");
    for answer in join_all(reads).await {
        assert_eq!(answer.unwrap().0, 404);
    }
    system.stop().await;
}
