//! Declaring streams and consumers: at start, and again whenever one is missing.

use super::{Broker, BrokerError};
use crate::config::PipelineConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, consumer};
use std::time::Duration;
use wire::limits::MESSAGE_BYTES_MAX;
use wire::{Place, Stream};

/// What a dead letter needs beside the largest message that any stream lets through: its reason, and more.
const DEAD_LETTER_BYTES: i32 = 16 << 10;

impl Broker {
    /// Declares every stream of the pipeline and the consumer of each that has one. What exists stays as it
    /// is.
    pub async fn declare_all(&self, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        self.require_connection()?;
        for stream in Stream::all(pipeline.shards) {
            self.declare(stream, pipeline).await?;
        }
        Ok(())
    }

    /// Declares one stream and its consumer.
    pub(super) async fn declare(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        self.declare_stream(stream, pipeline).await?;
        if stream.consumer().is_some() {
            self.declare_consumer(stream, pipeline).await?;
        }
        Ok(())
    }

    async fn declare_stream(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        match self.reading.get_stream(stream.name()).await {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                _ => return Err(BrokerError::unavailable(error)),
            },
        }
        match self.reading.create_stream(stream_config(stream, pipeline)).await {
            Ok(_) => {
                tracing::info!(%stream, "declared stream");
                Ok(())
            }
            // Another process declared it in the meantime, with its own first sequence.
            Err(error) => match error.kind() {
                CreateStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NAME_EXIST =>
                {
                    Ok(())
                }
                _ => Err(BrokerError::unavailable(error)),
            },
        }
    }

    pub(super) async fn declare_consumer(
        &self,
        stream: Stream,
        pipeline: &PipelineConfig,
    ) -> Result<consumer::Consumer<pull::Config>, BrokerError> {
        let name = stream.consumer().map(|stage| stage.as_str().to_owned());
        let config = pull::Config {
            durable_name: name,
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_millis(pipeline.ack_wait_ms),
            max_ack_pending: pipeline.ack_pending_max,
            // Never given up by count: burial is the harness' decision.
            max_deliver: -1,
            ..Default::default()
        };
        self.reading.create_consumer_on_stream(config, stream.name()).await.map_err(|error| {
            match error.kind() {
                async_nats::jetstream::stream::ConsumerErrorKind::JetStream(answer) => {
                    BrokerError::of_code(&answer)
                }
                _ => BrokerError::unavailable(error),
            }
        })
    }
}

/// What a stream keeps, and for how long.
pub(super) fn stream_config(stream: Stream, pipeline: &PipelineConfig) -> Config {
    let base = Config {
        name: stream.name(),
        subjects: vec![stream.subjects().into_string()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_message_size: MESSAGE_BYTES_MAX,
        allow_direct: true,
        allow_atomic_publish: true,
        num_replicas: 1,
        ..Default::default()
    };
    let in_memory = Config {
        storage: StorageType::Memory,
        max_messages: pipeline.stream_messages_max,
        max_bytes: pipeline.stream_bytes_max,
        first_sequence: Some(first_sequence()),
        ..base.clone()
    };
    match stream.place() {
        Some(Place::Intake) => Config {
            storage: StorageType::File,
            max_bytes: pipeline.accepted_bytes_max,
            max_messages: pipeline.accepted_messages_max,
            max_messages_per_subject: 1,
            ..base
        },
        Some(Place::OnTheWay | Place::Refused) => in_memory,
        Some(Place::End) => Config { discard: DiscardPolicy::Old, ..in_memory },
        None => Config {
            storage: StorageType::File,
            max_message_size: MESSAGE_BYTES_MAX + DEAD_LETTER_BYTES,
            ..base
        },
    }
}

/// Where a memory stream starts to count: the Unix time in microseconds. A stream that is declared again must
/// not reuse sequences, or late acknowledgements of the vanished one would remove new messages unprocessed.
fn first_sequence() -> u64 {
    u64::try_from(crate::clock::now().micros()).unwrap_or(1)
}
