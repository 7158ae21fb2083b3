//! The janitor's rounds on streams and a ledger in memory; every test says what time it is.

mod intake;
mod jumping_clock;
mod late_holds;
mod memory_ledger;
mod purge;
mod standing_still;

use super::{Janitor, Now, RoundError};
use domain::{PaymentKey, Timestamp, TraceContext};
use memory_ledger::{Ledger, held};
use runtime::broker::{MemoryStreams, Outgoing, Streams};
use runtime::config::{Config, JanitorConfig, PipelineConfig, StackConfig};
use runtime::telemetry::{JanitorMetrics, Metrics};
use std::sync::LazyLock;
use std::time::Duration;
use store::memory::MemoryLedger;
use tokio::time::Instant;
use wire::header::Headers;
use wire::{Hop, Role, Stream, Subject};

/// The largest message of a stream, and a quarter of the intake.
const LARGE: usize = 256 << 10;

/// The first copy of everything was accepted, and every hold was made, in this second.
const BEGIN: i64 = 1;

/// The span that payments come from.
const TRACE: TraceContext = TraceContext { trace_id: 7, span_id: 7, is_sampled: true };

/// What its header takes of a stream: its name and its value.
const TRACE_BYTES: usize = 11 + 55;

/// That of a payment with a message of so many bytes: what is to fill a stream has no header beside it.
fn trace(bytes: usize) -> Option<TraceContext> {
    (bytes < 16).then_some(TRACE)
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// This second, by both clocks.
pub(super) fn now(second: i64) -> Now {
    now_where_wall_shows(second, second)
}

/// This second, where the wall clock shows another one.
fn now_where_wall_shows(wall: i64, second: i64) -> Now {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now { wall: at(wall), steady: *BEGIN + Duration::from_secs(u64::try_from(second).unwrap()) }
}

fn key(id: &str) -> PaymentKey {
    PaymentKey::from_token(id).unwrap()
}

/// A janitor and what it works on. Payments are driven again after 30 seconds, and purged 60 after their
/// rows.
struct World {
    streams: MemoryStreams,
    ledger: Ledger,
    metrics: Metrics,
    janitor: Janitor<MemoryStreams, MemoryLedger>,
}

impl World {
    async fn new() -> World {
        World::with(pipeline()).await
    }

    /// With streams as these settings say.
    async fn with(pipeline: PipelineConfig) -> World {
        let (streams, ledger) = (MemoryStreams::default(), Ledger::new());
        let metrics = Metrics::new(Role::Janitor, true).unwrap();
        streams.declare_all(&pipeline).await.unwrap();
        streams.set_now(at(BEGIN));
        let janitor = janitor(&streams, &ledger, &metrics);
        World { streams, ledger, metrics, janitor }
    }

    /// The janitor dies, and another begins.
    fn restart(&mut self) {
        self.janitor = janitor(&self.streams, &self.ledger, &self.metrics);
    }

    async fn publish(&self, hop: Hop, token: &str, bytes: usize) {
        let subject = Subject::all_of(hop, 0).as_str().replace('*', token);
        let headers = Headers { trace: trace(bytes), ..Headers::default() };
        let message = Outgoing { headers, ..Outgoing::new(subject, vec![b'x'; bytes]) };
        self.streams.publish(&message).await.unwrap();
    }

    async fn last_seq(&self, stream: Stream) -> u64 {
        self.streams.bounds(stream).await.unwrap().unwrap().last
    }

    /// The stage behind a stream has acknowledged all that there is.
    async fn acknowledge_all(&self, stream: Stream) {
        self.streams.acknowledge(stream, self.last_seq(stream).await);
    }

    fn set_now(&self, second: i64) {
        self.streams.set_now(at(second));
        self.ledger.set_now(at(second));
    }

    async fn round(&mut self, second: i64) -> Result<(), RoundError> {
        self.set_now(second);
        self.janitor.round(now(second)).await
    }

    /// The tokens of what a stream holds, in order.
    fn tokens(&self, stream: Stream) -> Vec<String> {
        let messages = self.streams.messages(stream);
        messages.iter().map(|message| Subject::payment_token(&message.subject).to_owned()).collect()
    }

    /// The payment is recorded at this second, and its money has moved: nothing is emitted again.
    fn record(&self, token: &str, second: i64) {
        self.ledger.record(held(&key(token), at(BEGIN), 0), at(second), true);
        self.ledger.capture(&key(token), at(second));
    }

    /// The payments of the intake in order, each with how often it was driven again.
    fn intake(&self) -> Vec<String> {
        let messages = self.streams.messages(Stream::Accepted);
        let times = messages.iter().map(|message| message.headers.redrive.map_or(0, |redrive| redrive.times));
        self.tokens(Stream::Accepted)
            .into_iter()
            .zip(times)
            .map(|(token, times)| format!("{token}{times}"))
            .collect()
    }

    /// A metric without labels; nothing when it was never written.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(metric, _)| *metric == name)
            .map(|(_, value)| value.parse().unwrap())
    }
}

fn pipeline() -> PipelineConfig {
    PipelineConfig {
        accepted_bytes_max: 4 * LARGE as i64,
        stream_messages_max: 4,
        ..Config::on(StackConfig::shifted(0)).pipeline
    }
}

fn janitor(
    streams: &MemoryStreams,
    ledger: &Ledger,
    metrics: &Metrics,
) -> Janitor<MemoryStreams, MemoryLedger> {
    let seconds = |seconds| u64::try_from(Duration::from_secs(seconds).as_millis()).unwrap();
    let config = JanitorConfig {
        redrive_after_ms: seconds(30),
        redrive_after_ms_max: seconds(600),
        purge_after_ms: seconds(60),
        ..Config::on(StackConfig::shifted(0)).janitor
    };
    let metrics = JanitorMetrics::new(metrics, Duration::from_secs(30));
    Janitor::new(streams.clone(), ledger.memory.clone(), config, pipeline(), metrics)
}
