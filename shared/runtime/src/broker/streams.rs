//! Declaring streams and consumers: at start, and again whenever one is missing.

use super::{Broker, BrokerError};
use crate::config::PipelineConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, ConsumerError, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{ErrorCode, consumer};
use std::sync::PoisonError;
use std::time::Duration;
use wire::limits::MESSAGE_BYTES_MAX;
use wire::{Place, StageName, Stream};

/// What a dead letter needs beside the largest message that any stream lets through: its reason, and more.
const DEAD_LETTER_BYTES: i32 = 16 << 10;

impl Broker {
    /// Declares every stream of the pipeline and the consumer of each that has one. What exists stays as it
    /// is, but for the first time that this role sees it: then it is given our settings.
    pub async fn declare_all(&self, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        self.require_connection()?;
        for stream in Stream::all(pipeline.shards) {
            self.declare(stream, pipeline).await?;
        }
        Ok(())
    }

    /// Declares one stream and its consumer.
    pub(super) async fn declare(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        let seen_to = || self.seen_to.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !seen_to().contains(&stream);
        let config = stream_config(stream, pipeline);
        self.declare_stream(stream, &config).await?;
        if is_first {
            self.adjust_stream(stream, &config).await?;
        }
        if let Some(stage) = stream.consumer() {
            let config = consumer_config(stage, pipeline);
            self.declare_consumer(stream, &config).await?;
            if is_first {
                self.adjust_consumer(stream, stage.as_str(), &config.into_consumer_config()).await?;
            }
        }
        seen_to().insert(stream);
        Ok(())
    }

    async fn declare_stream(&self, stream: Stream, config: &Config) -> Result<(), BrokerError> {
        match self.reading.get_stream(stream.name()).await {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                _ => return Err(BrokerError::unavailable(error)),
            },
        }
        match self.reading.create_stream(config).await {
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

    async fn declare_consumer(&self, stream: Stream, config: &pull::Config) -> Result<(), BrokerError> {
        if self.consumer_info(stream).await?.is_some() {
            return Ok(());
        }
        self.reading
            .create_consumer_on_stream(config.clone(), stream.name())
            .await
            .map(drop)
            .map_err(of_consumer)
    }

    /// The stream's consumer, as the server has it.
    pub(super) async fn consumer(
        &self,
        stream: Stream,
    ) -> Result<consumer::Consumer<pull::Config>, BrokerError> {
        let stage = stream.consumer().ok_or(BrokerError::Missing)?;
        self.reading.get_consumer_from_stream(stage.as_str(), stream.name()).await.map_err(of_consumer)
    }
}

fn of_consumer(error: ConsumerError) -> BrokerError {
    match error.kind() {
        ConsumerErrorKind::JetStream(answer) => BrokerError::of_code(&answer),
        _ => BrokerError::unavailable(error),
    }
}

fn consumer_config(stage: StageName, pipeline: &PipelineConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(stage.as_str().to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(pipeline.ack_wait_ms),
        max_ack_pending: pipeline.ack_pending_max,
        // Never given up by count: burial is the harness' decision.
        max_deliver: -1,
        ..Default::default()
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
