//! What the janitor's port tells of others: of a stage that is stopped, of the servers, of a ledger that
//! breaks its rules.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use wire::Role;

const SETTINGS: [&str; 2] = ["telemetry.observe_every_ms=50", "telemetry.audit_after_ms=300"];

/// Series that are there while nothing happens.
const ALWAYS: [&str; 22] = [
    "payments_redriven_total",
    "payments_emitted_again_total",
    r#"nats_stream_total_messages{stream_name="PAY_DEAD"}"#,
    r#"nats_stream_total_bytes{stream_name="PAY_FINISHED"}"#,
    r#"nats_stream_limit_bytes{stream_name="PAY_ACCEPTED"}"#,
    r#"nats_consumer_num_pending{consumer_name="fx",stream_name="PAY_SCREENED_0"}"#,
    r#"nats_consumer_num_ack_pending{consumer_name="settle_rejected",stream_name="PAY_REJECTED_0"}"#,
    r#"nats_consumer_num_redelivered{consumer_name="risk",stream_name="PAY_ACCEPTED"}"#,
    r#"stage_lag_messages{shard="0",stage="settle"}"#,
    r#"stage_backlog_age_seconds{shard="0",stage="settle_rejected"}"#,
    "postgres_database_bytes",
    r#"postgres_table_rows{state="dead",table="payments"}"#,
    r#"postgres_transactions_total{outcome="rolled_back"}"#,
    r#"postgres_blocks_read_total{from="memory"}"#,
    r#"postgres_sessions{state="active"}"#,
    r#"postgres_checkpoints_total{cause="request"}"#,
    "postgres_oldest_transaction_seconds",
    "postgres_wal_bytes_total",
    "ledger_dead_letters_open",
    "ledger_invariant_violations",
    "ledger_audit_lag_seconds",
    "ledger_entries_audited_total",
];

/// The value of a series on the janitor's port.
async fn value(system: &System, series: &str) -> Option<f64> {
    let page = Client::new(system.config.admin.janitor).get("/metrics").await?;
    page.text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn await_value(system: &System, series: &str, is_awaited: impl Fn(f64) -> bool) {
    until(series, || async { value(system, series).await.is_some_and(&is_awaited) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_stage_is_seen_by_its_backlog() {
    const LAG: &str = r#"stage_lag_messages{shard="0",stage="fx"}"#;
    const AGE: &str = r#"stage_backlog_age_seconds{shard="0",stage="fx"}"#;
    let mut system = System::prepare(&SETTINGS).await;
    system.start_roles(&[Role::Risk, Role::Reserve, Role::Settle, Role::Wallet, Role::Janitor]).await;
    system.start_gateway().await;
    let fx = system.launch_roles(&[Role::Fx]);
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let client = system.client();
    assert_eq!(client.post("/payments", &payment("P0", "S", "D", "USD", "1")).await.status, 202);
    assert_eq!(system.ended("P0").await["status"], "CAPTURED");
    for series in ALWAYS {
        await_value(&system, series, |_| true).await;
    }
    await_value(&system, LAG, |lag| lag == 0.0).await;
    await_value(&system, AGE, |age| age == 0.0).await;
    fx.stop().await;
    for id in ["P1", "P2", "P3"] {
        assert_eq!(client.post("/payments", &payment(id, "S", "D", "USD", "1")).await.status, 202);
    }
    await_value(&system, LAG, |lag| lag == 3.0).await;
    await_value(&system, AGE, |age| age > 0.5).await;
    system.start_roles(&[Role::Fx]).await;
    for id in ["P1", "P2", "P3"] {
        assert_eq!(system.ended(id).await["status"], "CAPTURED");
    }
    await_value(&system, LAG, |lag| lag == 0.0).await;
    await_value(&system, AGE, |age| age == 0.0).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rule_is_told_until_it_is_resolved() {
    const VIOLATIONS: &str = "ledger_invariant_violations";
    const IMBALANCE: &str = r#"ledger_imbalance_minor{currency="USD"}"#;
    let mut system = System::start(&SETTINGS).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    for (id, amount) in [("P1", "1"), ("P2", "2.50"), ("LARGE", "10000")] {
        let answer = system.client().post("/payments", &payment(id, "S", "D", "USD", amount)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        system.ended(id).await;
    }
    for (series, expected) in [
        ("ledger_entries_audited_total", 6.0),
        (r#"ledger_payments_total{currency="USD",outcome="captured"}"#, 2.0),
        (r#"ledger_payments_total{currency="USD",outcome="failed"}"#, 1.0),
        (r#"ledger_volume_minor_total{currency="USD",outcome="captured"}"#, 350.0),
        (r#"ledger_volume_minor_total{currency="USD",outcome="failed"}"#, 1_000_000.0),
        (VIOLATIONS, 0.0),
        (IMBALANCE, 0.0),
    ] {
        await_value(&system, series, |value| value == expected).await;
    }
    system
        .sql("INSERT INTO entries VALUES ('default', 'D', 3, 'deposit', 'FORGED', 'USD', 5, 355, clock_timestamp())")
        .await;
    await_value(&system, VIOLATIONS, |count| count == 1.0).await;
    await_value(&system, IMBALANCE, |minor| minor == 5.0).await;
    assert_eq!(
        system.sql("SELECT rule, subject FROM audit_findings").await,
        "operation_sums_to_zero|deposit FORGED"
    );
    system.sql("UPDATE audit_findings SET resolved_at = now()").await;
    await_value(&system, VIOLATIONS, |count| count == 0.0).await;
    await_value(&system, IMBALANCE, |minor| minor == 0.0).await;
    system.stop().await;
}
