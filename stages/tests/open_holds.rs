//! A hold whose message vanished is emitted again, whatever became of the janitor meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use std::time::Duration;
use wire::Role;

const RESERVED: &str = "PAY_RESERVED_0";

/// Longer than between two looks at a buried hold: twice the first patience, and a few rounds.
const LOOKS: Duration = Duration::from_millis(1_500);

/// A system in which these payments are held, and no message leads to their capture.
async fn lost_holds(ids: &[&str]) -> System {
    let mut system = System::prepare(&[]).await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Reserve, Role::Wallet]).await;
    system.start_gateway().await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    for id in ids {
        assert_eq!(system.client().post("/payments", &payment(id, "S", "D", "USD", "1")).await.status, 202);
    }
    let count = ids.len().to_string();
    let jetstream = system.jetstream().await;
    until("the payments are held and told", || async {
        let told = jetstream.get_stream(RESERVED).await.unwrap().cached_info().state.messages;
        system.sql("SELECT count(*) FROM payments WHERE status = 'RESERVED'").await == count
            && told.to_string() == count
    })
    .await;
    jetstream.get_stream(RESERVED).await.unwrap().purge().await.unwrap();
    system
}

/// The age of the oldest late hold, as the janitor's own port tells it.
async fn oldest_seconds(system: &System) -> f64 {
    let page = Client::new(system.config.admin.janitor).get("/metrics").await;
    let text = page.map(|page| page.text).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("ledger_oldest_open_hold_seconds "));
    line.map_or(-1.0, |seconds| seconds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_without_a_message_is_emitted_again() {
    let mut system = lost_holds(&["P"]).await;
    system.start_roles(&[Role::Janitor]).await;
    let stream = system.jetstream().await.get_stream(RESERVED).await.unwrap();
    until("the hold is emitted again", || async {
        stream.get_last_raw_message_by_subject("pay.reserved.0.P").await.is_ok()
    })
    .await;
    until("the age of the hold is told", || async { oldest_seconds(&system).await > 0.5 }).await;
    system.start_roles(&[Role::Settle]).await;
    assert_eq!(system.ended("P").await["status"], "CAPTURED");
    until("no hold is late any more", || async { oldest_seconds(&system).await == 0.0 }).await;
    system.assert_ledger_is_clean().await;
}

/// The oldest hold is buried: it is left alone and holds up nothing. Its letter is resolved while no janitor
/// runs, after the watermark has long passed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_buried_hold_is_emitted_again_once_its_letter_is_resolved() {
    let mut system = lost_holds(&["BURIED", "LOST"]).await;
    system.sql("UPDATE payments SET recorded_at = recorded_at - interval '1 hour'").await;
    system.sql("INSERT INTO dead_letters (tenant, id, stage, stream, seq, reason, payload) VALUES ('default', 'BURIED', 'settle', 'x', 1, 'why', '')").await;
    system.start_roles(&[Role::Settle]).await;
    let janitor = system.launch_roles(&[Role::Janitor]);
    // Both are due in the same round.
    assert_eq!(system.ended("LOST").await["status"], "CAPTURED");
    until("a buried hold is not late", || async { oldest_seconds(&system).await == 0.0 }).await;
    until("the ended hold is forgotten", || async {
        system.sql("SELECT string_agg(id, ' ') FROM open_holds").await == "BURIED"
    })
    .await;
    janitor.stop().await;
    assert_eq!(system.client().get("/payments/BURIED").await.unwrap().body["stage"], "dead");
    let jetstream = system.jetstream().await;
    let emitted = jetstream
        .get_stream(RESERVED)
        .await
        .unwrap()
        .get_last_raw_message_by_subject("pay.reserved.0.BURIED")
        .await;
    assert!(emitted.is_err(), "{emitted:?}");
    let passed =
        "SELECT at > (SELECT max(recorded_at) FROM payments) FROM watermarks WHERE name = 'open_holds'";
    assert_eq!(system.sql(passed).await, "t");
    system.sql("UPDATE dead_letters SET resolved_at = now()").await;
    system.start_roles(&[Role::Janitor]).await;
    assert_eq!(system.ended("BURIED").await["status"], "CAPTURED");
    until("nothing is left to remember", || async {
        system.sql("SELECT count(*) FROM open_holds").await == "0"
    })
    .await;
    system.assert_ledger_is_clean().await;
}

/// The janitor runs all the while. The payment is buried twice, and goes on only once neither letter is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_goes_on_when_the_last_of_its_letters_is_resolved() {
    let mut system = lost_holds(&["BURIED"]).await;
    let bury = async |seq: u32| {
        let letter = format!(
            "INSERT INTO dead_letters (tenant, id, stage, stream, seq, reason, payload) VALUES ('default', 'BURIED', 'settle', 'x', {seq}, 'why', '')"
        );
        system.sql(&letter).await
    };
    bury(1).await;
    system.sql("UPDATE payments SET recorded_at = recorded_at - interval '1 hour'").await;
    let janitor = system.launch_roles(&[Role::Janitor]);
    until("the janitor remembers the hold", || async {
        system.sql("SELECT count(*) FROM open_holds").await == "1" && oldest_seconds(&system).await == 0.0
    })
    .await;
    bury(2).await;
    system.sql("UPDATE dead_letters SET resolved_at = now() WHERE seq = 1").await;
    // No event tells that the hold was looked at and left alone.
    tokio::time::sleep(LOOKS).await;
    let stream = system.jetstream().await.get_stream(RESERVED).await.unwrap();
    let emitted = stream.get_last_raw_message_by_subject("pay.reserved.0.BURIED").await;
    assert!(emitted.is_err(), "one letter is still open: {emitted:?}");
    assert_eq!(system.client().get("/payments/BURIED").await.unwrap().body["stage"], "dead");
    system.sql("UPDATE dead_letters SET resolved_at = now() WHERE seq = 2").await;
    system.start_roles(&[Role::Settle]).await;
    assert_eq!(system.ended("BURIED").await["status"], "CAPTURED");
    janitor.stop().await;
    system.assert_ledger_is_clean().await;
}
