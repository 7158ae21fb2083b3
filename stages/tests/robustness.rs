//! What must not stop the pipeline: junk, full streams, a stage that stands still, the purge. Every payment
//! ends, or is a dead letter with its reason, and nothing is driven again without end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use common::{PATIENCE, System, payment, until};
use futures::StreamExt;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wire::Role;

/// Posts so many payments of 1.00 from S to D, and answers with their ids.
async fn post_many(system: &System, prefix: &str, count: usize) -> Vec<String> {
    let client = system.client();
    let ids: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    let posts = ids.iter().map(|id| {
        let (client, body) = (client.clone(), payment(id, "S", "D", "USD", "1"));
        async move {
            until("the payment is accepted", || async { client.post("/payments", &body).await.status == 202 })
                .await
        }
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
        until("the message is buried", || async {
            dead.get_last_raw_message_by_subject(&subject).await.is_ok()
        })
        .await;
        // It is open to the border too: pending, and waiting for someone.
        let shown = system.client().get(&format!("/payments/{token}")).await.unwrap();
        assert_eq!(
            (shown.status, &shown.body["status"], &shown.body["stage"]),
            (200, &json!("PENDING"), &json!("dead"))
        );
    }
    until("nothing waits", || async { lag(&system, "PAY_ACCEPTED", "risk").await == 0 }).await;
    system.assert_ledger_is_clean().await;
}

/// Whatever a message holds, its burial succeeds: characters that no text column takes, a subject longer than
/// a protocol line may be, a payload that leaves no room for a header.
#[tokio::test(flavor = "multi_thread")]
async fn the_oddest_messages_are_buried() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let jetstream = system.jetstream().await;
    let asked = payment("NUL", "S", "D", "USD", "1");
    let mut nul = json!({ "v": 1, "payment": asked, "fingerprint": "0".repeat(64), "accepted_seq": 1, "accepted_at": "2026-01-01T00:00:00Z" });
    nul["payment"]["tenant"] = json!("default");
    nul["payment"]["amount"] = json!({ "currency": "USD", "value": "1.00" });
    nul["rejection"] = json!({ "stage": "a\u{0}b", "reason": "risk_rejected", "at": "2026-01-01T00:00:00Z" });
    let (long, longer) = ("x".repeat(3_000), "y".repeat(3_500));
    let large = format!("{{\"v\":1,\"junk\":\"{}\"}}", "x".repeat((256 << 10) - 200));
    // Where it is published, what, and by which id and with which reason the letter is found.
    let rows = [
        (
            "pay.rejected.0.NUL".to_owned(),
            nul.to_string(),
            "NUL",
            "undecodable message: unknown variant at line%",
        ),
        (format!("pay.accepted.0.{long}"), "junk".to_owned(), "invalid:xxxx%", "undecodable message%"),
        (
            format!("pay.quoted.0.{longer}"),
            "{\"v\":2}".to_owned(),
            "invalid:yyyy%",
            "a message of a newer version",
        ),
        ("pay.quoted.0.LARGE".to_owned(), large, "LARGE", "undecodable message%"),
    ];
    for (subject, payload, ..) in &rows {
        jetstream.publish(subject.clone(), payload.clone().into()).await.unwrap().await.unwrap();
    }
    for (subject, _, id, reason) in &rows {
        let query =
            format!("SELECT count(*) FROM dead_letters WHERE id LIKE '{id}' AND reason LIKE '{reason}'");
        until(&format!("{subject:.40} is buried"), || async { system.sql(&query).await == "1" }).await;
    }
    until("each is in the stream of the dead", || async { stored(&system, "PAY_DEAD").await == 4 }).await;
    post_many(&system, "P", 20).await;
    captured(&system, 20).await;
    // The janitor's rounds go on: what is recorded or dead leaves the intake.
    system.sql("UPDATE payments SET recorded_at = recorded_at - interval '5 minutes'").await;
    system.sql("UPDATE dead_letters SET at = at - interval '5 minutes'").await;
    until("the intake is purged", || async { stored(&system, "PAY_ACCEPTED").await == 0 }).await;
    system.assert_ledger_is_clean().await;
}

/// A message of a newer release waits for that release; it is not buried, and nobody waits with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_waits_and_is_not_buried() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let jetstream = system.jetstream().await;
    jetstream.publish("pay.accepted.0.NEWER", "{\"v\":2}".into()).await.unwrap().await.unwrap();
    let consumer =
        || async { jetstream.get_stream("PAY_ACCEPTED").await.unwrap().consumer_info("risk").await.unwrap() };
    until("it comes again", || async { consumer().await.num_redelivered > 0 }).await;
    post_many(&system, "P", 50).await;
    captured(&system, 50).await;
    assert_eq!(consumer().await.num_ack_pending, 1, "it still waits");
    assert_eq!(system.sql("SELECT count(*) FROM dead_letters").await, "0");
    let shown = system.client().get("/payments/NEWER").await.unwrap();
    assert_eq!((shown.status, &shown.body["status"]), (200, &json!("PENDING")));
}

/// A ledger with 60 payments held, and no settle yet.
async fn sixty_held() -> System {
    let mut system = System::prepare(&[]).await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Reserve, Role::Wallet, Role::Janitor]).await;
    system.start_gateway().await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    post_many(&system, "P", 60).await;
    until("all are held", || async {
        system.sql("SELECT count(*) FROM payments WHERE status = 'RESERVED'").await == "60"
    })
    .await;
    system
}

/// A migration that this release cannot read is nothing that payments have brought: settle asks again and
/// again, nothing is buried, and once the column is as it was all of them go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_be_read_buries_nothing_and_is_waited_out() {
    const ROLLED_BACK: &str = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let system = sixty_held().await;
    system.sql("ALTER TABLE payments ALTER COLUMN risk_score TYPE integer").await;
    let rolled_back = || async { system.sql(ROLLED_BACK).await.parse::<u64>().unwrap() };
    let before = rolled_back().await;
    let settle = system.launch_roles(&[Role::Settle]);
    until("settle has met it many times", || async { rolled_back().await >= before + 30 }).await;
    assert_eq!(system.sql("SELECT count(*) FROM dead_letters").await, "0");
    assert_eq!(system.sql("SELECT count(*) FROM payments WHERE status <> 'RESERVED'").await, "0");
    system.sql("ALTER TABLE payments ALTER COLUMN risk_score TYPE smallint").await;
    captured(&system, 60).await;
    assert_eq!(system.sql("SELECT count(*) FROM dead_letters").await, "0");
    system.assert_ledger_is_clean().await;
    settle.stop().await;
}

/// Rows that this release does not understand, far more than single payments: some are buried, then burials
/// are halted and payments wait, and once the rows are as they were they go on.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_understood_bury_few_and_stop_none_for_good() {
    let mut system = sixty_held().await;
    system.sql("UPDATE payments SET metadata = 'no JSON'").await;
    system.start_roles(&[Role::Settle]).await;
    let metrics = common::client::Client::new(system.config.admin.settle);
    until("burials are halted", || async {
        let page = metrics.get("/metrics").await.unwrap().body;
        page.as_str().unwrap().contains("stage_halted{stage=\"settle\"} 1")
    })
    .await;
    let buried: usize = system.sql("SELECT count(*) FROM dead_letters").await.parse().unwrap();
    assert_eq!(buried, 20, "so many are those of single payments");
    system.sql("UPDATE payments SET metadata = NULL").await;
    captured(&system, 60 - buried).await;
    // Burials go on, too, once the fault is over; each dead letter waits for someone.
    assert_eq!(system.sql("SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL").await, "20");
    system.assert_ledger_is_clean().await;
}

/// Large messages fill a derived stream long before its number of messages is reached: what its stage is done
/// with makes room, also while that stage is away.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_that_are_done_with_make_room() {
    let small = [
        "pipeline.batch_max=8",
        "pipeline.stream_bytes_max=1048576",
        "pipeline.keep_messages=1000",
        "pipeline.trim_every_ms=3600000",
    ];
    let system = System::start(&small).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let client = system.client();
    // 300 of 12 KiB are more than three times what a stream holds.
    let posts = (0..300).map(|number| {
        let mut body = payment(&format!("LARGE{number}"), "S", "D", "USD", "1");
        body["description"] = json!("x".repeat(12 << 10));
        let client = client.clone();
        async move {
            until("the payment is accepted", || async { client.post("/payments", &body).await.status == 202 })
                .await
        }
    });
    futures::stream::iter(posts).buffer_unordered(16).collect::<Vec<()>>().await;
    captured(&system, 300).await;
    for stream in ["PAY_SCREENED_0", "PAY_QUOTED_0", "PAY_RESERVED_0"] {
        assert!(stored(&system, stream).await < 100, "{stream}");
    }
    system.assert_ledger_is_clean().await;
}

async fn lag(system: &System, stream: &str, consumer: &str) -> u64 {
    let stream = system.jetstream().await.get_stream(stream).await.unwrap();
    let info = stream.consumer_info(consumer).await.unwrap();
    info.num_pending + info.num_ack_pending as u64
}

/// Derived streams far smaller than the load, and a settle that comes late: the backlog waits on disk in the
/// intake, and once settle is there everything ends. Nothing is driven again meanwhile beyond its patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_derived_stream_is_waited_for_and_a_stage_may_stand_still() {
    let small = [
        "pipeline.batch_max=8",
        "pipeline.stream_messages_max=32",
        "pipeline.keep_messages=4",
        "pipeline.ack_pending_max=16",
    ];
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
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(accepted_last(&system).await, 300, "something that is carried was driven again");
    system.start_roles(&[Role::Settle]).await;
    captured(&system, 300).await;
    assert_eq!(system.client().get("/balance/D").await.unwrap().body["balance"], "300.00");
    // Every payment was reserved and captured once; re-drives, if any, have ended with them.
    until("the intake has no more work", || async { lag(&system, "PAY_ACCEPTED", "risk").await == 0 }).await;
    let before = accepted_last(&system).await;
    // That nothing happens shows only in time: longer than the longest patience of a re-drive, 2 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(accepted_last(&system).await, before, "something is driven again without end");
    system.assert_ledger_is_clean().await;
}

/// The last sequence of the intake: every payment and every re-drive has one.
async fn accepted_last(system: &System) -> u64 {
    system.jetstream().await.get_stream("PAY_ACCEPTED").await.unwrap().cached_info().state.last_sequence
}

async fn stored(system: &System, stream: &str) -> u64 {
    system.jetstream().await.get_stream(stream).await.unwrap().cached_info().state.messages
}

/// The broker restarts while the intake is full: every memory stream is gone, nothing more can be accepted,
/// and yet the janitor drives all of it to its end, because a single publish replaces its own subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_intake_at_a_broker_restart_is_worked_off() {
    let mut system =
        System::prepare(&["pipeline.accepted_messages_max=200", "janitor.purge_after_ms=1000"]).await;
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
    until("there is room again", || async {
        client.post("/payments", &payment("MORE", "S", "D", "USD", "1")).await.status == 202
    })
    .await;
    captured(&system, 201).await;
    system.assert_ledger_is_clean().await;
}

/// Whoever asks while the intake is purged finds the payment. The rule is that the purge leaves a row alone for
/// longer than any request lives: here a second, and a request that took longer shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_races_the_purge_finds_the_payment() {
    const PURGE_AFTER: Duration = Duration::from_secs(1);
    let purge_after = format!("janitor.purge_after_ms={}", PURGE_AFTER.as_millis());
    let system = System::start(&[&purge_after, "janitor.redrive_after_ms=0"]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let intake = system.jetstream().await.get_stream("PAY_ACCEPTED").await.unwrap();
    let (client, asked_late) = (system.client(), AtomicUsize::new(0));
    let posts = (0..200).map(|number| {
        let (client, intake, asked_late, id) = (client.clone(), &intake, &asked_late, format!("P{number}"));
        async move {
            assert_eq!(client.post("/payments", &payment(&id, "S", "D", "USD", "1")).await.status, 202);
            // Status never goes back, and never away: until the intake has forgotten the payment, and after.
            let (mut was_captured, mut was_purged, deadline) = (false, false, Instant::now() + PATIENCE);
            while !was_purged {
                assert!(Instant::now() < deadline, "{id} is never purged");
                let subject = format!("pay.accepted.0.{id}");
                was_purged = match intake.get_last_raw_message_by_subject(&subject).await {
                    Ok(_) => false,
                    Err(error) => {
                        assert_eq!(error.kind(), LastRawMessageErrorKind::NoMessageFound, "{error}");
                        true
                    }
                };
                let began = Instant::now();
                let answer = client.get(&format!("/payments/{id}")).await.unwrap();
                if began.elapsed() < PURGE_AFTER {
                    asked_late.fetch_add(usize::from(was_purged), Ordering::Relaxed);
                    assert_eq!(answer.status, 200, "{id}: {}", answer.body);
                    let is_captured = answer.body["status"] == "CAPTURED";
                    assert!(is_captured || !was_captured, "{id} went back: {}", answer.body);
                    was_captured = is_captured;
                }
            }
        }
    });
    futures::stream::iter(posts).buffer_unordered(64).collect::<Vec<()>>().await;
    assert!(asked_late.into_inner() > 0, "nobody was answered in time after a purge");
    system.assert_ledger_is_clean().await;
}

/// The intake forgets those payments whose rows are old enough by the database's clock, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_too_young_keep_their_messages() {
    // With less than five seconds the intake is purged in every round.
    let system = System::start(&["janitor.purge_after_ms=4000", "janitor.redrive_after_ms=0"]).await;
    system
        .sql(
            "CREATE FUNCTION age() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                NEW.recorded_at := NEW.recorded_at
                    + CASE WHEN NEW.accepted_seq <= 100 THEN interval '-5 seconds' ELSE interval '1 hour' END;
                RETURN NEW; END $$;
             CREATE TRIGGER age BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION age()",
        )
        .await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let ids = post_many(&system, "P", 200).await;
    captured(&system, 200).await;
    until("what is old enough is purged", || async { stored(&system, "PAY_ACCEPTED").await == 100 }).await;
    // Meanwhile rounds go by, one of which would have taken the rest.
    for id in ids {
        let answer = system.client().get(&format!("/payments/{id}")).await.unwrap();
        assert_eq!(answer.body["status"], "CAPTURED", "{}", answer.body);
    }
    let intake = system.jetstream().await.get_stream("PAY_ACCEPTED").await.unwrap();
    let kept = &intake.cached_info().state;
    assert_eq!((kept.first_sequence, kept.messages), (101, 100));
}
