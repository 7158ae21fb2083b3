//! Payments on their way to the gateway, many at once.

use crate::common::{System, payment};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Accounts on either side, so that no batch meets one too often.
const ACCOUNTS: usize = 50;

/// Opens the accounts of [`payments`], those that pay with plenty.
pub(crate) async fn open_accounts(system: &System) {
    let name = |side: &str, place: usize| format!("{side}{place}");
    let sources: Vec<String> = (0..ACCOUNTS).map(|place| name("S", place)).collect();
    let destinations: Vec<String> = (0..ACCOUNTS).map(|place| name("D", place)).collect();
    let all = sources.iter().map(|id| (id.as_str(), "USD", "1000000"));
    // Of every ten payments three convert.
    let currency = |place: usize| if place % 10 < 3 { "EUR" } else { "USD" };
    let all =
        all.chain(destinations.iter().enumerate().map(|(place, id)| (id.as_str(), currency(place), "0")));
    system.open(&all.collect::<Vec<_>>()).await;
}

/// So many payments, whose ids begin like this.
pub(crate) fn payments(prefix: &str, count: usize) -> Vec<Value> {
    let one = |number: usize| {
        let place = number % ACCOUNTS;
        payment(&format!("{prefix}{number:06}"), &format!("S{place}"), &format!("D{place}"), "USD", "1.00")
    };
    (0..count).map(one).collect()
}

/// Submits payments over so many connections, and expects each to be accepted.
pub(crate) async fn submit(system: &System, payments: &[Value], connections: usize) {
    let port = system.config.gateway.ports[0];
    let mut sending = JoinSet::new();
    for first in 0..connections {
        let bodies: Vec<String> =
            payments.iter().skip(first).step_by(connections).map(Value::to_string).collect();
        sending.spawn(submit_in_turn(port, bodies));
    }
    sending.join_all().await;
}

async fn submit_in_turn(port: u16, bodies: Vec<String>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for body in bodies {
        let request = Request::post("/payments")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)));
        sender.ready().await.unwrap();
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
        assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
    }
    connection.abort();
}
