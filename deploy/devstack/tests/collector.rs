//! The receiver of spans: what it takes, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod otlp;

use devstack::testing::TestCollector;
use devstack::traces::{Kind, Status};
use otlp::{PROTOBUF, answer, request};

const MEBIBYTE: usize = 1 << 20;

fn address(collector: &TestCollector) -> &str {
    collector.endpoint().strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn spans_come_as_they_were_sent() {
    let collector = TestCollector::start().await;
    let body = request(2);
    let head = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\nContent-Length: {}", body.len());
    let answer = answer(address(&collector), &head, &body);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"), "{answer}");
    let spans = collector.until(|spans| spans.len() == 2).await;
    let [span, _] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((span.trace_id.as_str(), span.span_id.as_str()), (&*"4b".repeat(16), &*"01".repeat(8)));
    assert_eq!(span.parent_span_id.as_deref(), Some(&*"02".repeat(8)));
    assert_eq!((span.service.as_str(), span.name.as_str()), ("risk", "risk"));
    assert_eq!((span.kind, span.status, span.duration_ns()), (Kind::Consumer, Status::Unset, 2_500));
    assert_eq!(span.text("kilat.payment.id"), Some("PAY-1"));
    assert_eq!(span.links[0].trace_id, "05".repeat(16));
    assert_eq!(span.resource.keys().collect::<Vec<_>>(), ["service.name"], "what is long is not repeated");
}

#[tokio::test]
async fn what_is_no_spans_is_refused() {
    let collector = TestCollector::start().await;
    let good = request(1);
    let length = good.len();
    let post = |head: &str| format!("POST /v1/traces HTTP/1.1\r\n{head}");
    let typed = |length: usize| post(&format!("{PROTOBUF}\r\nContent-Length: {length}"));
    let many = request(65_537);
    let chunked = [b"800001\r\n".to_vec(), vec![0; 8 * MEBIBYTE + 1], b"\r\n0\r\n\r\n".to_vec()].concat();
    // A million empty spans.
    let empty =
        [&[0x0a, 0x84, 0x89, 0x7a, 0x12, 0x80, 0x89, 0x7a][..], &[0x12, 0x00].repeat(1_000_000)].concat();
    let rows: [(String, &[u8], &str, &str); 11] = [
        (format!("GET /v1/traces HTTP/1.1\r\n{PROTOBUF}"), b"", "405", "allow: POST"),
        (
            format!("POST /v1/metrics HTTP/1.1\r\n{PROTOBUF}\r\nContent-Length: {length}"),
            &good,
            "404",
            "/v1/traces",
        ),
        (post("Content-Type: application/json\r\nContent-Length: 2"), b"{}", "415", "application/x-protobuf"),
        (post("Content-Length: 2"), b"{}", "415", "application/x-protobuf"),
        (format!("{}\r\nContent-Encoding: gzip", typed(length)), &good, "415", "content encoding"),
        (typed(4), b"junk", "400", "no ExportTraceServiceRequest"),
        (typed(length), &good[..length - 1], "400", "ended early"),
        (typed(8 * MEBIBYTE + 1), b"\0", "413", "8 MiB"),
        (post(&format!("{PROTOBUF}\r\nTransfer-Encoding: chunked")), &chunked, "413", "8 MiB"),
        (typed(many.len()), &many, "413", "65,536 spans"),
        (typed(empty.len()), &empty, "413", "524,288 parts"),
    ];
    for (head, body, status, said) in rows {
        let answer = answer(address(&collector), &head, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(said),
            "{head}: {answer}"
        );
    }
    assert_eq!(collector.spans(), []);
    // It goes on taking spans.
    assert!(answer(address(&collector), &typed(length), &good).starts_with("HTTP/1.1 200"));
    collector.until(|spans| spans.len() == 1).await;
}
