//! Streams and consumers, and from them how far each stage is behind.

use domain::Timestamp;
use futures::StreamExt;
use runtime::broker::{Broker, ConsumerFigures, StreamFigures};
use runtime::process::chain;
use runtime::telemetry::{Observed, Sample};
use signals::{Metric, metric};
use std::time::Duration;
use wire::{StageName, Stream};

/// What a look tells.
pub(super) const SHOWN: &[Metric] = &[
    metric::STREAM_MESSAGES,
    metric::STREAM_BYTES,
    metric::STREAM_BYTES_MAX,
    metric::CONSUMER_PENDING,
    metric::CONSUMER_ACK_PENDING,
    metric::CONSUMER_REDELIVERED,
    metric::STAGE_LAG,
    metric::STAGE_BACKLOG_AGE,
];

/// Streams that are asked for at once: one that does not answer holds up no other.
const AT_ONCE: usize = 8;

/// Looks at every stream of the pipeline.
pub(super) struct StreamLooks {
    pub(super) broker: Broker,
    pub(super) shards: u16,
    pub(super) observed: Observed,
}

impl StreamLooks {
    pub(super) async fn look(&self) -> Result<(), String> {
        let asked = futures::stream::iter(Stream::all(self.shards));
        let looks: Vec<_> = asked
            .map(async |stream| (stream, self.broker.figures(stream).await.map_err(|error| chain(&error))))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let now = runtime::clock::now();
        let (mut samples, mut outcome) = (Vec::new(), Ok(()));
        for (stream, figures) in looks {
            match figures {
                // A missing stream has no figures: its stage or the next round declares it again.
                Ok(figures) => {
                    samples.extend(figures.iter().flat_map(|figures| of_stream(stream, figures, now)))
                }
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok() || !samples.is_empty() {
            self.observed.seen(samples);
        }
        outcome
    }
}

fn of_stream(stream: Stream, figures: &StreamFigures, now: Timestamp) -> Vec<Sample> {
    let StreamFigures { bounds, consumer } = figures;
    let labels = || [stream.name()];
    let mut samples = vec![
        Sample::count(metric::STREAM_MESSAGES, labels(), bounds.messages),
        Sample::count(metric::STREAM_BYTES, labels(), bounds.bytes),
    ];
    samples.extend(bounds.bytes_max.map(|max| Sample::count(metric::STREAM_BYTES_MAX, labels(), max)));
    if let (Some(stage), Some(consumer)) = (stream.consumer(), consumer) {
        samples.extend(of_consumer(stream, stage, consumer, now));
    }
    samples
}

fn of_consumer(stream: Stream, stage: StageName, figures: &ConsumerFigures, now: Timestamp) -> [Sample; 5] {
    let ConsumerFigures { progress, redelivered, oldest_waiting } = figures;
    let consumer = || [stream.name(), stage.to_string()];
    let shard = || [stage.to_string(), stream.shard().to_string()];
    // The broker's clock may be ahead of ours.
    let micros = oldest_waiting.map_or(0, |stored_at| now.micros() - stored_at.micros());
    let age = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    [
        Sample::count(metric::CONSUMER_PENDING, consumer(), progress.pending),
        Sample::count(metric::CONSUMER_ACK_PENDING, consumer(), progress.in_hand),
        Sample::count(metric::CONSUMER_REDELIVERED, consumer(), *redelivered),
        Sample::count(metric::STAGE_LAG, shard(), progress.pending + progress.in_hand),
        Sample::time(metric::STAGE_BACKLOG_AGE, shard(), age),
    ]
}
