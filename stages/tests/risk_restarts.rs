//! Risk forgets with its process what accounts have sent, and finds it again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::{Answer, Client};
use common::{System, payment, until};
use serde_json::json;
use wire::Role;

const LOCK: &str = "BEGIN; LOCK TABLE payments; SELECT pg_sleep(60)";
const LOCKED: &str =
    "FROM pg_locks WHERE granted AND relation = 'payments'::regclass AND mode = 'AccessExclusiveLock'";

async fn post(system: &System, ids: &[&str]) {
    for id in ids {
        let answer = system.client().post("/payments", &payment(id, "S", "D", "USD", "1")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

async fn score(risk: &Client) -> Answer {
    risk.post("/score", &json!({ "account": "S", "amount": 1, "currency": "USD" })).await
}

/// How many payments risk has counted: one more would have so many percent of the hundred that are allowed.
async fn counted(risk: &Client) -> u64 {
    let answer = score(risk).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["score"].as_u64().unwrap() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn each_payment_is_counted_once_and_none_is_judged_before_all_are_known() {
    // The intake is purged as soon as there is a row.
    let settings = ["risk.window_seconds=3600", "risk.window_count_max=100", "janitor.purge_after_ms=0"];
    let mut system = System::start(&settings).await;
    let risk = Client::new(system.config.admin.risk);
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    post(&system, &["P1", "P2", "P3"]).await;
    for id in ["P1", "P2", "P3"] {
        assert_eq!(system.ended(id).await["status"], "CAPTURED");
    }
    assert_eq!(counted(&risk).await, 3);
    let jetstream = system.jetstream().await;
    until("the intake is purged", || async {
        jetstream.get_stream("PAY_ACCEPTED").await.unwrap().cached_info().state.messages == 0
    })
    .await;

    system.stop().await;
    system.start_gateway().await;
    post(&system, &["P4", "P5"]).await;
    let (postgres, database) = (system.postgres, system.database.clone());
    let locking = tokio::spawn(async move { postgres.query(&database, LOCK).await });
    until("the rows are locked", || async { system.sql(&format!("SELECT count(*) {LOCKED}")).await == "1" })
        .await;
    let roles = system.launch_roles(Role::STAGES);
    until("the ledger answers risk", || async {
        let answer = risk.get("/readyz").await;
        answer.is_some_and(|answer| answer.body["checks"]["postgres"] == true)
    })
    .await;
    let answer = risk.get("/readyz").await.unwrap();
    assert_eq!(
        (answer.status, &answer.body["checks"]["velocities"]),
        (503, &json!(false)),
        "{}",
        answer.body
    );
    let answer = score(&risk).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{}", answer.body);

    system.sql(&format!("SELECT pg_terminate_backend(pid) {LOCKED}")).await;
    assert!(locking.await.is_err(), "the lock was held all the while");
    until("risk is ready", || async { risk.get("/readyz").await.is_some_and(|answer| answer.status == 200) })
        .await;
    for id in ["P4", "P5"] {
        assert_eq!(system.ended(id).await["status"], "CAPTURED");
    }
    post(&system, &["P6"]).await;
    assert_eq!(system.ended("P6").await["status"], "CAPTURED");
    assert_eq!(counted(&risk).await, 6);
    roles.stop().await;
    system.assert_ledger_is_clean().await;
    system.stop().await;
}
