//! What becomes of spans, by the collector that they are sent to: each is counted once.

use super::*;
use crate::config::StackConfig;
use crate::ids::RequestId;
use devstack::testing::{TestCollector, TestPort};
use devstack::traces::Kind;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::{Method, Route, Stream};

const PARENT: TraceContext = TraceContext { trace_id: 0xABC, span_id: 0xDEF, is_sampled: true };

fn open(endpoint: &str, enabled: bool) -> (Traces, Metrics) {
    let mut config = Config::on(StackConfig::shifted(0));
    config.telemetry.otlp_endpoint = endpoint.to_owned();
    config.telemetry.enabled = enabled;
    let metrics = Metrics::new(Role::Risk, true).unwrap();
    (Traces::open(Role::Risk, &config, &metrics), metrics)
}

/// Makes and ends so many spans.
fn make(traces: &Traces, count: usize) {
    for _ in 0..count {
        drop(traces.publish(Some(PARENT), Stream::Accepted, 1).expect("it is recorded"));
    }
}

/// Exported, dropped, failed.
fn counts(metrics: &Metrics) -> [u64; 3] {
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    ["exported", "dropped", "failed"].map(|outcome| {
        let row = format!(r#"{}{{outcome="{outcome}",service="risk"}} "#, signals::metric::SPANS.name);
        let found = text.lines().find_map(|line| line.strip_prefix(&row));
        found.unwrap_or_else(|| panic!("{row} is not in {text}")).parse().unwrap()
    })
}

/// How a collector answers a request.
enum Manner {
    /// With this status and body.
    Says(u16, Vec<u8>),
    /// It takes the request and says nothing.
    IsSilent,
    /// It is not there.
    IsAway,
}

/// A collector of one manner, and its address.
async fn collector(manner: Manner) -> (String, Option<tokio::task::JoinHandle<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (status, body) = match manner {
        Manner::Says(status, body) => (Some(status), body),
        Manner::IsSilent => (None, Vec::new()),
        Manner::IsAway => return (endpoint, None),
    };
    let serving = tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await;
            let Some(status) = status else {
                silent.push(stream);
                continue;
            };
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            // Whatever else it sends is read, or the answer would be reset.
            while stream.read(&mut request).await.is_ok_and(|count| count > 0) {}
        }
    });
    (endpoint, Some(serving))
}

#[tokio::test]
async fn every_span_is_counted_by_what_became_of_it() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess { rejected_spans: 3, ..Default::default() }),
    };
    // The collector; of ten spans those exported and failed.
    let rows = [
        (Manner::Says(200, Vec::new()), [10, 0, 0]),
        (Manner::Says(200, partial.encode_to_vec()), [7, 0, 3]),
        (Manner::Says(200, b"no answer of the protocol".to_vec()), [10, 0, 0]),
        (Manner::Says(400, Vec::new()), [0, 0, 10]),
        (Manner::Says(503, Vec::new()), [0, 0, 10]),
        (Manner::IsSilent, [0, 0, 10]),
        (Manner::IsAway, [0, 0, 10]),
    ];
    for (place, (manner, expected)) in rows.into_iter().enumerate() {
        let (endpoint, serving) = collector(manner).await;
        let (traces, metrics) = open(&endpoint, true);
        assert_eq!(counts(&metrics), [0, 0, 0], "all are there from the start");
        make(&traces, 10);
        tokio::time::timeout(Duration::from_secs(30), traces.close()).await.expect("the end is bounded");
        assert_eq!(counts(&metrics), expected, "row {place}");
        make(&traces, 2);
        assert_eq!(counts(&metrics)[1], 2, "what ends after the end is dropped");
        traces.close().await;
        if let Some(serving) = serving {
            serving.abort();
        }
    }
}

/// The collector says nothing, and spans go on ending: whoever ends them never waits.
#[tokio::test]
async fn what_finds_the_queue_full_is_dropped_and_counted() {
    let (endpoint, serving) = collector(Manner::IsSilent).await;
    let (traces, metrics) = open(&endpoint, true);
    make(&traces, 40_000);
    let [exported, dropped, failed] = counts(&metrics);
    // The sender has not run since: this runtime has one thread, and nothing above waits.
    assert_eq!([exported, dropped, failed], [0, 40_000 - 16_384, 0]);
    traces.close().await;
    assert_eq!(counts(&metrics), [0, 40_000 - 16_384, 16_384]);
    serving.unwrap().abort();
}

#[tokio::test]
async fn a_collector_is_told_who_recorded_what() {
    let collector = TestCollector::start().await;
    let (traces, _) = open(collector.endpoint(), true);
    let request_id = RequestId::parse("mine").unwrap();
    let mut span =
        traces.request(Some(PARENT), Method::Post, Route::Payments, &request_id).expect("it is sampled");
    span.payment("PAY-1");
    span.answered(503);
    span.refused(&wire::Problem::new(wire::Code::Overloaded, "too many"));
    let context = span.context();
    drop(span);
    traces.close().await;
    let spans = collector.until(|spans| !spans.is_empty()).await;
    let span = &spans[0];
    assert_eq!(span.trace_id, format!("{:032x}", PARENT.trace_id));
    assert_eq!(span.span_id, format!("{:016x}", context.span_id));
    assert_eq!(span.parent_span_id, Some(format!("{:016x}", PARENT.span_id)));
    assert_eq!((span.name.as_str(), span.kind), ("POST /payments", Kind::Server));
    assert_eq!(span.status, devstack::traces::Status::Error);
    let attributes: Vec<(&str, String)> =
        span.attributes.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
    let expected = [
        ("error.type", r#""overloaded""#),
        ("http.request.method", r#""POST""#),
        ("http.response.status_code", "503"),
        ("http.route", r#""/payments""#),
        ("kilat.payment.id", r#""PAY-1""#),
        ("kilat.problem", r#""overloaded""#),
        ("kilat.request.id", r#""mine""#),
        ("url.scheme", r#""http""#),
    ];
    assert_eq!(attributes, expected.map(|(name, value)| (name, value.to_owned())));
    let resource = |name: &str| span.resource.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    assert_eq!(
        ["service.name", "service.namespace", "service.version"].map(resource),
        ["risk", "kilat", env!("CARGO_PKG_VERSION")]
    );
    assert_eq!(resource("service.instance.id").len(), 32);
}

#[tokio::test]
async fn nothing_is_recorded_where_nobody_collects_or_telemetry_is_off() {
    let away = TestPort::take();
    let address = format!("http://127.0.0.1:{}", away.number());
    for (endpoint, enabled) in [("", true), (address.as_str(), false)] {
        let (traces, _) = open(endpoint, enabled);
        assert!(traces.publish(Some(PARENT), Stream::Accepted, 1).is_none(), "{endpoint}");
        let request_id = RequestId::fresh();
        assert!(traces.request(Some(PARENT), Method::Get, Route::Payment, &request_id).is_none());
        assert!(traces.request(None, Method::Get, Route::Payment, &request_id).is_none());
        traces.close().await;
    }
}
