//! One payment from its request to its end: by HTTP, through the streams, into the ledger.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::processes::ready;
use common::{System, payment, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wire::{Role, StageName};

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_captured_or_fail_with_their_reason() {
    let system = System::start(&["risk.amount_max.USD=5000"]).await;
    let client = system.client();
    system
        .open(&[
            ("S", "USD", "10000"),
            ("D", "USD", "0"),
            ("E", "EUR", "0"),
            ("J", "JPY", "0"),
            ("K", "KWD", "0"),
            ("F", "USD", "10"),
        ])
        .await;
    system.sql("UPDATE accounts SET status = 'FROZEN' WHERE id = 'F'").await;
    let mut wrong_wish = payment("wrong-wish", "S", "E", "USD", "1");
    wrong_wish["destination_currency"] = json!("JPY");
    let rows = [
        ("same-currency", payment("same-currency", "S", "D", "USD", "123.45"), "CAPTURED", Value::Null),
        ("conversion", payment("conversion", "S", "E", "USD", "100"), "CAPTURED", Value::Null),
        ("too-large", payment("too-large", "S", "D", "USD", "5000.01"), "FAILED", json!("risk_rejected")),
        (
            "no-destination",
            payment("no-destination", "S", "nobody", "USD", "1"),
            "FAILED",
            json!("account_not_found"),
        ),
        ("no-source", payment("no-source", "nobody", "D", "USD", "1"), "FAILED", json!("account_not_found")),
        ("no-rate", payment("no-rate", "S", "K", "USD", "1"), "FAILED", json!("fx_rate_unavailable")),
        ("wrong-source", payment("wrong-source", "S", "D", "EUR", "1"), "FAILED", json!("currency_mismatch")),
        ("too-small", payment("too-small", "J", "E", "JPY", "1"), "FAILED", json!("amount_too_small")),
        ("no-money", payment("no-money", "D", "S", "USD", "4999"), "FAILED", json!("insufficient_funds")),
        ("frozen", payment("frozen", "F", "D", "USD", "1"), "FAILED", json!("account_frozen")),
        ("wrong-wish", wrong_wish, "FAILED", json!("currency_mismatch")),
    ];
    for (id, body, status, reason) in &rows {
        let answer = client.post("/payments", body).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (202, Some(format!("/payments/{id}").as_str())),
            "{}",
            answer.body
        );
        assert_eq!(
            (&answer.body["status"], &answer.body["stage"], answer.header("retry-after")),
            (&json!("PENDING"), &json!("accepted"), Some("1"))
        );
        let ended = system.ended(id).await;
        assert_eq!(
            (&ended["status"], &ended["reason"], &ended["stage"]),
            (&json!(status), reason, &json!("finished")),
            "{ended}"
        );
    }
    conversions_and_balances_are_exact(&system).await;
    each_port_shows_its_own_role(&system).await;
    system.assert_ledger_is_clean().await;
}

async fn conversions_and_balances_are_exact(system: &System) {
    // 100 USD at 1/1.1172 less 25 basis points, rounded down.
    let conversion = system.ended("conversion").await;
    assert_eq!(
        (&conversion["destination_amount"], &conversion["destination_currency"]),
        (&json!("89.28"), &json!("EUR"))
    );
    assert_eq!(system.ended("too-large").await["rules"], json!(["amount_cap"]));
    let balance = system.client().get("/balance/S").await.unwrap();
    assert_eq!(
        balance.body,
        json!({"account_id": "S", "currency": "USD", "balance": "9776.55", "held": "0.00", "available": "9776.55"})
    );
}

/// Requests are counted by the role that answered them, and a stage's figures stand on its role's port alone,
/// but for what the janitor tells of its backlog.
async fn each_port_shows_its_own_role(system: &System) {
    for role in Role::ALL {
        let (_, ports) = system.config.listeners(role);
        let page = Client::new(ports[0]).get("/metrics").await.unwrap().text;
        let is_told_by_the_janitor = |line: &&str| {
            line.starts_with("stage_lag_messages{") || line.starts_with("stage_backlog_age_seconds{")
        };
        let lines: Vec<&str> = page.lines().filter(|line| !is_told_by_the_janitor(line)).collect();
        let page = lines.join("\n");
        let labels = |name: &str| -> BTreeSet<String> {
            let beginning = format!("{name}=\"");
            let values = page.split(beginning.as_str()).skip(1);
            values.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
        };
        let stages = StageName::ALL.into_iter().filter(|stage| Role::playing(*stage) == role);
        assert_eq!(labels("stage"), stages.map(|stage| stage.to_string()).collect(), "{role}: {page}");
        assert_eq!(labels("service"), BTreeSet::from([role.to_string()]), "{role}: {page}");
    }
}

/// Every currency's round trip is exact to its minor unit, whatever its exponent.
#[tokio::test(flavor = "multi_thread")]
async fn jpy_kwd_and_idr_are_exact_to_the_minor_unit() {
    let system = System::start(&["fx.spread_bps=0"]).await;
    let rates = system.jetstream().await.get_key_value("fx_rates").await.unwrap();
    rates.put("EUR.KWD", "0.3425".into()).await.unwrap();
    system
        .open(&[("EUR1", "EUR", "1000"), ("JPY1", "JPY", "0"), ("KWD1", "KWD", "0"), ("IDR1", "IDR", "0")])
        .await;
    let client = system.client();
    common::until("the new rate is known", || async {
        client.get("/rate?base=EUR&quote=KWD").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    // What arrives, and what comes back of it, each rounded down: floor(floor(A * rate) / rate).
    let rows = [
        ("JPY1", "10.01", "JPY", "1758", "10.00"),
        ("KWD1", "10.01", "KWD", "3.428", "10.00"),
        ("IDR1", "10.01", "IDR", "202954.45", "10.00"),
    ];
    for (account, amount, currency, arrives, back) in rows {
        let (out, home) = (format!("out-{currency}"), format!("home-{currency}"));
        client.post("/payments", &payment(&out, "EUR1", account, "EUR", amount)).await;
        assert_eq!(system.ended(&out).await["destination_amount"], json!(arrives), "{currency}");
        client.post("/payments", &payment(&home, account, "EUR1", currency, arrives)).await;
        assert_eq!(system.ended(&home).await["destination_amount"], json!(back), "{currency}");
    }
    system.assert_ledger_is_clean().await;
}

/// The journey of one payment can be read with the streams alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_streams_alone_tell_a_payments_journey() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "100"), ("E", "EUR", "0")]).await;
    system.client().post("/payments", &payment("P", "S", "E", "USD", "10")).await;
    system.ended("P").await;
    let jetstream = system.jetstream().await;
    let mut journey = Vec::new();
    for (stream, subject) in [
        ("PAY_ACCEPTED", "pay.accepted.0.P"),
        ("PAY_SCREENED_0", "pay.screened.0.P"),
        ("PAY_QUOTED_0", "pay.quoted.0.P"),
        ("PAY_RESERVED_0", "pay.reserved.0.P"),
        ("PAY_FINISHED", "pay.finished.0.P"),
    ] {
        let stream = jetstream.get_stream(stream).await.unwrap();
        let read = || async { stream.get_last_raw_message_by_subject(subject).await.is_ok() };
        common::until("the message is stored", read).await;
        let message = stream.get_last_raw_message_by_subject(subject).await.unwrap();
        journey.push(serde_json::from_slice::<Value>(&message.payload).unwrap());
    }
    let facts = ["payment", "screening", "quote", "reserved_at"];
    for (place, message) in journey[..4].iter().enumerate() {
        assert_eq!(message["v"], 1);
        for (known_from, fact) in facts.iter().enumerate() {
            assert_eq!(message.get(fact).is_some(), known_from <= place, "{fact} in message {place}");
        }
        assert_eq!(message.get("accepted_seq").is_some(), place > 0);
    }
    assert_eq!((&journey[4]["status"], &journey[4]["id"]), (&json!("CAPTURED"), &json!("P")));
}

/// Reserve comes late. A conversion was quoted too long ago then, and is refused; one that was held before is
/// kept to its quote, and within one currency nothing grows old.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_waited_too_long_for_its_hold_is_refused() {
    let mut system = System::prepare(&["fx.quote_age_seconds_max=1"]).await;
    system.start_roles(&[Role::Risk, Role::Fx, Role::Wallet, Role::Janitor]).await;
    system.start_gateway().await;
    system.open(&[("S", "USD", "100"), ("D", "USD", "0"), ("E", "EUR", "0")]).await;
    let client = system.client();
    let post_quoted = async |id: &'static str, destination: &'static str| {
        assert_eq!(client.post("/payments", &payment(id, "S", destination, "USD", "1")).await.status, 202);
        until("it is quoted", || async {
            client.get(&format!("/payments/{id}")).await.unwrap().body["stage"] == "quoted"
        })
        .await;
    };
    let reserve = system.launch_roles(&[Role::Reserve]);
    ready(&system, Role::Reserve).await;
    assert_eq!(client.post("/payments", &payment("held", "S", "E", "USD", "1")).await.status, 202);
    until("it is held", || async {
        system.sql("SELECT status FROM payments WHERE id = 'held'").await == "RESERVED"
    })
    .await;
    reserve.stop().await;
    post_quoted("converted", "E").await;
    post_quoted("plain", "D").await;
    // A quote grows old with time alone.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    system.start_roles(&[Role::Reserve, Role::Settle]).await;
    let rows = [
        ("held", "CAPTURED", Value::Null),
        ("converted", "FAILED", json!("fx_rate_stale")),
        ("plain", "CAPTURED", Value::Null),
    ];
    for (id, status, reason) in rows {
        let ended = system.ended(id).await;
        assert_eq!((&ended["status"], &ended["reason"]), (&json!(status), &reason), "{ended}");
    }
    system.assert_ledger_is_clean().await;
}
