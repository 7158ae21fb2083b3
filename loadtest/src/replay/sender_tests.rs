use super::super::report::{Report, Summary};
use super::super::schedule::Pace;
use super::super::script::testing::script_of;
use super::*;
use crate::client::testing::{Gateway, Script as Scripted};
use std::time::Duration;

/// Sends these payments over one connection to a gateway with this script; what came of it and what the
/// gateway saw.
async fn send_all(
    name: &str,
    ids: &[&str],
    rate: Option<f64>,
    drain: Duration,
    scripted: Vec<Scripted>,
) -> (Report, Vec<String>) {
    send_together(name, ids, rate, drain, None, scripted).await
}

/// The same with so many payments in a request.
async fn send_together(
    name: &str,
    ids: &[&str],
    rate: Option<f64>,
    drain: Duration,
    batch: Option<usize>,
    scripted: Vec<Scripted>,
) -> (Report, Vec<String>) {
    let gateway = Gateway::start(scripted).await;
    let script = Arc::new(script_of(name, ids));
    let started = Instant::now();
    let pace = Pace { rate, duration: None, drain };
    let schedule = Arc::new(Schedule::start(pace, script.rows(), started));
    let board = Arc::new(Board::new(Arc::clone(&script), started));
    let sending = Sending { script, schedule, board: Arc::clone(&board), batch };
    send(sending, Connection::new(&gateway.targets, 0)).await;
    (Summary::of(&board, 0, false).report, gateway.requests())
}

fn ids(requests: &[String]) -> Vec<String> {
    let body = |request: &String| request.strip_prefix("POST /payments ").map(str::to_owned);
    let id = |body: String| {
        serde_json::from_str::<serde_json::Value>(&body).ok()?["id"].as_str().map(str::to_owned)
    };
    requests.iter().filter_map(body).filter_map(id).collect()
}

#[tokio::test]
async fn each_payment_is_sent_until_it_is_answered() {
    let taken = || Scripted::Answer(202, "", "{}");
    let overloaded = || Scripted::Answer(503, "Retry-After: 0\r\n", r#"{"code":"overloaded"}"#);
    let script = vec![
        taken(),
        overloaded(),
        Scripted::Cut,
        taken(),
        Scripted::Answer(422, "", r#"{"code":"same_account"}"#),
    ];
    let (report, requests) =
        send_all("until", &["P1", "P2", "P3"], None, Duration::from_secs(20), script).await;
    assert_eq!(ids(&requests), ["P1", "P2", "P2", "P2", "P3"]);
    assert_eq!((report.sent, report.accepted, report.refused), (3, 2, 1));
    assert_eq!(report.refused_by_code.get("same_account"), Some(&1));
}

#[tokio::test]
async fn the_end_of_the_drain_ends_the_insisting() {
    let busy = vec![Scripted::Answer(503, "Retry-After: 1\r\n", r#"{"code":"overloaded"}"#)];
    let (report, requests) =
        send_all("drain", &["P1", "P2", "P3"], None, Duration::from_millis(1_500), busy).await;
    // A pause that would end after the drain is not begun, and nothing new either while nobody answers.
    assert_eq!(ids(&requests)[..2], ["P1", "P1"]);
    assert_eq!((report.accepted, report.unavailable, report.sent), (0, report.sent, report.unavailable));
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_counts_from_the_plan() {
    let taken = vec![Scripted::Answer(202, "", "{}")];
    let begun = Instant::now();
    let (report, _) =
        send_all("rate", &["P1", "P2", "P3", "P4", "P5"], Some(50.0), Duration::from_secs(20), taken).await;
    assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
    assert_eq!(report.accepted, 5);

    let slow = vec![
        Scripted::Answer(429, "Retry-After: 1\r\n", r#"{"code":"rate_limited"}"#),
        Scripted::Answer(202, "", "{}"),
    ];
    let (report, _) = send_all("plan", &["P1", "P2"], Some(10.0), Duration::from_secs(20), slow).await;
    // The second was due while the first still waited: its latency counts from then.
    assert!(report.accept_ms.p50.is_some_and(|p50| p50 > 850.0), "{:?}", report.accept_ms);
}

#[tokio::test]
async fn a_batch_is_sent_when_its_last_is_due_and_counts_by_its_items() {
    let results = |results: &'static str| Scripted::Answer(200, "Retry-After: 0\r\n", results);
    let script = vec![
        results(
            r#"{"results":[{"status":"PENDING"},{"status":503,"code":"overloaded"},{"status":422,"code":"same_account"}]}"#,
        ),
        results(r#"{"results":[{"status":"PENDING"}]}"#),
        results(r#"{"results":[{"status":"CAPTURED","idempotency_replayed":true}]}"#),
    ];
    let (begun, ids) = (Instant::now(), ["P1", "P2", "P3", "P4"]);
    let (report, requests) =
        send_together("batch", &ids, Some(50.0), Duration::from_secs(20), Some(3), script).await;
    // The fourth is due after 60 ms.
    assert!(begun.elapsed() >= Duration::from_millis(60), "{:?}", begun.elapsed());
    let sent = |request: &String| {
        let body = request.strip_prefix("POST /payments/batch ").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let items = body["payments"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(requests.iter().map(sent).collect::<Vec<_>>(), ["P1 P2 P3", "P2", "P4"]);
    assert_eq!((report.sent, report.accepted, report.refused, report.replayed), (4, 2, 1, 1));
}
