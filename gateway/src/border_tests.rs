use super::*;
use crate::memory_ledger::MemoryLedger;
use crate::payments::tests::parts;
use domain::Tenant;
use runtime::broker::MemoryStreams;
use runtime::config::StackConfig;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use wire::{Role, Stream};

/// A border on memory, and what it works on; ids of its own count.
async fn border() -> (Border<MemoryStreams, MemoryLedger>, MemoryStreams, MemoryLedger, JoinSet<()>) {
    let mut config = Config::on(StackConfig::shifted(0));
    let metrics = Metrics::new(Role::Gateway, true).unwrap();
    let counter = AtomicU32::new(0);
    let fresh_id: FreshId = Arc::new(move || format!("F{}", counter.fetch_add(1, Ordering::Relaxed)));
    let parts = BorderParts { fresh_id, ..parts(&mut config, &metrics, 8).await };
    let (streams, ledger) = (parts.streams.clone(), parts.reads.clone());
    let (border, accepting) = Border::start(parts);
    (border, streams, ledger, accepting)
}

fn body(id: Option<&str>, amount: &str) -> Vec<u8> {
    let body = json!({ "id": id, "source_account": "S", "destination_account": "D", "amount": amount, "currency": "USD" });
    body.to_string().into_bytes()
}

/// What is to be seen of an answer: its status, whether it was given before, and of its body the id and the
/// payment's status, or the code.
fn seen(answered: &Answered) -> (u16, bool, Option<String>, Option<String>) {
    let body: Value = serde_json::from_slice(&answered.body).unwrap();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let says = if answered.status < 300 { text("status") } else { text("code") };
    (answered.status, answered.is_replayed, text("id"), says)
}

#[tokio::test]
async fn a_border_answers_as_the_routes_do() {
    let (border, streams, ledger, _accepting) = border().await;
    let default = Caller::default();
    // The id and the key that a request comes with, its amount; the answer's status, whether it was given
    // before, the id and what is said.
    let rows: [(Option<&str>, Option<&str>, &str, (u16, bool, Option<&str>, &str)); 8] = [
        (Some("P"), None, "1", (202, false, Some("P"), "PENDING")),
        (Some("P"), None, "1.00", (202, true, Some("P"), "PENDING")),
        (Some("P"), Some("P"), "2", (422, false, None, "idempotency_mismatch")),
        (Some("P"), Some("Q"), "1", (400, false, None, "id_key_conflict")),
        (None, None, "1", (202, false, Some("F0"), "PENDING")),
        (None, None, "1", (202, false, Some("F1"), "PENDING")),
        (Some("a b"), None, "1", (422, false, None, "invalid_id")),
        (None, None, "-1", (422, false, None, "amount_not_positive")),
    ];
    for (id, key, amount, (status, is_replayed, named, says)) in rows {
        let answered = border.submit(&default, &body(id, amount), key.map(str::to_owned)).await;
        let expected = (status, is_replayed, named.map(str::to_owned), Some(says.to_owned()));
        assert_eq!(seen(&answered), expected, "{id:?}, {key:?}, {amount}");
    }
    let junk = border.submit(&default, b"{", None).await;
    assert_eq!((junk.status, seen(&junk).3.as_deref()), (400, Some("malformed_json")));
    assert_eq!(streams.messages(Stream::Accepted).len(), 3);

    let other = Caller { tenant: Tenant::parse("other").unwrap() };
    for (caller, id, status, says) in [
        (&default, "P", 200, "PENDING"),
        (&default, "F1", 200, "PENDING"),
        (&default, "Q", 404, "not_found"),
        (&default, "a b", 404, "not_found"),
        (&other, "P", 404, "not_found"),
    ] {
        let answered = border.status(caller, id).await;
        assert_eq!((answered.status, seen(&answered).3.as_deref()), (status, Some(says)), "{id}");
    }

    ledger.fall_silent();
    for answered in
        [border.status(&default, "P").await, border.submit(&default, &body(Some("P"), "1"), None).await]
    {
        assert_eq!((answered.status, seen(&answered).3.as_deref()), (503, Some("unavailable")));
    }
    assert_eq!(
        border.submit(&default, &body(None, "1"), None).await.status,
        202,
        "an id of ours needs no ledger"
    );
}

#[tokio::test]
async fn acceptance_ends_with_its_border() {
    let (border, _, _, mut accepting) = border().await;
    assert_eq!(border.submit(&Caller::default(), &body(Some("P"), "1"), None).await.status, 202);
    drop(border);
    while let Some(ended) = accepting.join_next().await {
        ended.unwrap();
    }
}
