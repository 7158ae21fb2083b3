//! What each kind of span says of itself, by OpenTelemetry's semantic conventions for HTTP, messaging,
//! databases and RPC; what those have no name for begins with `kilat.`.

use super::{Span, Traces};
use crate::ids::RequestId;
use domain::{StageName, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use url::Url;
use wire::service::Endpoint;
use wire::{Method, Route, Stream, Subject};

/// The database as a client's span names it.
#[derive(Debug, Default)]
pub(super) struct Database {
    address: String,
    port: i64,
    name: String,
}

impl Database {
    /// The one behind this URL; its credentials are no part of it.
    pub(super) fn of(url: &str) -> Database {
        let Ok(url) = Url::parse(url) else { return Database::default() };
        Database {
            address: url.host_str().unwrap_or_default().to_owned(),
            port: i64::from(url.port().unwrap_or(5432)),
            name: url.path().trim_start_matches('/').to_owned(),
        }
    }
}

domain::closed_set! {
    /// What a stage asks of the ledger.
    LedgerOperation {
        /// Destinations' currencies.
        AccountCurrencies = "account_currencies",
        /// Holds.
        Reserve = "reserve",
        /// Postings.
        Settle = "settle",
        /// Refusals, recorded.
        RecordRejections = "record_rejections",
    }
}

impl LedgerOperation {
    /// What a stage does with each batch, and nothing else in its judgement.
    pub(crate) const fn of(stage: StageName) -> Option<LedgerOperation> {
        match stage {
            // Fx asks only for what it does not remember, and says itself when it does.
            StageName::Risk | StageName::Fx => None,
            StageName::Reserve => Some(LedgerOperation::Reserve),
            StageName::Settle => Some(LedgerOperation::Settle),
            StageName::SettleRejected => Some(LedgerOperation::RecordRejections),
        }
    }
}

/// A delivery as its span describes it.
#[derive(Debug, Clone, Copy)]
pub struct Consumed<'d> {
    /// What its headers say it comes from.
    pub parent: Option<TraceContext>,
    /// Who consumes it.
    pub stage: StageName,
    /// Where it comes from.
    pub stream: Stream,
    /// The subject that it was stored under.
    pub subject: &'d str,
    /// Its sequence in the stream.
    pub seq: u64,
    /// How many times it has been delivered, this one included.
    pub attempt: u64,
    /// How many times its payment has been driven again.
    pub redrives: u32,
    /// The size of its message, in bytes.
    pub size: usize,
}

impl Traces {
    /// A request that came in, if its trace is recorded: by the client's wish, or by chance.
    pub fn request(
        &self,
        client: Option<TraceContext>,
        method: Method,
        route: Route,
        request_id: &RequestId,
    ) -> Option<Span> {
        let recorder = self.0.as_ref()?;
        let is_payment = matches!(route, Route::Payments | Route::PaymentBatch) && method == Method::Post;
        if !recorder.sampler.is_traced(client, is_payment) {
            return None;
        }
        let (named, method) = match method {
            Method::Other | Method::Nats => ("HTTP", "_OTHER"),
            known => (known.as_str(), known.as_str()),
        };
        let (name, mut attributes) = (
            format!("{named} {route}"),
            vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("url.scheme", "http"),
                KeyValue::new("kilat.request.id", request_id.to_string()),
            ],
        );
        if route != Route::Other {
            attributes.push(KeyValue::new("http.route", route.as_str()));
        }
        match client {
            Some(_) => self.below(client, SpanKind::Server, name, attributes),
            None => self.first(SpanKind::Server, name, attributes),
        }
    }

    /// A message on its way into a stream.
    pub fn publish(&self, parent: Option<TraceContext>, stream: Stream, size: usize) -> Option<Span> {
        parent.filter(|parent| parent.is_sampled)?;
        let mut attributes = publishing(stream);
        attributes.push(KeyValue::new("messaging.message.body.size", whole(size)));
        self.below(parent, SpanKind::Producer, format!("publish {}", hop(stream)), attributes)
    }

    /// Messages of this batch on their way, where there are traced ones among them, which the links name.
    pub fn publish_batch(&self, links: Vec<TraceContext>, stream: Stream, count: usize) -> Option<Span> {
        links.first()?;
        let mut attributes = publishing(stream);
        attributes.push(KeyValue::new("messaging.batch.message_count", whole(count)));
        self.of_batch(SpanKind::Client, format!("publish {} batch", hop(stream)), links, attributes)
    }

    /// A payment at a stage.
    pub fn consume(&self, delivery: &Consumed<'_>) -> Option<Span> {
        delivery.parent.filter(|parent| parent.is_sampled)?;
        let mut attributes = consuming(delivery.stage, delivery.stream);
        attributes.extend([
            KeyValue::new("messaging.message.body.size", whole(delivery.size)),
            KeyValue::new("messaging.nats.sequence", i64::try_from(delivery.seq).unwrap_or(i64::MAX)),
            KeyValue::new("kilat.payment.id", payment_id(delivery.subject)),
            KeyValue::new("kilat.delivery.attempt", i64::try_from(delivery.attempt).unwrap_or(i64::MAX)),
        ]);
        if delivery.redrives > 0 {
            attributes.push(KeyValue::new("kilat.redrives", i64::from(delivery.redrives)));
        }
        self.below(delivery.parent, SpanKind::Consumer, delivery.stage.as_str(), attributes)
    }

    /// A stage's batch with traced payments in it, which the links name.
    pub fn consume_batch(
        &self,
        links: Vec<TraceContext>,
        stage: StageName,
        stream: Stream,
        count: usize,
    ) -> Option<Span> {
        links.first()?;
        let mut attributes = consuming(stage, stream);
        attributes.push(KeyValue::new("messaging.batch.message_count", whole(count)));
        self.of_batch(SpanKind::Consumer, format!("{stage} batch"), links, attributes)
    }

    /// What a batch asks of the ledger, below each payment of it that is traced.
    pub fn ask_ledger(
        &self,
        parents: impl Iterator<Item = TraceContext>,
        operation: LedgerOperation,
        batch_size: usize,
    ) -> Vec<Span> {
        let Some(Database { address, port, name }) = self.0.as_ref().map(|recorder| &recorder.database)
        else {
            return Vec::new();
        };
        let span = |parent: TraceContext| {
            let mut attributes = vec![
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.namespace", name.clone()),
                KeyValue::new("db.operation.name", operation.as_str()),
                KeyValue::new("server.address", address.clone()),
                KeyValue::new("server.port", *port),
            ];
            // One operation is no batch, say the conventions.
            if batch_size > 1 {
                attributes.push(KeyValue::new("db.operation.batch.size", whole(batch_size)));
            }
            self.below(Some(parent), SpanKind::Client, format!("ledger {operation}"), attributes)
        };
        parents.filter_map(span).collect()
    }

    /// A request to a service, as whoever asks has it.
    pub fn ask(&self, parent: Option<TraceContext>, endpoint: Endpoint) -> Option<Span> {
        self.call(parent, endpoint, SpanKind::Client)
    }

    /// A request to a service, as whoever answers has it. Whoever may ask may set the flag, so what is
    /// followed is bounded here too.
    pub fn serve(&self, parent: Option<TraceContext>, endpoint: Endpoint) -> Option<Span> {
        parent.filter(|parent| parent.is_sampled)?;
        if !self.0.as_ref()?.sampler.follows_call() {
            return None;
        }
        self.call(parent, endpoint, SpanKind::Server)
    }

    fn call(&self, parent: Option<TraceContext>, endpoint: Endpoint, kind: SpanKind) -> Option<Span> {
        parent.filter(|parent| parent.is_sampled)?;
        let attributes =
            vec![KeyValue::new("rpc.system.name", "nats"), KeyValue::new("rpc.method", endpoint.subject())];
        self.below(parent, kind, endpoint.subject(), attributes)
    }
}

/// The id of the payment that a subject names; of one that is not ours, what stands in its place.
fn payment_id(subject: &str) -> String {
    let token = || Subject::payment_token(subject).to_owned();
    Subject::payment(subject).map_or_else(|_| token(), |payment| payment.id.as_str().to_owned())
}

fn publishing(stream: Stream) -> Vec<KeyValue> {
    let mut attributes = at(stream);
    attributes.extend([
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.operation.type", "send"),
    ]);
    attributes
}

fn consuming(stage: StageName, stream: Stream) -> Vec<KeyValue> {
    let mut attributes = at(stream);
    attributes.extend([
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.consumer.group.name", stage.as_str()),
        KeyValue::new("messaging.nats.stream", stream.name()),
    ]);
    attributes
}

fn at(stream: Stream) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.destination.name", stream.name()),
        KeyValue::new("messaging.destination.template", stream.subjects().into_string()),
    ]
}

/// What the stream carries, in a span's name.
fn hop(stream: Stream) -> &'static str {
    stream.hop().map_or("dead", wire::Hop::as_str)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
