//! Nothing to do costs no message that is stored, and nothing on any disk.

use crate::common::until;
use crate::scale::{Scale, check};
use crate::submitting::{open_accounts, payments, submit};
use wire::{Role, StageName};

/// Whatever happens by the clock happens often.
const BUSY: [&str; 4] = [
    "janitor.every_ms=10",
    "pipeline.trim_every_ms=10",
    "pipeline.dead_refresh_ms=10",
    "telemetry.observe_every_ms=10",
];

/// Questions about streams that are waited for: some fifty rounds of the janitor, and of all else that goes
/// by the clock.
const QUESTIONS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_writes_nothing() {
    let scale = Scale::set_up(&BUSY).await;
    let parts = scale.start(&Role::ALL).await;
    open_accounts(&scale.system).await;
    submit(&scale.system, &payments("P", 100), 10).await;
    scale.done(StageName::Settle, 100).await;
    // Whatever is owed from before is done after a few rounds.
    rounds(&scale).await;
    let (before, log) = (scale.reading().await, written(&scale).await);
    rounds(&scale).await;
    let (after, log_after) = (scale.reading().await, written(&scale).await);
    let cost = after.since(&before);
    println!("idle for some fifty rounds:\n{}", cost.shown());
    check(
        "idle",
        &[
            ("messages published", cost.messages("published"), 0..=0),
            ("deliveries", cost.messages("delivered"), 0..=0),
            ("bytes of Postgres' log", log_after - log, 0..=0),
        ],
    );
    scale.stop(parts).await;
}

async fn rounds(scale: &Scale) {
    let before = scale.reading().await;
    until("some rounds have passed", || async {
        let cost = scale.reading().await.since(&before);
        cost.messages("asked STREAM.INFO") > QUESTIONS
    })
    .await;
}

/// Bytes that Postgres has ever put into its log, whether they are on disk or not.
async fn written(scale: &Scale) -> u64 {
    scale.system.sql("SELECT pg_current_wal_insert_lsn() - '0/0'").await.parse().unwrap()
}
