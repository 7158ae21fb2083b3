//! Crashes in the middle of a load: processes, broker, database, streams. Every payment ends, exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use async_nats::jetstream::{consumer, stream};
use common::client::Client;
use common::{System, payment, until};
use devstack::testing::{TestNats, TestPort, TestPostgres};
use devstack::{ProcessIdentity, Signal};
use futures::StreamExt;
use std::cell::Cell;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use wire::{Role, Stream};

/// Payments of one run.
const COUNT: usize = 2_000;

/// Payments posted at a time while something goes on, and how many may be open then.
const WAVE: usize = 50;
const AHEAD_MAX: usize = 500;

/// The streams on the way of a payment that is captured.
const WAY: [Stream; 4] = [Stream::Accepted, Stream::Screened(0), Stream::Quoted(0), Stream::Reserved(0)];

/// The `stages` program itself with every role, as its users run it, so that it can be killed.
struct Stages {
    child: Child,
    /// Of the roles, and of this process alone: others may run beside it.
    ports: Vec<TestPort>,
}

impl Stages {
    fn start(system: &System) -> Stages {
        let ports: Vec<TestPort> = Role::STAGES.iter().map(|_| TestPort::take()).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stages"));
        command.arg("all").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command.args(common::QUICK.iter().map(|setting| format!("--set={setting}")));
        command.arg(format!("--set=nats.url={}", system.config.nats.url));
        command.arg(format!("--set=postgres.url={}", system.config.postgres.url));
        command.args(
            Role::STAGES
                .iter()
                .zip(&ports)
                .map(|(role, port)| format!("--set=admin.{role}={}", port.number())),
        );
        Stages { child: command.spawn().unwrap(), ports }
    }

    /// Waits until every role serves.
    async fn ready(&self) {
        for port in &self.ports {
            let client = Client::new(port.number());
            until("a role is ready", || async {
                client.get("/readyz").await.is_some_and(|answer| answer.status == 200)
            })
            .await;
        }
    }

    fn signal(&self, signal: Signal) {
        ProcessIdentity::of(self.child.id()).expect("the process runs").signal(signal).unwrap();
    }

    /// SIGKILL: no drain, no goodbye.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Posts the payments, each until it is accepted, whatever happens around.
async fn post(system: &System, numbers: Range<usize>) {
    let client = system.client();
    let posts = numbers.map(|number| {
        let client = client.clone();
        async move {
            let destination = if number % 3 == 0 { "E" } else { "D" };
            let body = payment(&format!("P{number}"), "S", destination, "USD", "1");
            until("the payment is accepted", || accepted(&client, &body)).await;
        }
    });
    futures::stream::iter(posts).buffer_unordered(16).collect::<Vec<()>>().await;
}

/// Posts payments until the disturbance is over, never far ahead of what is captured; answers with their
/// number.
async fn post_during(system: &System, disturbance: impl Future<Output = ()>) -> usize {
    let is_over = Cell::new(false);
    let disturb = async {
        disturbance.await;
        is_over.set(true);
    };
    let flow = async {
        let mut count = 0;
        while !is_over.get() {
            until("there is room for more payments", || async {
                is_over.get() || captured(system).await + AHEAD_MAX > count
            })
            .await;
            post(system, count..count + WAVE).await;
            count += WAVE;
        }
        count
    };
    tokio::join!(disturb, flow).1
}

async fn captured(system: &System) -> usize {
    system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await.parse().unwrap()
}

/// Deliveries of a stream's consumer beyond the first of each message: the consumer counts all, the stream
/// numbers each once.
async fn redelivered(system: &System, stream: Stream) -> u64 {
    let (stream, consumer) = info(system, stream).await;
    let first = stream.config.first_sequence.unwrap_or(1);
    let numbered = (consumer.delivered.stream_sequence + 1).saturating_sub(first);
    consumer.delivered.consumer_sequence.saturating_sub(numbered)
}

/// Deliveries on the way that nobody has acknowledged.
async fn undone(system: &System) -> usize {
    let infos = futures::future::join_all(WAY.map(|stream| info(system, stream))).await;
    infos.into_iter().map(|(_, consumer)| consumer.num_ack_pending).sum()
}

async fn info(system: &System, stream: Stream) -> (stream::Info, consumer::Info) {
    let consumer = stream.consumer().unwrap();
    let stream = system.jetstream().await.get_stream(stream.name()).await.unwrap();
    let consumer = stream.consumer_info(consumer.as_str()).await.unwrap();
    (stream.cached_info().clone(), consumer)
}

async fn accepted(client: &Client, body: &serde_json::Value) -> bool {
    let headers = [("content-type", "application/json")];
    let answer = client.send("POST", "/payments", &headers, body.to_string().into_bytes()).await;
    answer.is_some_and(|answer| match answer.status {
        202 => true,
        503 => false,
        status => panic!("{status} {}", answer.body),
    })
}

async fn all_captured_once(system: &System, count: usize) {
    let expected = count.to_string();
    until("all payments are captured", || async {
        // The database itself may be away for a moment.
        let client = system.client();
        client.get("/readyz").await.is_some_and(|answer| answer.status == 200)
            && system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == expected
    })
    .await;
    assert_eq!(
        system
            .sql("SELECT count(*) FROM entries WHERE operation_kind = 'payment' AND account_id = 'S'")
            .await,
        expected
    );
    assert_eq!(system.sql("SELECT count(*) FROM dead_letters").await, "0");
    system.assert_ledger_is_clean().await;
}

async fn half_done(system: &System) {
    until("a part of the payments is captured", || async {
        let done: usize = system.sql("SELECT count(*) FROM payments").await.parse().unwrap_or(0);
        done >= COUNT / 10
    })
    .await;
}

async fn system_on(postgres: &'static TestPostgres) -> System {
    let mut system = System::prepare_on(
        TestNats::start().await,
        postgres,
        &["nats.timeout_ms=1000", "postgres.acquire_timeout_ms=500"],
    )
    .await;
    system.start_gateway().await;
    system
}

async fn fund(system: &System) {
    system.open(&[("S", "USD", "100000"), ("D", "USD", "0"), ("E", "EUR", "0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_killed_in_the_middle_lose_and_double_nothing() {
    let system = system_on(TestPostgres::shared().await).await;
    let mut stages = Stages::start(&system);
    fund(&system).await;
    let mut left_undone = 0;
    let disturb = async {
        for _ in 0..3 {
            // Each kill meets a process that is at work, not one that is still starting.
            stages.ready().await;
            let before = captured(&system).await;
            until("it works", || async { captured(&system).await >= before + COUNT / 10 }).await;
            stages.kill();
            left_undone += undone(&system).await;
            stages = Stages::start(&system);
        }
    };
    let count = post_during(&system, disturb).await;
    all_captured_once(&system, count).await;
    assert!(left_undone > 0, "no kill met anything in hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_loses_and_doubles_nothing() {
    let mut system = system_on(TestPostgres::shared().await).await;
    system.start_roles(Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        system.nats.kill().await;
        system.nats.restart().await;
    };
    tokio::join!(post(&system, 0..COUNT), disturb);
    all_captured_once(&system, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_in_the_middle_loses_and_doubles_nothing() {
    let postgres: &'static TestPostgres = Box::leak(Box::new(TestPostgres::start().await));
    let mut system = system_on(postgres).await;
    system.start_roles(Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        postgres.kill().await;
        postgres.restart().await;
    };
    tokio::join!(post(&system, 0..COUNT), disturb);
    all_captured_once(&system, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn derived_streams_deleted_in_the_middle_lose_and_double_nothing() {
    let mut system = system_on(TestPostgres::shared().await).await;
    system.start_roles(Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        let jetstream = system.jetstream().await;
        for stream in ["PAY_SCREENED_0", "PAY_QUOTED_0", "PAY_RESERVED_0", "PAY_REJECTED_0", "PAY_FINISHED"] {
            jetstream.delete_stream(stream).await.unwrap();
        }
    };
    tokio::join!(post(&system, 0..COUNT), disturb);
    all_captured_once(&system, COUNT).await;
}

/// One of two processes stands still for longer than its deliveries are waited for, wherever it was in its
/// work, so that they go to the other. That one dies as the first wakes up, with deliveries in hand that are
/// long done.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_and_one_that_dies_lose_and_double_nothing() {
    let system = system_on(TestPostgres::shared().await).await;
    let (sleeper, mut other) = (Stages::start(&system), Stages::start(&system));
    tokio::join!(sleeper.ready(), other.ready());
    for stream in WAY {
        until("both processes wait for work", || async { info(&system, stream).await.1.num_waiting >= 2 })
            .await;
    }
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        let before = futures::future::join_all(WAY.map(|stream| redelivered(&system, stream))).await;
        sleeper.signal(Signal::Suspend);
        for (stream, before) in WAY.into_iter().zip(before) {
            until("what the sleeper has in hand is delivered again", || async {
                redelivered(&system, stream).await > before
            })
            .await;
        }
        sleeper.signal(Signal::Resume);
        other.kill();
        let before = captured(&system).await;
        until("the sleeper works alone", || async { captured(&system).await >= before + AHEAD_MAX }).await;
    };
    let count = post_during(&system, disturb).await;
    all_captured_once(&system, count).await;
}
