use super::*;
use crate::memory_ledger::MemoryLedger;
use crate::payments::tests::parts;
use crate::status::tests::{at, facts, reserved};
use domain::facts::RecordState;
use domain::{PaymentId, PaymentRecord, Tenant};
use runtime::broker::MemoryStreams;
use runtime::config::StackConfig;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use wire::{Role, Stream, Subject};

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

/// An item of a list, and what is seen of its result: its status or code, the id, whether it was there before.
type Row = (Value, (&'static str, Option<&'static str>, bool));

fn item(id: Option<&str>, amount: &str) -> Value {
    serde_json::from_slice(&body(id, amount)).unwrap()
}

/// Asks for all of them in one request, and compares result by result.
async fn check(border: &Border<MemoryStreams, MemoryLedger>, caller: &Caller, about: &str, rows: &[Row]) {
    let payments: Vec<&Value> = rows.iter().map(|(item, _)| item).collect();
    let answered = border.submit_all(caller, json!({ "payments": payments }).to_string().as_bytes()).await;
    assert_eq!(answered.status, 200, "{about}");
    let body: Value = serde_json::from_slice(&answered.body).unwrap();
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), rows.len(), "{about}");
    for (result, (item, expected)) in results.iter().zip(rows) {
        let says = result["code"].as_str().or(result["status"].as_str()).unwrap();
        let is_replayed = result["idempotency_replayed"] == true;
        assert_eq!((says, result["id"].as_str(), is_replayed), *expected, "{about}: {item} -> {result}");
        // A problem has the status that it would have been answered with alone.
        assert_eq!(result["code"].is_string(), result["status"].is_number(), "{about}: {result}");
    }
}

#[tokio::test]
async fn each_payment_of_a_list_is_answered_as_if_it_had_come_alone() {
    let (border, streams, ledger, _accepting) = border().await;
    let (default, other) = (Caller::default(), Caller { tenant: Tenant::parse("other").unwrap() });
    border.submit(&default, &body(Some("OLD"), "1"), None).await;
    let mut facts = facts();
    facts.payment.id = PaymentId::parse("SETTLED").unwrap();
    facts.fingerprint = facts.payment.fingerprint();
    let state = RecordState::Captured { reserved: reserved(), finished_at: at(5) };
    ledger.record(PaymentRecord { facts, state, trace: None });
    let mut unknown = item(Some("U"), "1");
    unknown["state"] = json!("settled");
    let rows = [
        (item(Some("A"), "1"), ("PENDING", Some("A"), false)),
        (item(Some("B"), "-1"), ("amount_not_positive", None, false)),
        (item(Some("A"), "1.00"), ("PENDING", Some("A"), true)),
        (item(Some("A"), "2"), ("idempotency_mismatch", Some("A"), false)),
        (item(None, "1"), ("PENDING", Some("F0"), false)),
        (item(None, "1"), ("PENDING", Some("F1"), false)),
        (unknown, ("unknown_field", None, false)),
        (json!(7), ("malformed_json", None, false)),
        (item(Some("a b"), "1"), ("invalid_id", None, false)),
    ];
    check(&border, &default, "the first time", &rows).await;
    let rows = [
        (item(Some("OLD"), "1"), ("PENDING", Some("OLD"), true)),
        (item(Some("OLD"), "3"), ("idempotency_mismatch", Some("OLD"), false)),
        (item(Some("SETTLED"), "1"), ("CAPTURED", Some("SETTLED"), true)),
        (item(Some("C"), "1"), ("PENDING", Some("C"), false)),
    ];
    check(&border, &default, "some of them before", &rows).await;
    check(&border, &other, "another's", &[(item(Some("A"), "2"), ("PENDING", Some("A"), false))]).await;
    let stored = streams.messages(Stream::Accepted);
    let stored: Vec<&str> = stored.iter().map(|stored| Subject::payment_token(&stored.subject)).collect();
    assert_eq!(stored, ["OLD", "A", "F0", "F1", "C", "other~A"]);

    ledger.fall_silent();
    let rows = [
        (item(Some("D"), "1"), ("unavailable", Some("D"), false)),
        (item(None, "1"), ("PENDING", Some("F2"), false)),
        (item(None, "0"), ("amount_not_positive", None, false)),
    ];
    check(&border, &default, "without a ledger", &rows).await;
}

#[tokio::test]
async fn each_payment_of_a_list_needs_places_of_its_own() {
    let (border, streams, _, _accepting) = border().await;
    let default = Caller::default();
    let admission = &border.payments.admission;
    let taken = |count: usize| (0..count).map(|_| admission.enter().unwrap()).collect::<Vec<_>>();
    let named = |id: &'static str, has_room: bool| {
        let says = if has_room { ("PENDING", Some(id), false) } else { ("overloaded", Some(id), false) };
        (item(Some(id), "1"), says)
    };
    // Of eight places half are for those that wait for the ledger.
    let rows = ["A", "B", "C", "D"].map(|id| named(id, true));
    let beyond = [named("E", false), (item(None, "1"), ("PENDING", Some("F0"), false)), named("G", false)];
    check(&border, &default, "places at the ledger", &[&rows[..], &beyond].concat()).await;
    let places = taken(6);
    let rows = [
        named("E", true),
        (item(None, "1"), ("PENDING", Some("F1"), false)),
        (item(None, "1"), ("overloaded", None, false)),
        (item(None, "-1"), ("overloaded", None, false)),
        (json!({}), ("missing_field", None, false)),
        (item(Some("H"), "1"), ("overloaded", None, false)),
    ];
    check(&border, &default, "places in flight", &rows).await;
    drop(places);
    check(&border, &default, "room again", &[named("H", true)]).await;
    assert_eq!(streams.messages(Stream::Accepted).len(), 8);
}
