//! Rows come back as they went in, and every question about them has its answer.

use crate::common::{
    Ledger, at, converted, currency, keys, payment_key, recorded, refused, request, status, usd,
};
use domain::facts::RecordState;
use domain::fx::Rate;
use domain::{Fingerprint, Metadata, Money, PaymentKey, PaymentRecord};
use serde_json::json;
use std::collections::HashMap;
use store::{DeadLetter, HoldRequest, Known, StatusRow};

/// A payment with these words in it, as a client might send them.
fn worded(id: &str, description: Option<&str>, metadata: Option<serde_json::Value>) -> HoldRequest {
    let mut request = request(id, "A", "B", usd(1));
    request.facts.payment.description = description.map(str::to_owned);
    request.facts.payment.metadata = metadata.map(|object| Metadata::parse(object.to_string()).unwrap());
    request.facts.fingerprint = request.facts.payment.fingerprint();
    request
}

fn awkward_requests() -> Vec<HoldRequest> {
    let yen = request("YEN", "A", "J", usd(12_345));
    let mut exact =
        converted(yen, currency("JPY"), Rate { numerator: 20_275_170_000_003, denominator: 11_172 }, 25)
            .unwrap();
    exact.facts.payment.destination_currency = Some(currency("JPY"));
    exact.facts.accepted_seq = u64::try_from(i64::MAX).unwrap();
    let long = "x".repeat(20_000);
    vec![
        worded("NONE", None, None),
        worded("EMPTY", Some(""), Some(json!({}))),
        worded(
            "QUOTES",
            Some(r#"it's "quoted" \ and $1 {} %s"#),
            Some(json!({"it's": "\"quoted\"", "path": "C:\\x", "'; --": "$1"})),
        ),
        worded(
            "UNICODE",
            Some("Zażółć 日本語 العربية e\u{301}"),
            Some(json!({"ключ": "значение", "日本": ["語"]})),
        ),
        worded("EMOJI", Some("👩‍👩‍👧‍👦⚡"), Some(json!({"⚡": "👍🏽"}))),
        worded(
            "CONTROL",
            Some("line\r\nnext\ttab\u{1}\u{7f}"),
            Some(json!({"nul": "a\u{0}b", "bell": "\u{7}"})),
        ),
        worded(
            "NUMBERS",
            None,
            Some(
                json!({"u64": u64::MAX, "i64": i64::MIN, "tenth": 0.1, "large": 1e300, "list": [null, true, {}]}),
            ),
        ),
        worded("LONG", Some(&long), Some(json!({"x": long}))),
        worded("ARRAY", Some("{a,b,NULL}"), Some(json!({"NULL": null, "{}": "{\"a\",b}"}))),
        exact,
    ]
}

#[tokio::test]
async fn records_come_back_as_they_were_judged() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000_000)).await;
    ledger.open_account("B", currency("USD")).await;
    ledger.open_account("J", currency("JPY")).await;
    let requests = awkward_requests();
    let told = ledger.hold(&requests).await;
    compare(&ledger, &requests, &told).await;
    let told = ledger.capture(&requests).await;
    compare(&ledger, &requests, &told).await;

    let requests: Vec<HoldRequest> = requests.into_iter().map(|request| renamed(request, "R-")).collect();
    let told =
        recorded(ledger.store.record_rejections(requests.iter().map(refused).collect()).await.unwrap());
    assert_eq!(told, requests.iter().map(refused).collect::<Vec<_>>());
    compare(&ledger, &requests, &told).await;

    // Unlike risk's and fx's, a refusal of reserve keeps what was found and quoted.
    let requests: Vec<HoldRequest> = requests.into_iter().map(|request| renamed(request, "POOR-")).collect();
    ledger.sql("UPDATE accounts SET status = 'FROZEN' WHERE id = 'A'").await;
    let told = recorded(ledger.store.reserve(requests.clone(), at(30)).await.unwrap());
    compare(&ledger, &requests, &told).await;
    for (record, request) in told.iter().zip(&requests) {
        let RecordState::Failed { screening, quote, .. } = &record.state else { panic!("{record:?}") };
        assert_eq!((screening, quote), (&Some(request.screening.clone()), &Some(request.quote.clone())));
    }
    ledger.assert_sound("after the awkward ones").await;
}

fn renamed(mut request: HoldRequest, prefix: &str) -> HoldRequest {
    request.facts.payment.id =
        domain::PaymentId::parse(format!("{prefix}{}", request.facts.payment.id)).unwrap();
    request
}

/// What was told, what was asked for, and what every kind of read finds.
async fn compare(ledger: &Ledger, requests: &[HoldRequest], told: &[PaymentRecord]) {
    let found = ledger.store.records(&keys(requests)).await.unwrap();
    for (request, record) in requests.iter().zip(told) {
        let key = request.facts.payment.key();
        assert_eq!(record.facts.payment, request.facts.payment);
        assert_eq!(
            (record.facts.fingerprint, record.facts.accepted_seq),
            (request.facts.fingerprint, request.facts.accepted_seq),
            "{key:?}"
        );
        assert_eq!(record.facts.accepted_at, request.facts.accepted_at, "{key:?}");
        assert_eq!(found.get(&key), Some(record));
        let status = ledger.store.status(&key).await.unwrap();
        assert_eq!(status, StatusRow { record: Some(record.clone()), dead: None });
    }
}

#[tokio::test]
async fn metadata_is_kept_as_it_was_written() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    let texts = [
        "{\"b\" :\t[ 9e15,1E2, -0,1.50,0.1000000000000000055511151231257827 ],\r\n \"a\":\"\\u0041\\/é⚡\"}",
        r#"{"a":9000000000000000.0,"b":"\u0000"}"#,
        "{ }",
        r#"{"a":1,"a":2}"#,
    ];
    let worded = |(number, text): (usize, &&str)| {
        let mut request = worded(&format!("M{number}"), None, None);
        request.facts.payment.metadata = Some(Metadata::parse(*text).unwrap());
        request
    };
    let requests: Vec<HoldRequest> = texts.iter().enumerate().map(worded).collect();
    ledger.hold(&requests).await;
    let found = ledger.store.records(&keys(&requests)).await.unwrap();
    for (request, text) in requests.iter().zip(texts) {
        let kept = found[&request.facts.payment.key()].facts.payment.metadata.as_ref().map(Metadata::as_str);
        assert_eq!(kept, Some(text));
    }
    // A row of a build that wrote metadata anew reads like any other, and one that holds no object is none of
    // ours.
    ledger.sql("UPDATE payments SET metadata = '[1]' WHERE id = 'M0'").await;
    let error = ledger.store.records(&[payment_key("M0")]).await.unwrap_err();
    assert!(!error.is_outage(), "{error:?}");
}

#[tokio::test]
async fn what_is_known_of_an_id() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    let [held, captured, both] = ["HELD", "CAPTURED", "BOTH"].map(|id| request(id, "A", "B", usd(1)));
    ledger.open_account("B", currency("USD")).await;
    ledger.hold(&[held.clone(), captured.clone(), both.clone()]).await;
    ledger.capture(std::slice::from_ref(&captured)).await;
    for (id, seq) in [("BOTH", 1), ("DEAD", 2), ("RESOLVED", 3)] {
        ledger.store.bury(&letter(id, seq, "why")).await.unwrap();
    }
    ledger.sql("UPDATE dead_letters SET resolved_at = now() WHERE id = 'RESOLVED'").await;
    let rows: [(&str, Option<Known>, Option<&str>, bool); 6] = [
        ("HELD", Some(Known::Recorded(held.facts.fingerprint)), Some("RESERVED"), false),
        ("CAPTURED", Some(Known::Recorded(captured.facts.fingerprint)), Some("CAPTURED"), false),
        ("BOTH", Some(Known::Recorded(both.facts.fingerprint)), Some("RESERVED"), true),
        ("DEAD", Some(Known::Dead(b"payload of 2".to_vec())), None, true),
        ("RESOLVED", None, None, false),
        ("NEVER", None, None, false),
    ];
    let keys: Vec<PaymentKey> = rows.iter().map(|row| payment_key(row.0)).collect();
    let known = ledger.store.known(&keys).await.unwrap();
    let expected: HashMap<PaymentKey, Known> =
        rows.iter().filter_map(|(id, known, ..)| Some((payment_key(id), known.clone()?))).collect();
    assert_eq!(known, expected);
    let at_once = ledger.store.statuses(&keys).await.unwrap();
    for (id, _, expected_status, is_dead) in rows {
        let found = ledger.store.status(&payment_key(id)).await.unwrap();
        let is_known = found != StatusRow::default();
        assert_eq!(at_once.get(&payment_key(id)), is_known.then_some(&found), "{id}");
        assert_eq!(
            (found.record.as_ref().map(status), found.dead.is_some()),
            (expected_status, is_dead),
            "{id}"
        );
    }
    assert!(ledger.store.known(&[]).await.unwrap().is_empty());
    assert!(ledger.store.statuses(&[]).await.unwrap().is_empty());
    assert!(ledger.store.records(&[payment_key("NEVER")]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tenant_sees_its_own() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    let mine = request("P", "A", "B", usd(1));
    ledger.hold(std::slice::from_ref(&mine)).await;
    let theirs = PaymentKey { tenant: domain::Tenant::parse("acme").unwrap(), ..payment_key("P") };
    assert_eq!(ledger.store.status(&theirs).await.unwrap(), StatusRow::default());
    assert!(ledger.store.known(std::slice::from_ref(&theirs)).await.unwrap().is_empty());
    let mut request = mine;
    request.facts.payment.tenant = theirs.tenant;
    request.facts.fingerprint = Fingerprint([9; 32]);
    let record = recorded(ledger.store.reserve(vec![request], at(10)).await.unwrap()).remove(0);
    assert_eq!(
        crate::common::refusal(&record),
        Some(domain::Refusal::AccountNotFound),
        "the account is another tenant's"
    );
    assert_eq!(record.facts.payment.amount, Money::new(1, currency("USD")));
}

pub(crate) fn letter(id: &str, seq: u64, reason: &str) -> DeadLetter {
    DeadLetter {
        tenant: "default".to_owned(),
        id: id.to_owned(),
        stage: "reserve",
        stream: "QUOTED".to_owned(),
        seq,
        reason: reason.to_owned(),
        payload: format!("payload of {seq}").into_bytes(),
    }
}
