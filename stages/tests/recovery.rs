//! Crashes in the middle of a load: processes, broker, database, streams. Every payment ends, exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use devstack::testing::{TestNats, TestPostgres};
use std::process::{Child, Command, Stdio};
use wire::Role;

/// Payments of one run.
const COUNT: usize = 2_000;

/// The `stages` program itself, as its users run it, so that it can be killed.
struct Stages(Child);

impl Stages {
    fn start(system: &System) -> Stages {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stages"));
        command.arg("all").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        for (key, value) in settings(system) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        Stages(command.spawn().unwrap())
    }

    /// SIGKILL: no drain, no goodbye.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The test's configuration as flags.
fn settings(system: &System) -> Vec<(String, String)> {
    let config = &system.config;
    let admin = &config.admin;
    let mut settings: Vec<(String, String)> =
        common::QUICK.iter().map(|text| text.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect();
    settings.push(("nats.url".into(), config.nats.url.clone()));
    settings.push(("postgres.url".into(), config.postgres.url.clone()));
    for (role, port) in [
        ("risk", admin.risk),
        ("fx", admin.fx),
        ("reserve", admin.reserve),
        ("settle", admin.settle),
        ("wallet", admin.wallet),
        ("janitor", admin.janitor),
    ] {
        settings.push((format!("admin.{role}"), port.to_string()));
    }
    settings
}

/// Posts the payments, each until it is accepted, whatever happens around; then waits until all have ended.
async fn post_all(system: &System) {
    let client = system.client();
    let posts = (0..COUNT).map(|number| {
        let client = client.clone();
        async move {
            let destination = if number % 3 == 0 { "E" } else { "D" };
            let body = payment(&format!("P{number}"), "S", destination, "USD", "1");
            until("the payment is accepted", || accepted(&client, &body)).await;
        }
    });
    use futures::StreamExt;
    futures::stream::iter(posts).buffer_unordered(16).collect::<Vec<()>>().await;
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

async fn all_captured_once(system: &System) {
    let expected = COUNT.to_string();
    until("all payments are captured", || async {
        // The database itself may be away for a moment.
        let client = system.client();
        client.get("/readyz").await.is_some_and(|answer| answer.status == 200)
            && system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == expected
    })
    .await;
    assert_eq!(system.sql("SELECT count(*) FROM entries WHERE operation_kind = 'payment' AND account_id = 'S'").await, expected);
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
    let mut system =
        System::prepare_on(TestNats::start().await, postgres, &["nats.timeout_ms=1000", "postgres.acquire_timeout_ms=500"]).await;
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
    let disturb = async {
        for _ in 0..3 {
            half_done(&system).await;
            stages.kill();
            stages = Stages::start(&system);
        }
    };
    tokio::join!(post_all(&system), disturb);
    all_captured_once(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_loses_and_doubles_nothing() {
    let mut system = system_on(TestPostgres::shared().await).await;
    system.start_roles(&Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        system.nats.kill().await;
        system.nats.restart().await;
    };
    tokio::join!(post_all(&system), disturb);
    all_captured_once(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_in_the_middle_loses_and_doubles_nothing() {
    let postgres: &'static TestPostgres = Box::leak(Box::new(TestPostgres::start().await));
    let mut system = system_on(postgres).await;
    system.start_roles(&Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        postgres.kill().await;
        postgres.restart().await;
    };
    tokio::join!(post_all(&system), disturb);
    all_captured_once(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn derived_streams_deleted_in_the_middle_lose_and_double_nothing() {
    let mut system = system_on(TestPostgres::shared().await).await;
    system.start_roles(&Role::STAGES).await;
    fund(&system).await;
    let disturb = async {
        half_done(&system).await;
        let jetstream = system.jetstream().await;
        for stream in ["PAY_SCREENED_0", "PAY_QUOTED_0", "PAY_RESERVED_0", "PAY_REJECTED_0", "PAY_FINISHED"] {
            jetstream.delete_stream(stream).await.unwrap();
        }
    };
    tokio::join!(post_all(&system), disturb);
    all_captured_once(&system).await;
}
