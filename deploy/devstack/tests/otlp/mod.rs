//! Spans as an exporter sends them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message;

pub(crate) const PROTOBUF: &str = "Content-Type: application/x-protobuf";

fn attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// So many spans of the service `risk` and the payment `PAY-1`.
pub(crate) fn request(count: usize) -> Vec<u8> {
    let span = Span {
        trace_id: vec![0x4b; 16],
        span_id: vec![0x01; 8],
        parent_span_id: vec![0x02; 8],
        name: "risk".to_owned(),
        kind: span::SpanKind::Consumer.into(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 3_500,
        attributes: vec![attribute("kilat.payment.id", "PAY-1")],
        links: vec![span::Link { trace_id: vec![0x05; 16], span_id: vec![0x06; 8], ..span::Link::default() }],
        ..Span::default()
    };
    let attributes = vec![attribute("service.name", "risk"), attribute("too.long", &"x".repeat(300))];
    let group = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span; count], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// Sends a head and a body, and returns the whole answer. The end of one that is too short is sent too.
pub(crate) fn answer(address: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{head}\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // An answer may come before the body has gone.
    let _ = stream.write_all(body);
    if head.contains(&format!("Content-Length: {}", body.len() + 1)) {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}
