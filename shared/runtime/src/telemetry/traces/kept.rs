//! Spans that a test keeps and looks at.

use super::queue::{Queue, SpanCounts, Waiting};
use super::{Traces, resource};
use crate::config::{Config, StackConfig};
use crate::telemetry::Metrics;
use domain::TraceContext;
use opentelemetry::trace::{SpanContext, Status};
use opentelemetry_sdk::trace::SpanData;
use std::collections::BTreeMap;
use wire::Role;

/// What has been recorded.
pub(crate) struct KeptSpans(Waiting);

/// A span that has ended.
#[derive(Debug)]
pub(crate) struct KeptSpan {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) context: TraceContext,
    /// Zero where there is none.
    pub(crate) parent: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) links: Vec<TraceContext>,
    pub(crate) is_error: bool,
}

impl Traces {
    /// Records every trace whose client asks for it, and no other.
    pub(crate) fn kept() -> (Traces, KeptSpans) {
        let (queue, waiting) = Queue::new(SpanCounts::new(&Metrics::new(Role::Risk, false).unwrap()));
        let mut config = Config::on(StackConfig::shifted(0));
        config.telemetry.sample_ratio = 0.0;
        (Traces::recording(&config, resource(Role::Risk), queue, None), KeptSpans(waiting))
    }
}

impl KeptSpans {
    /// Those that have ended since the last look, in the order of their ends.
    pub(crate) fn ended(&mut self) -> Vec<KeptSpan> {
        std::iter::from_fn(|| self.0.try_recv().ok()).map(kept).collect()
    }
}

impl KeptSpan {
    /// An attribute's value; empty where it has none of this name.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn kept(span: SpanData) -> KeptSpan {
    assert_eq!((span.dropped_attributes_count, span.links.dropped_count), (0, 0), "{}", span.name);
    let attributes = span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string()));
    let count = span.attributes.len();
    let kept = KeptSpan {
        name: span.name.to_string(),
        kind: format!("{:?}", span.span_kind),
        context: context(&span.span_context),
        parent: u64::from_be_bytes(span.parent_span_id.to_bytes()),
        attributes: attributes.collect(),
        links: span.links.iter().map(|link| context(&link.span_context)).collect(),
        is_error: matches!(span.status, Status::Error { .. }),
    };
    assert_eq!(kept.attributes.len(), count, "each attribute of {} is written once", kept.name);
    kept
}

fn context(context: &SpanContext) -> TraceContext {
    TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        is_sampled: context.is_sampled(),
    }
}
