//! Payments that are waited for and listened to: what is told is what the ledger has.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::{Answer, Client};
use common::listener::{Event, Listener};
use common::{System, payment, until};
use serde_json::Value;

/// Further than any test lasts: what ends before, ends by itself.
const NEVER_CUT: &str = "http.drain_ms=600000";

async fn ask(client: &Client, id: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", &format!("/payments/{id}"), headers, Vec::new()).await.expect("the gateway answers")
}

/// Status, whether there is a body, and what was applied.
fn outcome(answer: &Answer) -> (u16, &str, &str) {
    let said = answer.body["status"].as_str().or(answer.body["code"].as_str()).unwrap_or(&answer.text);
    (answer.status, said, answer.header("preference-applied").unwrap_or(""))
}

async fn listen(system: &System, id: &str, headers: &[(&str, &str)]) -> Listener {
    let path = format!("/payments/{id}/events");
    Listener::open(system.config.gateway.ports[0], &path, headers).await.expect("the gateway answers")
}

/// Events in short.
fn short(id: &str, events: &[Event]) -> String {
    let word = |event: &Event, name: &str| event.data[name].as_str().unwrap_or("").to_owned();
    let short = |event: &Event| {
        assert_eq!(event.data["id"], id);
        assert!(event.data["at"].is_string());
        let number = event.id.map(|id| id.to_string()).unwrap_or_default();
        let words = [number, word(event, "stage"), word(event, "status"), word(event, "reason")];
        words.join(" ").trim().to_owned()
    };
    events.iter().map(short).collect::<Vec<_>>().join(", ")
}

const CAPTURED: &str =
    "1 accepted PENDING, 2 screened PENDING, 3 quoted PENDING, 4 reserved PENDING, 6 finished CAPTURED";
const FAILED: &str =
    "1 accepted PENDING, 2 screened PENDING, 3 quoted PENDING, 6 finished FAILED insufficient_funds";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_followed_to_its_end() {
    let mut system = System::start(&[]).await;
    system.open(&[("S", "USD", "100"), ("D", "USD", "0")]).await;
    let client = system.client();
    for (id, amount, status, events) in [("P", "1", "CAPTURED", CAPTURED), ("Q", "1000", "FAILED", FAILED)] {
        assert_eq!(client.post("/payments", &payment(id, "S", "D", "USD", amount)).await.status, 202);
        let headers = [("prefer", "respond-async, wait=60")];
        let (waited, mut listener) = tokio::join!(ask(&client, id, &headers), listen(&system, id, &[]));
        assert_eq!(outcome(&waited), (200, status, "wait=30"));
        assert_eq!(listener.headers()["content-type"], "text/event-stream");
        assert_eq!(short(id, &listener.rest().await), events);

        // Whoever has it already is told so at once, however long he would wait.
        let tag = waited.header("etag").unwrap().to_owned();
        assert_eq!(waited.header("cache-control"), Some("private, no-cache"));
        let again = ask(&client, id, &[]).await;
        assert_eq!((again.header("etag"), &again.text), (Some(tag.as_str()), &waited.text));
        for (known, expected) in [
            (tag.clone(), (304, "", "wait=30")),
            (format!("\"other\", W/{tag}"), (304, "", "wait=30")),
            ("*".to_owned(), (304, "", "wait=30")),
            ("\"other\"".to_owned(), (200, status, "wait=30")),
        ] {
            let answer = ask(&client, id, &[("if-none-match", &known), headers[0]]).await;
            assert_eq!(outcome(&answer), expected, "{known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()), "{known}");
        }
        for (last, expected) in [
            ("1", events.split_once(", ").unwrap().1),
            ("5", events.rsplit_once(", ").unwrap().1),
            ("six", events),
        ] {
            let told = listen(&system, id, &[("last-event-id", last)]).await.rest().await;
            assert_eq!(short(id, &told), expected, "after {last}");
        }
        let mut over = listen(&system, id, &[("last-event-id", "6")]).await;
        assert_eq!((over.status(), over.next().await), (204, None), "there is nothing more to come for");
    }
    for (method, path, status) in [
        ("GET", "/payments/NONE", 404),
        ("GET", "/payments/NONE/events", 404),
        ("GET", "/payments/a%20b/events", 404),
        ("POST", "/payments/P/events", 405),
    ] {
        let answer = client.send(method, path, &[("prefer", "wait=30")], Vec::new()).await.unwrap();
        assert_eq!((answer.status, answer.body["status"].clone()), (status, Value::from(status)), "{path}");
    }
    system.stop().await;
}

/// Waits for the payment as soon as nobody else does.
async fn take_the_place(client: Client) -> Answer {
    loop {
        let answer = ask(&client, "P", &[("prefer", "wait=30")]).await;
        if answer.status != 503 {
            return answer;
        }
    }
}

/// Nothing works it off, so it stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn who_stays_has_a_place_and_leaves_it() {
    let settings = ["gateway.waiters_max=1", "gateway.event_streams_max=1", NEVER_CUT];
    let system = System::prepare(&settings).await;
    let gateway = system.launch_gateway(system.config.gateway.ports.clone());
    let client = system.client();
    until("the payment is accepted", || async {
        let body = payment("P", "S", "D", "USD", "1").to_string().into_bytes();
        let headers = [("content-type", "application/json")];
        client.send("POST", "/payments", &headers, body).await.is_some_and(|answer| answer.status == 202)
    })
    .await;
    let waited = ask(&client, "P", &[("prefer", "wait=1")]).await;
    assert_eq!(outcome(&waited), (200, "PENDING", "wait=1"));
    let tag = waited.header("etag").unwrap();
    let waited = ask(&client, "P", &[("prefer", "wait=1"), ("if-none-match", tag)]).await;
    assert_eq!(outcome(&waited), (304, "", "wait=1"));

    // The one place is taken until who has it is gone.
    let started = tokio::spawn(take_the_place(client.clone()));
    let refused = || async {
        let answer = ask(&client, "P", &[("prefer", "wait=1")]).await;
        let is_refused = answer.status == 503;
        if is_refused {
            assert_eq!((answer.code(), answer.header("connection")), ("overloaded", Some("close")));
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        is_refused
    };
    until("there is no place for another one", refused).await;
    assert_eq!(ask(&client, "P", &[]).await.status, 200, "who does not wait is answered");
    started.abort();
    until("the place is free again", || async { !refused().await }).await;

    let mut first = listen(&system, "P", &[]).await;
    assert_eq!(short("P", &[first.next().await.unwrap()]), "1 accepted PENDING");
    let second = listen(&system, "P", &[]).await;
    assert_eq!((second.status(), &second.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    drop((first, second));
    until("the place is free again", || async { listen(&system, "P", &[]).await.status() == 200 }).await;

    // The drain ends what would go on.
    let mut open = listen(&system, "P", &[]).await;
    while open.status() != 200 {
        open = listen(&system, "P", &[]).await;
    }
    let waiting = tokio::spawn(take_the_place(client.clone()));
    until("someone waits", refused).await;
    gateway.stop().await;
    assert_eq!(outcome(&waiting.await.unwrap()), (200, "PENDING", "wait=30"));
    assert_eq!(short("P", &open.rest().await), "1 accepted PENDING");
}
