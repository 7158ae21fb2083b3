//! Many payments in one request: each is accepted, refused and carried by itself, and they are stored together.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::{System, payment, until};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// 500 payments, every tenth of them wrong in form: 450 are accepted by one atomic batch, and settled; sent
/// again they are told as they stand.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_payments_settle_and_fifty_are_refused() {
    let mut system = System::start(&[]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let is_wrong = |number: usize| number % 10 == 3;
    let payments: Vec<Value> = (0..500)
        .map(|number| {
            let amount = if is_wrong(number) { "1.001" } else { "1.00" };
            payment(&format!("P{number}"), "S", "D", "USD", amount)
        })
        .collect();
    let list = json!({ "payments": payments });
    let first = client.post("/payments/batch", &list).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let results = first.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 500);
    for (number, result) in results.iter().enumerate() {
        if is_wrong(number) {
            assert_eq!((&result["status"], &result["code"]), (&json!(422), &json!("amount_precision")));
        } else {
            let expected = json!({ "id": format!("P{number}"), "status": "PENDING", "stage": "accepted" });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&result[field], value, "{number}");
            }
            assert!(result["idempotency_replayed"].is_null(), "{number}");
        }
    }
    until("all of them settle", || async {
        system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == "450"
    })
    .await;
    assert_eq!(client.get("/balance/D").await.unwrap().body["balance"], "450.00");

    let again = client.post("/payments/batch", &list).await;
    for (number, result) in again.body["results"].as_array().unwrap().iter().enumerate() {
        if !is_wrong(number) {
            assert_eq!(
                (&result["status"], &result["idempotency_replayed"]),
                (&json!("CAPTURED"), &json!(true)),
                "{number}: {result}"
            );
        }
    }
    let metrics = client.get("/metrics").await.unwrap().text;
    for line in [
        // The requests, and the payments in them as if each had come alone.
        r#"payment_requests_total{code="200",method="POST",route="/payments/batch",service="gateway",status="OK"} 2"#,
        r#"payment_requests_total{code="202",method="POST",route="/payments",service="gateway",status="OK"} 900"#,
        r#"payment_requests_total{code="422",method="POST",route="/payments",service="gateway",status="FAILED"} 100"#,
        // All that is accepted of a request is stored at once.
        r#"publish_batch_size_sum{form="atomic",hop="accepted"} 450"#,
        r#"publish_batch_size_count{form="atomic",hop="accepted"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    system.assert_ledger_is_clean().await;
    system.stop().await;
}

/// What is wrong with the list is wrong with all of it, and nothing is stored; a payment may still be called
/// what the route is called.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_wrong_stores_nothing() {
    let mut system = System::prepare(&["gateway.batch_body_bytes_max=200000"]).await;
    system.start_gateway().await;
    let client = system.client();
    let good = payment("P", "S", "D", "USD", "1");
    let list = |count: usize| json!({ "payments": vec![&good; count] }).to_string();
    let with_key: &[(&str, &str)] = &[JSON, ("idempotency-key", "P")];
    let padded = |bytes: usize| format!("{}{}", list(1), " ".repeat(bytes));
    let rows: Vec<(&str, &[(&str, &str)], String, u16, &str)> = vec![
        ("POST", &[JSON], json!({ "payments": [] }).to_string(), 400, "malformed_json"),
        ("POST", &[JSON], list(501), 400, "malformed_json"),
        ("POST", &[JSON], json!([good]).to_string(), 400, "malformed_json"),
        ("POST", &[JSON], format!("{},", list(1)), 400, "malformed_json"),
        ("POST", &[JSON], json!({ "payments": [good], "atomic": true }).to_string(), 400, "unknown_field"),
        ("POST", &[JSON], "{}".to_owned(), 400, "missing_field"),
        ("POST", with_key, list(1), 400, "malformed_json"),
        ("POST", &[JSON], padded(200_000), 413, "body_too_large"),
        ("POST", &[], list(1), 415, "unsupported_media_type"),
        ("PUT", &[JSON], list(1), 405, "method_not_allowed"),
        ("GET", &[], String::new(), 404, "not_found"),
    ];
    for (method, headers, body, status, code) in rows {
        let about = format!("{method} {headers:?} {:.60}", body);
        let answer = client.send(method, "/payments/batch", headers, body.into_bytes()).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{about}");
    }
    let jetstream = system.jetstream().await;
    let stored =
        || async { jetstream.get_stream("PAY_ACCEPTED").await.unwrap().cached_info().state.messages };
    assert_eq!(stored().await, 0);
    let whole = client.send("POST", "/payments/batch", &[JSON], padded(190_000).into_bytes()).await.unwrap();
    assert_eq!((whole.status, &whole.body["results"][0]["status"]), (200, &json!("PENDING")));
    assert_eq!(client.post("/payments", &payment("batch", "S", "D", "USD", "1")).await.status, 202);
    assert_eq!(client.get("/payments/batch").await.unwrap().body["id"], "batch");
    assert_eq!(stored().await, 2);
    system.stop().await;
}
