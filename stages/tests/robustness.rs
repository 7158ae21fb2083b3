//! What must not stop the pipeline: junk, full streams, a stage that stands still, the purge. Every payment ends, or is a
//! dead letter with its reason, and nothing is driven again without end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::{System, payment, until};
use futures::StreamExt;
use serde_json::json;
use wire::Role;

/// Posts so many payments of 1.00 from S to D, and answers with their ids.
async fn post_many(system: &System, prefix: &str, count: usize) -> Vec<String> {
    let client = system.client();
    let ids: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    let posts = ids.iter().map(|id| {
        let (client, body) = (client.clone(), payment(id, "S", "D", "USD", "1"));
        async move { until("the payment is accepted", || async { client.post("/payments", &body).await.status == 202 }).await }
    });
    futures::stream::iter(posts).buffer_unordered(32).collect::<Vec<()>>().await;
    ids
}

/// Waits until so many payments are captured, and nothing else of them is left over.
async fn captured(system: &System, count: usize) {
    let count = count.to_string();
    until(&format!("{count} payments are captured"), || async {
        system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == count
    })
    .await;
}

/// An undecodable message in each stream is buried with its reason, and the payments around it go on.
#[tokio::test(flavor = "multi_thread")]
async fn junk_in_any_stream_is_buried_and_harms_nothing() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let jetstream = system.jetstream().await;
    let rows = [
        ("pay.accepted.0.JUNK-accepted", "risk"),
        ("pay.screened.0.JUNK-screened", "fx"),
        ("pay.quoted.0.JUNK-quoted", "reserve"),
        ("pay.reserved.0.JUNK-reserved", "settle"),
        ("pay.rejected.0.JUNK-rejected", "settle_rejected"),
    ];
    for (subject, _) in rows {
        jetstream.publish(subject, "{\"v\":1,\"junk\":true}".into()).await.unwrap().await.unwrap();
    }
    post_many(&system, "P", 100).await;
    captured(&system, 100).await;
    for (subject, stage) in rows {
        let token = subject.rsplit('.').next().unwrap();
        let row = || async {
            system
                .sql(&format!(
                    "SELECT stage, reason LIKE 'undecodable message%' FROM dead_letters WHERE id = '{token}' AND resolved_at IS NULL"
                ))
                .await
        };
        until("the dead letter is written", || async { row().await == format!("{stage}|t") }).await;
        let dead = jetstream.get_stream("PAY_DEAD").await.unwrap();
        let subject = format!("pay.dead.{stage}.{token}");
        until("the message is buried", || async { dead.get_last_raw_message_by_subject(&subject).await.is_ok() }).await;
        // It is open to the border too: pending, and waiting for someone.
        let shown = system.client().get(&format!("/payments/{token}")).await.unwrap();
        assert_eq!((shown.status, &shown.body["status"], &shown.body["stage"]), (200, &json!("PENDING"), &json!("dead")));
    }
    // A new version of the format is as little understood, and its payment as safe.
    jetstream.publish("pay.accepted.0.NEWER", "{\"v\":2}".into()).await.unwrap().await.unwrap();
    let reason = || async { system.sql("SELECT reason FROM dead_letters WHERE id = 'NEWER'").await };
    until("the newer version is buried", || async { reason().await == "unknown message version 2" }).await;
    until("nothing waits", || async { lag(&system, "PAY_ACCEPTED", "risk").await == 0 }).await;
    system.assert_ledger_is_clean().await;
}

async fn lag(system: &System, stream: &str, consumer: &str) -> u64 {
    let stream = system.jetstream().await.get_stream(stream).await.unwrap();
    let info = stream.consumer_info(consumer).await.unwrap();
    info.num_pending + info.num_ack_pending as u64
}

/// Derived streams far smaller than the load, and a settle that comes late: the backlog waits on disk in the intake,
/// and once settle is there everything ends. Nothing is driven again meanwhile beyond its patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_derived_stream_is_waited_for_and_a_stage_may_stand_still() {
    let small = ["pipeline.batch_max=8", "pipeline.stream_messages_max=32", "pipeline.keep_messages=4", "pipeline.ack_pending_max=16"];
    let mut system = System::prepare(&small).await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Reserve, Role::Wallet, Role::Janitor]).await;
    system.start_gateway().await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    post_many(&system, "P", 300).await;
    // Settle stands still: the streams fill up to their bounds and no further.
    until("the reserved stream is full", || async { stored(&system, "PAY_RESERVED_0").await >= 24 }).await;
    for stream in ["PAY_SCREENED_0", "PAY_QUOTED_0", "PAY_RESERVED_0"] {
        assert!(stored(&system, stream).await <= 32, "{stream}");
    }
    assert_eq!(system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await, "0");
    // Longer than a re-drive's patience of 500 ms, four times over: what is carried is not driven again.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    system.start_roles(&[Role::Settle]).await;
    captured(&system, 300).await;
    assert_eq!(system.client().get("/balance/D").await.unwrap().body["balance"], "300.00");
    // Every payment was reserved and captured once; re-drives, if any, have ended with them.
    until("the intake has no more work", || async { lag(&system, "PAY_ACCEPTED", "risk").await == 0 }).await;
    let last = |stream: &'static str| {
        let system = &system;
        async move { system.jetstream().await.get_stream(stream).await.unwrap().cached_info().state.last_sequence }
    };
    let before = last("PAY_ACCEPTED").await;
    // That nothing happens shows only in time: longer than the longest patience of a re-drive, 2 s.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(last("PAY_ACCEPTED").await, before, "something is driven again without end");
    system.assert_ledger_is_clean().await;
}

async fn stored(system: &System, stream: &str) -> u64 {
    system.jetstream().await.get_stream(stream).await.unwrap().cached_info().state.messages
}

/// The broker restarts while the intake is full: every memory stream is gone, nothing more can be accepted, and yet the
/// janitor drives all of it to its end, because a single publish replaces its own subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_intake_at_a_broker_restart_is_worked_off() {
    let mut system = System::prepare(&["pipeline.accepted_messages_max=200", "janitor.purge_after_ms=1000"]).await;
    system.start_gateway().await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Wallet]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    post_many(&system, "P", 200).await;
    let client = system.client();
    let refused = client.post("/payments", &payment("MORE", "S", "D", "USD", "1")).await;
    assert_eq!((refused.status, refused.code()), (503, "overloaded"));
    until("risk has passed all on", || async { lag(&system, "PAY_ACCEPTED", "risk").await == 0 }).await;
    system.nats.kill().await;
    system.nats.restart().await;
    system.start_roles(&[Role::Reserve, Role::Settle, Role::Janitor]).await;
    captured(&system, 200).await;
    // The intake empties behind them and takes new payments.
    until("there is room again", || async { client.post("/payments", &payment("MORE", "S", "D", "USD", "1")).await.status == 202 }).await;
    captured(&system, 201).await;
    system.assert_ledger_is_clean().await;
}

/// Whoever asks while the intake is purged finds the payment: its row is older than any request.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_races_the_purge_finds_the_payment() {
    for purge_after in ["janitor.purge_after_ms=0", "janitor.purge_after_ms=60000"] {
        let system = System::start(&[purge_after, "janitor.redrive_after_ms=0"]).await;
        system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
        let client = system.client();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let posts = (0..200).map(|number| {
            let (client, asked, id) = (client.clone(), &asked, format!("P{number}"));
            async move {
                assert_eq!(client.post("/payments", &payment(&id, "S", "D", "USD", "1")).await.status, 202);
                // Status never goes back, and never away.
                let mut was_captured = false;
                for _ in 0..20 {
                    let answer = client.get(&format!("/payments/{id}")).await.unwrap();
                    asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    assert_eq!(answer.status, 200, "{id}: {}", answer.body);
                    let is_captured = answer.body["status"] == "CAPTURED";
                    assert!(is_captured || !was_captured, "{id} went back: {}", answer.body);
                    was_captured = is_captured;
                }
            }
        });
        futures::stream::iter(posts).buffer_unordered(16).collect::<Vec<()>>().await;
        captured(&system, 200).await;
        let purged = || async { stored(&system, "PAY_ACCEPTED").await == 0 };
        if purge_after.ends_with("=0") {
            until("the intake is purged", purged).await;
        } else {
            assert_eq!(stored(&system, "PAY_ACCEPTED").await, 200, "rows younger than a minute keep their messages");
        }
        assert_eq!(asked.into_inner(), 4_000);
        system.assert_ledger_is_clean().await;
    }
}
