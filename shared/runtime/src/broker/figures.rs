//! What streams and their consumers have in them, as the server tells it.

use super::{Bounds, Broker, BrokerError, Progress};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use domain::Timestamp;
use wire::Stream;

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFigures {
    /// What it holds.
    pub bounds: Bounds,
    /// How its consumer stands, if it has one.
    pub consumer: Option<ConsumerFigures>,
}

/// The consumer of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerFigures {
    /// How far it has come.
    pub progress: Progress,
    /// Of what it has in hand, what was delivered more than once.
    pub redelivered: u64,
    /// When the oldest message that it has not finished with was stored; nothing when there is none.
    pub oldest_waiting: Option<Timestamp>,
}

impl Broker {
    /// The figures of a stream; nothing when it is missing. The time of the oldest waiting message is read
    /// only where one waits.
    pub async fn figures(&self, stream: Stream) -> Result<Option<StreamFigures>, BrokerError> {
        let Some(bounds) = self.bounds(stream).await? else {
            return Ok(None);
        };
        let Some(info) = self.consumer_info(stream).await? else {
            return Ok(Some(StreamFigures { bounds, consumer: None }));
        };
        let progress = Progress::of(&info);
        let oldest_waiting = match progress.pending + progress.in_hand {
            0 => None,
            _ => self.stored_at_or_after(stream, progress.floor + 1).await?,
        };
        let redelivered = u64::try_from(info.num_redelivered).unwrap_or(0);
        Ok(Some(StreamFigures {
            bounds,
            consumer: Some(ConsumerFigures { progress, redelivered, oldest_waiting }),
        }))
    }

    /// What the server tells of a stream's consumer; nothing when the stream or the consumer is missing.
    pub(super) async fn consumer_info(&self, stream: Stream) -> Result<Option<Info>, BrokerError> {
        self.require_connection()?;
        let Some(stage) = stream.consumer() else {
            return Ok(None);
        };
        let handle =
            self.reading.get_stream_no_info(stream.name()).await.map_err(BrokerError::unavailable)?;
        match handle.consumer_info(stage.as_str()).await {
            Ok(info) => Ok(Some(info)),
            Err(error) => match error.kind() {
                ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Ok(None),
                _ => Err(BrokerError::unavailable(error)),
            },
        }
    }

    /// When the first message from this sequence on was stored. Sequences have gaps where messages were
    /// replaced or purged.
    async fn stored_at_or_after(&self, stream: Stream, seq: u64) -> Result<Option<Timestamp>, BrokerError> {
        let handle =
            self.reading.get_stream_no_info(stream.name()).await.map_err(BrokerError::unavailable)?;
        match handle.get_first_raw_message_by_subject(stream.subjects().as_str(), seq).await {
            Ok(message) => Ok(Some(Timestamp::from(message.time))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(BrokerError::unavailable(error)),
            },
        }
    }
}

impl Progress {
    pub(super) fn of(info: &Info) -> Progress {
        Progress {
            floor: info.ack_floor.stream_sequence,
            delivered: (info.delivered.consumer_sequence > 0).then_some(info.delivered.stream_sequence),
            pending: info.num_pending,
            in_hand: u64::try_from(info.num_ack_pending).unwrap_or(0),
        }
    }
}
