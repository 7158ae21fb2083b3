//! Metadata travels byte for byte, so that no message outgrows its request, and comes back as it was sent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::System;

/// The longest body that the border reads.
const BODY_BYTES: usize = 16 << 10;

/// A message may be 2 KiB longer than the body for each hop that it has behind it.
const HOP_BYTES: usize = 2 << 10;

/// Numbers whose other form is five times as long, as many as a body holds.
fn swelling_payment() -> (String, String) {
    let open =
        r#"{"id":"P","source_account":"S","destination_account":"D","currency":"USD","amount":1,"metadata":"#;
    let numbers = (BODY_BYTES - open.len() - r#"{"a":[]}}"#.len() + 1) / "9e15,".len();
    let metadata = format!(r#"{{"a":[{}]}}"#, vec!["9e15"; numbers].join(","));
    (format!("{open}{metadata}}}"), metadata)
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_never_swells_and_comes_back_as_it_was_sent() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let (body, metadata) = swelling_payment();
    assert!((BODY_BYTES - 8..=BODY_BYTES).contains(&body.len()), "{}", body.len());
    let headers = [("content-type", "application/json")];
    let accepted = client.send("POST", "/payments", &headers, body.clone().into_bytes()).await.unwrap();
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    assert_eq!(system.ended("P").await["status"], "CAPTURED");
    let jetstream = system.jetstream().await;
    for (hops, stream, subject) in [
        (1, "PAY_ACCEPTED", "pay.accepted.0.P"),
        (2, "PAY_SCREENED_0", "pay.screened.0.P"),
        (3, "PAY_QUOTED_0", "pay.quoted.0.P"),
        (4, "PAY_RESERVED_0", "pay.reserved.0.P"),
    ] {
        let stored = jetstream
            .get_stream(stream)
            .await
            .unwrap()
            .get_last_raw_message_by_subject(subject)
            .await
            .unwrap();
        let bytes = stored.payload.len();
        assert!(
            bytes <= body.len() + hops * HOP_BYTES,
            "{subject} has {bytes} bytes of a body of {}",
            body.len()
        );
    }
    let shown = client.get("/payments/P").await.unwrap();
    assert!(shown.text.contains(&format!("\"metadata\":{metadata}")), "{:.400}", shown.text);
    // Written in another way it is the same request; with another number it is not.
    for (from, to, status) in
        [("9e15", "9000000000000000.0", 202), ("9e15", "8e15", 422), ("\"a\":[", "\"a\":[ ", 202)]
    {
        let again = r#"{"id":"Q","source_account":"S","destination_account":"D","currency":"USD","amount":1,"metadata":{"a":[9e15]}}"#;
        client.send("POST", "/payments", &headers, again.into()).await.unwrap();
        let answer =
            client.send("POST", "/payments", &headers, again.replace(from, to).into_bytes()).await.unwrap();
        assert_eq!(answer.status, status, "{to}: {}", answer.text);
    }
    system.assert_ledger_is_clean().await;
}
