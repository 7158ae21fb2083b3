//! Spans: what each payment that is traced met on its way, sent to whoever collects them by OTLP over HTTP.
//!
//! A span exists only where its trace is recorded. Whether it is, is decided once, at the border
//! ([`Traces::request`]); everyone after that goes by the parent that a request or a message carries. What
//! belongs to no recorded trace costs one look at an `Option`.
//!
//! Nothing waits for spans: those that find the queue full, or cannot be sent, are counted and gone. The
//! queue and the sender are ours, and not the SDK's batch processor: that one drops without saying how many,
//! has a thread per role, and is set by `OTEL_*` variables behind the configuration's back.

mod described;
#[cfg(test)]
mod kept;
mod queue;
mod sampling;
mod sender;
mod span;

pub use described::{Consumed, LedgerOperation};
#[cfg(test)]
pub(crate) use kept::{KeptSpan, KeptSpans};
pub use span::{Outcome, Span};

use crate::config::Config;
use crate::telemetry::Metrics;
use described::Database;
use domain::TraceContext;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracer, SdkTracerProvider, SpanLimits};
use queue::{Queue, SpanCounts};
use sampling::Sampler;
use sender::{Sender, Sending};
use std::borrow::Cow;
use std::sync::Arc;
use wire::Role;

/// A batch has at most 1,000 messages, each with a link of its own.
const LINKS_MAX: u32 = wire::limits::BATCH_MAX as u32;

/// Far more than any span of ours has.
const ATTRIBUTES_MAX: u32 = 64;

/// Makes the spans of one role; clones share what they record to. Where nobody collects spans it makes none.
#[derive(Clone)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    tracer: SdkTracer,
    sampler: Sampler,
    database: Database,
    sending: Option<Sending>,
}

impl Traces {
    /// Those of a role as it is configured.
    pub fn open(role: Role, config: &Config, metrics: &Metrics) -> Traces {
        let (endpoint, counts) = (&config.telemetry.otlp_endpoint, SpanCounts::new(metrics));
        if endpoint.is_empty() || !config.telemetry.enabled {
            return Traces::inert();
        }
        let resource = resource(role);
        let (queue, waiting) = Queue::new(counts.clone());
        let sending = Sender::new(endpoint, &resource, counts, waiting).start();
        Traces::recording(config, resource, queue, Some(sending))
    }

    /// Makes no spans.
    pub fn inert() -> Traces {
        Traces(None)
    }

    fn recording(config: &Config, resource: Resource, queue: Queue, sending: Option<Sending>) -> Traces {
        // Every limit is given here, or the environment's would hold.
        let limits = SpanLimits {
            max_events_per_span: 0,
            max_attributes_per_span: ATTRIBUTES_MAX,
            max_links_per_span: LINKS_MAX,
            max_attributes_per_event: 0,
            max_attributes_per_link: 0,
        };
        let provider = SdkTracerProvider::builder()
            .with_sampler(SdkSampler::AlwaysOn)
            .with_span_limits(limits)
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        Traces(Some(Arc::new(Recorder {
            tracer: provider.tracer("kilat"),
            sampler: Sampler::new(config.telemetry.sample_ratio),
            database: Database::of(&config.postgres.url),
            sending,
        })))
    }

    /// Sends what has ended, within a few seconds; what ends later is dropped.
    pub async fn close(&self) {
        if let Some(sending) = self.0.as_ref().and_then(|recorder| recorder.sending.as_ref()) {
            sending.end().await;
        }
    }

    /// A span below another, if that is recorded.
    fn below(
        &self,
        parent: Option<TraceContext>,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        attributes: Vec<KeyValue>,
    ) -> Option<Span> {
        let parent = parent.filter(|parent| parent.is_sampled)?;
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        self.build(builder, &Context::new().with_remote_span_context(span_context(parent)))
    }

    /// A span about everything that the links name. It stands in the trace of the first: in one of its own
    /// there would be as many traces as batches.
    fn of_batch(
        &self,
        kind: SpanKind,
        name: String,
        links: Vec<TraceContext>,
        attributes: Vec<KeyValue>,
    ) -> Option<Span> {
        let context = Context::new().with_remote_span_context(span_context(*links.first()?));
        let links = links.into_iter().map(|link| Link::with_context(span_context(link))).collect();
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        self.build(builder.with_attributes(attributes).with_links(links), &context)
    }

    /// A span that begins a trace.
    fn first(
        &self,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        attributes: Vec<KeyValue>,
    ) -> Option<Span> {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        self.build(builder, &Context::new())
    }

    fn build(&self, builder: SpanBuilder, context: &Context) -> Option<Span> {
        Some(Span::new(self.0.as_ref()?.tracer.build_with_context(builder, context)))
    }
}

/// Another span as the SDK knows it. That it may be of this very process makes no difference to anyone.
fn span_context(context: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from(context.trace_id),
        SpanId::from(context.span_id),
        if context.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED },
        true,
        TraceState::NONE,
    )
}

/// Who records. Nothing is read from the environment.
fn resource(role: Role) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", role.as_str()),
            KeyValue::new("service.namespace", "kilat"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", crate::ids::fresh()),
            KeyValue::new("telemetry.sdk.language", "rust"),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        ])
        .build()
}

#[cfg(test)]
mod tests;
