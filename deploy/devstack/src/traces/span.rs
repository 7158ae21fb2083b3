//! A span as it is kept: one line of JSON.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{self as otlp, span::SpanKind, status::StatusCode};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Each span carries those of its resource: what is short once is long a thousand times.
const RESOURCE_ATTRIBUTES_MAX: usize = 16;
const RESOURCE_ATTRIBUTE_BYTES_MAX: usize = 256;

/// Attributes by their names.
pub type Attributes = BTreeMap<String, Value>;

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span below which this one stands; it may be a client's, which nobody sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// The resource's `service.name`.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Which side of a call or a message it is.
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// How it went.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status_message: String,
    /// Of this span alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// Of whoever made the span.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: Attributes,
    /// What happened meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SpanEvent>,
    /// Spans of this and other traces that it has to do with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SpanLink>,
}

/// Which side of a call or a message a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Neither.
    Internal,
    /// It answers a call.
    Server,
    /// It calls.
    Client,
    /// It sends a message.
    Producer,
    /// It takes a message.
    Consumer,
}

/// How a span went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing was said of it.
    Unset,
    /// As it should.
    Ok,
    /// It failed.
    Error,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// What happened.
    pub name: String,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// Of this event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
}

/// Another span, by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
}

impl Span {
    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }

    /// Nanoseconds from its start to its end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// The spans of a request, each with the resource that sent it.
    pub(super) fn all_of(request: ExportTraceServiceRequest) -> Vec<Self> {
        let mut spans = Vec::new();
        for group in request.resource_spans {
            let resource = bounded(group.resource.map(|resource| resource.attributes).unwrap_or_default());
            let of_scopes = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_scopes.map(|span| Self::of(span, &resource)));
        }
        spans
    }

    fn of(span: otlp::Span, resource: &Attributes) -> Self {
        let kind = match SpanKind::try_from(span.kind) {
            Ok(SpanKind::Server) => Kind::Server,
            Ok(SpanKind::Client) => Kind::Client,
            Ok(SpanKind::Producer) => Kind::Producer,
            Ok(SpanKind::Consumer) => Kind::Consumer,
            Ok(SpanKind::Unspecified | SpanKind::Internal) | Err(_) => Kind::Internal,
        };
        let said = span.status.unwrap_or_default();
        let status = match StatusCode::try_from(said.code) {
            Ok(StatusCode::Ok) => Status::Ok,
            Ok(StatusCode::Error) => Status::Error,
            Ok(StatusCode::Unset) | Err(_) => Status::Unset,
        };
        let event = |event: otlp::span::Event| SpanEvent {
            name: event.name,
            unix_ns: event.time_unix_nano,
            attributes: attributes(event.attributes),
        };
        let link = |link: otlp::span::Link| SpanLink {
            trace_id: hexadecimal(&link.trace_id),
            span_id: hexadecimal(&link.span_id),
        };
        Self {
            trace_id: hexadecimal(&span.trace_id),
            span_id: hexadecimal(&span.span_id),
            parent_span_id: Some(hexadecimal(&span.parent_span_id)).filter(|id| !id.is_empty()),
            service: resource.get("service.name").and_then(Value::as_str).unwrap_or("unknown").to_owned(),
            name: span.name,
            kind,
            start_unix_ns: span.start_time_unix_nano,
            end_unix_ns: span.end_time_unix_nano,
            status,
            status_message: said.message,
            attributes: attributes(span.attributes),
            resource: resource.clone(),
            events: span.events.into_iter().map(event).collect(),
            links: span.links.into_iter().map(link).collect(),
        }
    }
}

/// What every span of a group repeats.
fn bounded(mut pairs: Vec<KeyValue>) -> Attributes {
    pairs.retain(|pair| pair.encoded_len() <= RESOURCE_ATTRIBUTE_BYTES_MAX);
    pairs.truncate(RESOURCE_ATTRIBUTES_MAX);
    attributes(pairs)
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(truth)) => truth.into(),
        Some(any_value::Value::IntValue(number)) => number.into(),
        Some(any_value::Value::DoubleValue(number)) => number.into(),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.into_iter().map(|item| value(Some(item))).collect()
        }
        Some(any_value::Value::KvlistValue(list)) => {
            Value::Object(list.values.into_iter().map(|pair| (pair.key, value(pair.value))).collect())
        }
        Some(any_value::Value::BytesValue(bytes)) => hexadecimal(&bytes).into(),
        // A place in a table that only profiles have.
        Some(any_value::Value::StringValueStrindex(_)) | None => Value::Null,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
