//! The honest 202: one effect per id, over gateways, purges and restarts; and a distinct refusal for each
//! wrong form.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use futures::future::join_all;
use serde_json::json;

/// Posted a hundred times at once to two gateways, a payment moves money once; other content under its id is
/// refused, also when only the ledger remembers it, and by a gateway that has never seen it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_with_one_id_move_money_once() {
    let mut system = System::start(&["janitor.purge_after_ms=100", "janitor.redrive_after_ms=100"]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    // Two gateways, each of its own process' kind: they share nothing but the servers.
    let second_port = devstack::testing::TestPort::take();
    let second = system.launch_gateway(vec![second_port.number()]);
    let clients = [system.client(), Client::new(second_port.number())];
    until("the second gateway is ready", || async {
        clients[1].get("/readyz").await.is_some_and(|answer| answer.status == 200)
    })
    .await;

    let body = payment("ONCE", "S", "D", "USD", "10.00");
    let answers = join_all((0..100).map(|number| clients[number % 2].post("/payments", &body))).await;
    let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert!(
        answers.iter().all(|answer| answer.status == 202),
        "{:?}",
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
    );
    assert_eq!(fresh, 1, "one answer is the first");
    assert_eq!(system.ended("ONCE").await["status"], "CAPTURED");

    // The same amount written otherwise is the same request; anything else is not.
    let rows = [
        (payment("ONCE", "S", "D", "USD", "10"), 202, ""),
        (payment("ONCE", "S", "D", "USD", "10.01"), 422, "idempotency_mismatch"),
        (payment("ONCE", "D", "S", "USD", "10.00"), 422, "idempotency_mismatch"),
    ];
    let check = async |when: &str, client: &Client| {
        for (body, status, code) in &rows {
            let answer = client.post("/payments", body).await;
            assert_eq!((answer.status, answer.code()), (*status, *code), "{when}: {body}");
            if *status == 202 {
                assert_eq!(
                    (answer.header("idempotency-replayed"), &answer.body["status"]),
                    (Some("true"), &json!("CAPTURED")),
                    "{when}"
                );
            }
        }
    };
    check("right after", &clients[1]).await;
    let jetstream = system.jetstream().await;
    until("the intake is purged", || async {
        jetstream.get_stream("PAY_ACCEPTED").await.unwrap().cached_info().state.messages == 0
    })
    .await;
    check("after the purge", &clients[0]).await;
    second.stop().await;
    system.stop().await;
    system.start_roles(wire::Role::STAGES).await;
    system.start_gateway().await;
    check("after a restart", &system.client()).await;
    assert_eq!(system.client().get("/balance/D").await.unwrap().body["balance"], "10.00");
    system.assert_ledger_is_clean().await;
}

/// A GET right after the 202, on the other gateway, finds the payment; no stage need be running.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_payment_is_found_at_once_by_any_gateway() {
    let mut system = System::prepare(&[]).await;
    system.start_gateway().await;
    let second_port = devstack::testing::TestPort::take();
    let second = system.launch_gateway(vec![second_port.number()]);
    let (first, other) = (system.client(), Client::new(second_port.number()));
    until("the second gateway is ready", || async {
        other.get("/readyz").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    for number in 0..50 {
        let id = format!("P{number}");
        assert_eq!(first.post("/payments", &payment(&id, "S", "D", "USD", "1")).await.status, 202);
        let found = other.get(&format!("/payments/{id}")).await.unwrap();
        assert_eq!(
            (found.status, &found.body["status"], &found.body["stage"]),
            (200, &json!("PENDING"), &json!("accepted")),
            "{id}"
        );
        assert_eq!(found.body["timeline"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!(other.get("/payments/absent").await.unwrap().status, 404);
    second.stop().await;
}

/// What its form alone shows to be wrong is refused at the border, and nothing is stored.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_forms_are_refused_at_the_border_and_nothing_is_stored() {
    let mut system = System::prepare(&[]).await;
    system.start_gateway().await;
    let client = system.client();
    let with = |field: &str, value: serde_json::Value| {
        let mut body = payment("P", "S", "D", "USD", "1");
        body[field] = value;
        body.to_string()
    };
    let json_type: &[(&str, &str)] = &[("content-type", "application/json")];
    let long = "x".repeat(20_000);
    let rows: Vec<(&str, &str, &[(&str, &str)], String, u16, &str)> = vec![
        ("POST", "/payments", json_type, with("amount", json!(10.001)), 422, "amount_precision"),
        ("POST", "/payments", json_type, with("amount", json!("-1")), 422, "amount_not_positive"),
        ("POST", "/payments", json_type, with("amount", json!("0")), 422, "amount_not_positive"),
        (
            "POST",
            "/payments",
            json_type,
            with("amount", json!("99999999999999999999")),
            422,
            "amount_too_large",
        ),
        ("POST", "/payments", json_type, with("currency", json!("XXX")), 422, "unknown_currency"),
        ("POST", "/payments", json_type, with("destination_account", json!("S")), 422, "same_account"),
        ("POST", "/payments", json_type, with("source_account", json!("a b")), 422, "invalid_account"),
        ("POST", "/payments", json_type, with("id", json!("a.b")), 422, "invalid_id"),
        ("POST", "/payments", json_type, with("state", json!("settled")), 400, "unknown_field"),
        ("POST", "/payments", json_type, with("currency", json!(null)), 400, "missing_field"),
        ("POST", "/payments", json_type, "{".to_owned(), 400, "malformed_json"),
        ("POST", "/payments", json_type, String::new(), 400, "malformed_json"),
        ("POST", "/payments", json_type, with("description", json!(long)), 413, "body_too_large"),
        (
            "POST",
            "/payments",
            &[("content-type", "text/plain")],
            with("id", json!("P")),
            415,
            "unsupported_media_type",
        ),
        ("POST", "/payments", &[], with("id", json!("P")), 415, "unsupported_media_type"),
        (
            "POST",
            "/payments",
            &[("content-type", "application/json"), ("idempotency-key", "other")],
            with("id", json!("P")),
            400,
            "id_key_conflict",
        ),
        ("DELETE", "/payments/P", &[], String::new(), 405, "method_not_allowed"),
        ("GET", "/payments", &[], String::new(), 405, "method_not_allowed"),
        ("GET", "/payments/P", &[], String::new(), 404, "not_found"),
        ("GET", "/payments/a.b", &[], String::new(), 404, "not_found"),
        ("GET", "/nothing", &[], String::new(), 404, "not_found"),
        ("GET", "/balance/S", &[], String::new(), 503, "unavailable"),
    ];
    for (method, path, headers, body, status, code) in rows {
        let answer = client.send(method, path, headers, body.clone().into_bytes()).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path} {body:.80}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    assert_eq!(
        system.jetstream().await.get_stream("PAY_ACCEPTED").await.unwrap().cached_info().state.messages,
        0
    );
}

/// A key alone names the payment: the same key is the same payment, on any gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_alone_names_the_payment() {
    let mut system = System::prepare(&[]).await;
    system.start_gateway().await;
    let client = system.client();
    let mut body = payment("", "S", "D", "USD", "1");
    body.as_object_mut().unwrap().remove("id");
    let first = client.post_with("/payments", &[("idempotency-key", "order-42")], &body).await;
    let quoted = client.post_with("/payments", &[("idempotency-key", "\"order-42\"")], &body).await;
    let (anonymous, another) = (client.post("/payments", &body).await, client.post("/payments", &body).await);
    assert_eq!(first.body["id"].as_str().map(str::len), Some(32));
    assert_eq!(
        (quoted.status, &quoted.body["id"], quoted.header("idempotency-replayed")),
        (202, &first.body["id"], Some("true"))
    );
    assert_eq!((anonymous.status, another.status), (202, 202));
    assert_ne!(anonymous.body["id"], another.body["id"]);
}

/// While a server is away the border says 503 with Retry-After, and goes on by itself when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_a_503_that_ends_by_itself() {
    let postgres: &'static devstack::testing::TestPostgres =
        Box::leak(Box::new(devstack::testing::TestPostgres::start().await));
    let nats = devstack::testing::TestNats::start().await;
    let mut system =
        System::prepare_on(nats, postgres, &["nats.timeout_ms=1000", "postgres.acquire_timeout_ms=500"])
            .await;
    system.start_roles(wire::Role::STAGES).await;
    system.start_gateway().await;
    system.open(&[("S", "USD", "100"), ("D", "USD", "0")]).await;
    let client = system.client();
    let turned_away = async |what: &str, id: &str| {
        let answer = client.post("/payments", &payment(id, "S", "D", "USD", "1")).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1")),
            "{what}: {}",
            answer.body
        );
        assert!(["unavailable", "acceptance_unknown"].contains(&answer.code()), "{what}: {}", answer.body);
        assert_eq!(answer.body["id"], id);
        assert_eq!(client.get(&format!("/payments/{id}")).await.unwrap().status, 503, "{what}");
        // Readiness holds its last answer for a moment.
        until("readiness has noticed", || async {
            client.get("/readyz").await.is_some_and(|answer| answer.status == 503)
        })
        .await;
        assert_eq!(client.get("/livez").await.unwrap().status, 200, "{what}");
    };
    system.nats.kill().await;
    until("the gateway has noticed", || async {
        client.get("/readyz").await.is_some_and(|answer| answer.status == 503)
    })
    .await;
    turned_away("without the broker", "N").await;
    system.nats.restart().await;
    system.postgres.kill().await;
    turned_away("without the ledger", "L").await;
    system.postgres.restart().await;
    for id in ["N", "L"] {
        until("the payment is accepted", || async {
            client.post("/payments", &payment(id, "S", "D", "USD", "1")).await.status == 202
        })
        .await;
        assert_eq!(system.ended(id).await["status"], "CAPTURED");
    }
    system.assert_ledger_is_clean().await;
}
