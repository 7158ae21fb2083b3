//! How many messages a request of spans is made of, before any of them is decoded: an empty one takes two
//! bytes to send, and some hundreds in memory.

use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

/// A message of a request that may hold others.
#[derive(Debug, Clone, Copy)]
enum Part {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    KeyValue,
    AnyValue,
    Array,
    KeyValueList,
    /// One that holds none.
    Leaf,
}

impl Part {
    /// What a field of it is, by its number in `opentelemetry/proto`; nothing where it is no message.
    fn within(self, field: u32) -> Option<Self> {
        match (self, field) {
            (Self::Request, 1) => Some(Self::ResourceSpans),
            (Self::ResourceSpans, 1) => Some(Self::Resource),
            (Self::ResourceSpans, 2) => Some(Self::ScopeSpans),
            (Self::ScopeSpans, 1) => Some(Self::Scope),
            (Self::ScopeSpans, 2) => Some(Self::Span),
            (Self::Span, 11) => Some(Self::Event),
            (Self::Span, 13) => Some(Self::Link),
            (Self::Resource, 1) | (Self::Scope | Self::Event, 3) | (Self::Link, 4) | (Self::Span, 9) => {
                Some(Self::KeyValue)
            }
            (Self::KeyValueList, 1) => Some(Self::KeyValue),
            (Self::KeyValue, 2) | (Self::Array, 1) => Some(Self::AnyValue),
            (Self::AnyValue, 5) => Some(Self::Array),
            (Self::AnyValue, 6) => Some(Self::KeyValueList),
            (Self::Span, 15) | (Self::Resource, 3) => Some(Self::Leaf),
            _ => None,
        }
    }
}

/// Whether a request is made of at most so many messages. What is malformed ends the count of the message that
/// it is in, as it ends the decoding of all.
pub(super) fn are_at_most(max: usize, request: &[u8]) -> bool {
    let mut count = 0;
    let mut waiting = vec![(request, Part::Request)];
    while let Some((mut rest, part)) = waiting.pop() {
        while let Ok((field, wire_type)) = decode_key(&mut rest) {
            if wire_type != WireType::LengthDelimited {
                if skip_field(wire_type, field, &mut rest, DecodeContext::default()).is_err() {
                    break;
                }
                continue;
            }
            let Ok(length) = prost::decode_length_delimiter(&mut rest) else { break };
            let Some((inside, after)) = rest.split_at_checked(length) else { break };
            rest = after;
            if let Some(part) = part.within(field) {
                count += 1;
                if count > max {
                    return false;
                }
                waiting.push((inside, part));
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::are_at_most;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
    use prost::Message;

    #[test]
    fn every_message_of_a_request_counts() {
        let value = |value| Some(AnyValue { value: Some(value) });
        let text = KeyValue { value: value(Value::StringValue("\n\0".to_owned())), ..KeyValue::default() };
        let values = vec![AnyValue::default(); 3];
        let list = KeyValue { value: value(Value::ArrayValue(ArrayValue { values })), ..KeyValue::default() };
        let event = Event { attributes: vec![text.clone()], ..Event::default() };
        let link = Link { attributes: vec![text.clone()], ..Link::default() };
        let span = Span {
            start_time_unix_nano: 1,
            attributes: vec![text.clone(), list],
            events: vec![event],
            links: vec![link],
            status: Some(Status::default()),
            ..Span::default()
        };
        let group = ResourceSpans {
            resource: Some(Resource { attributes: vec![text], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![span, Span::default()], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        let whole = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();
        // The group, its resource with 2, its scope; a span with 2 + 6, an event of 3, a link of 3 and a
        // status; and an empty span.
        let parts = 1 + 3 + 1 + (1 + 8 + 3 + 3 + 1) + 1;
        let empty_spans = [&[0x0a, 0x06, 0x12, 0x04][..], &[0x12, 0x00].repeat(2)].concat();
        let cut_off = &whole[..whole.len() - 1];
        for (request, parts) in
            [(whole.as_slice(), parts), (cut_off, 0), (&empty_spans, 4), (&[], 0), (b"junk", 0)]
        {
            assert!(are_at_most(parts, request), "{request:?}");
            assert!(parts == 0 || !are_at_most(parts - 1, request), "{request:?}");
        }
    }
}
