//! A GET, an event and a wait never contradict the ledger, while the broker and the stages crash.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::listener::Listener;
use common::processes::{Process, settings};
use common::{PATIENCE, System, payment, until};
use domain::facts::RecordState;
use domain::{PaymentId, PaymentKey, Tenant};
use futures::StreamExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::{Plans, Store, StoreOptions};
use tokio::task::JoinSet;

/// Of the payments, every so manieth is watched by one who asks, one who waits and one who listens.
const WATCHED_EVERY: usize = 5;

/// Every so manieth payment is for an account that does not exist.
const FAILS_EVERY: usize = 15;

/// Payments that may be open while more are posted.
const AHEAD_MAX: usize = 500;

/// Payments that end between two crashes.
const BETWEEN_CRASHES: usize = 100;

/// How often broker and stages crash, each.
fn crashes() -> usize {
    if std::env::var_os("KILAT_DEEP").is_some() { 20 } else { 2 }
}

/// One payment, and what was said of it.
struct Watched {
    id: String,
    port: u16,
    ledger: Store,
    /// Somebody was told that it has ended.
    has_ended: AtomicBool,
    said: Said,
}

/// What was said, in numbers: a test in which nobody says anything shows nothing.
#[derive(Default)]
struct Counts {
    gets: AtomicUsize,
    waits: AtomicUsize,
    events: AtomicUsize,
    outages: AtomicUsize,
}

type Said = Arc<Counts>;

impl Watched {
    /// Somebody was told this status: the ledger must have it at this moment, if it is an end, and it must be
    /// one if there was one before the question.
    async fn is_told(&self, status: &str, had_ended: bool, by: &str) -> bool {
        let is_end = status != "PENDING";
        assert!(is_end || !had_ended, "{}: {by} says {status} after the end", self.id);
        if is_end {
            assert_eq!(self.row().await, status, "{}: {by} contradicts the ledger", self.id);
            self.has_ended.store(true, Ordering::SeqCst);
        }
        is_end
    }

    async fn row(&self) -> &'static str {
        let key = PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(self.id.clone()).unwrap() };
        match self.ledger.status(&key).await.unwrap().record.map(|record| record.state) {
            None => "none",
            Some(RecordState::Reserved(_)) => "PENDING",
            Some(RecordState::Captured { .. }) => "CAPTURED",
            Some(RecordState::Failed { .. }) => "FAILED",
        }
    }

    /// Asks until it has ended.
    async fn ask(self: Arc<Watched>, headers: &'static [(&'static str, &'static str)]) {
        let (client, path) = (Client::new(self.port), format!("/payments/{}", self.id));
        let count = if headers.is_empty() { &self.said.gets } else { &self.said.waits };
        loop {
            let had_ended = self.has_ended.load(Ordering::SeqCst);
            let answer = client.send("GET", &path, headers, Vec::new()).await.expect("the gateway answers");
            match answer.status {
                200 => {
                    count.fetch_add(1, Ordering::Relaxed);
                    let status = answer.body["status"].as_str().unwrap();
                    if self.is_told(status, had_ended, &format!("a GET with {headers:?}")).await {
                        return;
                    }
                }
                503 => self.pause().await,
                status => panic!("{}: {status} {}", self.id, answer.text),
            }
        }
    }

    /// Listens until it has ended, and goes on where a stream has broken off.
    async fn listen(self: Arc<Watched>) {
        let (path, mut last) = (format!("/payments/{}/events", self.id), 0);
        loop {
            let header = last.to_string();
            let headers = [("last-event-id", header.as_str())];
            let mut listener = Listener::open(self.port, &path, &headers).await.expect("the gateway answers");
            match listener.status() {
                200 => {}
                503 => self.pause().await,
                status => panic!("{}: {status}", self.id),
            }
            while let Some(event) = listener.next().await {
                if listener.status() == 200 {
                    self.said.events.fetch_add(1, Ordering::Relaxed);
                    let id = event.id.expect("no payment is buried");
                    assert!(id > last, "{}: {id} comes after {last}", self.id);
                    last = id;
                    let status = event.data["status"].as_str().unwrap();
                    let is_end = self.is_told(status, false, "an event").await;
                    assert_eq!(is_end, id == 6, "{}: {}", self.id, event.data);
                }
            }
            if last == 6 {
                return;
            }
        }
    }

    async fn pause(&self) {
        self.said.outages.fetch_add(1, Ordering::Relaxed);
        // As a client would that was told to try later.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn ledger(system: &System) -> Store {
    let options = StoreOptions {
        url: system.config.postgres.url.clone(),
        application_name: "truth".into(),
        connections_max: 4,
        acquire_timeout: PATIENCE,
        statement_timeout: PATIENCE,
        lock_timeout: PATIENCE,
        plans: Plans::Free,
    };
    Store::connect_lazily(&options).unwrap()
}

async fn ended(system: &System) -> usize {
    system.sql("SELECT count(*) FROM payments WHERE status IN ('CAPTURED', 'FAILED')").await.parse().unwrap()
}

async fn post(client: &Client, number: usize) -> String {
    let (id, headers) = (format!("P{number}"), [("content-type", "application/json")]);
    let destination = if number.is_multiple_of(FAILS_EVERY) { "NOBODY" } else { "D" };
    let body = payment(&id, "S", destination, "USD", "1").to_string().into_bytes();
    until("the payment is accepted", || async {
        let answer = client.send("POST", "/payments", &headers, body.clone()).await;
        match answer.map(|answer| answer.status) {
            Some(202) => true,
            Some(503) | None => false,
            Some(status) => panic!("{id}: {status}"),
        }
    })
    .await;
    id
}

/// Broker and stages end by SIGKILL and start again, in turns, each time after some payments have ended.
async fn crash(system: &System, mut stages: Process) -> Process {
    for _ in 0..crashes() {
        for is_broker in [true, false] {
            let before = ended(system).await;
            until("payments end", || async { ended(system).await >= before + BETWEEN_CRASHES }).await;
            if is_broker {
                system.nats.kill().await;
                system.nats.restart().await;
            } else {
                drop(stages);
                stages = Process::stages("all", &settings(system, &[]));
            }
        }
    }
    stages
}

/// Posts payments until there are no more crashes, and has a part of them watched.
async fn flow(system: &System, is_over: &AtomicBool, said: &Said, watchers: &Mutex<JoinSet<()>>) -> usize {
    let (client, ledger, port) = (system.client(), ledger(system), system.config.gateway.ports[0]);
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        until("there is room for more payments", || async {
            is_over.load(Ordering::SeqCst) || ended(system).await + AHEAD_MAX > count
        })
        .await;
        let wave = (count..count + 50).map(|number| {
            let (client, ledger) = (client.clone(), ledger.clone());
            async move {
                let id = post(&client, number).await;
                if !number.is_multiple_of(WATCHED_EVERY) {
                    return;
                }
                let (has_ended, said) = (AtomicBool::new(false), said.clone());
                let watched = Arc::new(Watched { id, port, ledger, has_ended, said });
                let mut watchers = watchers.lock().unwrap();
                watchers.spawn(watched.clone().ask(&[]));
                watchers.spawn(watched.clone().ask(&[("prefer", "wait=3")]));
                watchers.spawn(watched.listen());
            }
        });
        futures::stream::iter(wave).buffer_unordered(16).collect::<Vec<()>>().await;
        count += 50;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_an_event_and_a_wait_never_contradict_the_ledger() {
    let mut system = System::prepare(&["nats.timeout_ms=1000", "postgres.acquire_timeout_ms=500"]).await;
    system.start_gateway().await;
    let stages = Process::stages("all", &settings(&system, &[]));
    system.open(&[("S", "USD", "1000000"), ("D", "USD", "0")]).await;
    let (is_over, said, watchers) = (AtomicBool::new(false), Said::default(), Mutex::default());
    let crashing = async {
        let stages = crash(&system, stages).await;
        is_over.store(true, Ordering::SeqCst);
        stages
    };
    let (_stages, count) = tokio::join!(crashing, flow(&system, &is_over, &said, &watchers));
    let mut watchers: JoinSet<()> = watchers.into_inner().unwrap();
    let watched = count / WATCHED_EVERY;
    let all = async {
        while let Some(watcher) = watchers.join_next().await {
            watcher.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("everyone is told the end");
    let numbers =
        [&said.gets, &said.waits, &said.events, &said.outages].map(|number| number.load(Ordering::SeqCst));
    let [gets, waits, events, _] = numbers;
    // The first and the last are told of each at least.
    assert!(watched > 20 && gets.min(waits) >= watched && events >= 2 * watched, "{watched}: {numbers:?}");
    until("all payments end", || async { ended(&system).await == count }).await;
    system.assert_ledger_is_clean().await;
    system.stop().await;
}
