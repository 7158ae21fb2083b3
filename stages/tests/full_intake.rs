//! An intake that is full by bytes while the broker restarts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::{System, payment, until};
use wire::{Role, Stream};

/// More than fit into the intake: each takes more than a hundred bytes.
const PAYMENTS_MAX: u32 = 2_000;

/// Every payment in it is lost with the memory streams, nothing more can be accepted, and yet the janitor
/// drives all of it to its end: no copy is larger than the one that it replaces.
#[tokio::test(flavor = "multi_thread")]
async fn an_intake_full_by_bytes_at_a_broker_restart_is_worked_off() {
    let mut system = System::prepare(&[
        "pipeline.batch_max=8",
        "http.body_bytes_max=1024",
        "pipeline.accepted_bytes_max=200000",
        "janitor.purge_after_ms=1000",
    ])
    .await;
    system.start_gateway().await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Wallet]).await;
    system.open(&[("S", "USD", "100000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let mut count = 0;
    let post = async |number: u32| {
        let body = payment(&format!("P{number:05}"), "S", "D", "USD", "1");
        client.post("/payments", &body).await
    };
    let mut refused = None;
    while refused.is_none() && count < PAYMENTS_MAX {
        let answer = post(count).await;
        match answer.status {
            202 => count += 1,
            _ => refused = Some(answer),
        }
    }
    let refused = refused.expect("the intake is full by then");
    assert_eq!((refused.status, refused.code()), (503, "overloaded"));
    until("risk has passed all on", || async {
        let intake = system.jetstream().await.get_stream(Stream::Accepted.name()).await.unwrap();
        let risk = intake.consumer_info(Role::Risk.as_str()).await.unwrap();
        risk.num_pending == 0 && risk.num_ack_pending == 0
    })
    .await;
    system.nats.kill().await;
    system.nats.restart().await;
    system.start_roles(&[Role::Reserve, Role::Settle, Role::Janitor]).await;
    let captured = async |count: u32| {
        let count = count.to_string();
        until(&format!("{count} payments are captured"), || async {
            system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == count
        })
        .await;
    };
    captured(count).await;
    until("there is room again", || async { post(count).await.status == 202 }).await;
    captured(count + 1).await;
    system.assert_ledger_is_clean().await;
}
