//! What the broker can answer, by what is to be done about it.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};

/// Why the broker did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// A message of the batch is stored already. Nothing of the batch was.
    #[error("a message of the batch is stored already")]
    Conflict,
    /// The stream is at its bound. Nothing was stored.
    #[error("the stream is full")]
    Full,
    /// The stream or consumer does not exist. Nothing was stored.
    #[error("the stream or consumer is missing")]
    Missing,
    /// The message itself is objected to, for good: too large. Nothing was stored.
    #[error("the message is refused: {0}")]
    Refused(String),
    /// Nothing was sent, or it was refused: nothing was stored.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It was sent and no answer came: it may or may not be stored.
    #[error("the broker did not answer: {0}")]
    Unknown(String),
}

impl BrokerError {
    /// Which of these it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            BrokerError::Conflict => "conflict",
            BrokerError::Full => "full",
            BrokerError::Missing => "missing",
            BrokerError::Refused(_) => "refused",
            BrokerError::Unavailable(_) => "unavailable",
            BrokerError::Unknown(_) => "unknown",
        }
    }

    /// An error of a read or of administration, where it does not matter whether it was carried out.
    pub(super) fn unavailable(error: impl std::fmt::Display) -> BrokerError {
        BrokerError::Unavailable(error.to_string())
    }

    /// An error code of the server's.
    pub(super) fn of_code(error: &jetstream::Error) -> BrokerError {
        match error.error_code() {
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                BrokerError::Conflict
            }
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => BrokerError::Refused(error.to_string()),
            ErrorCode::STREAM_STORE_FAILED => BrokerError::Full,
            ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => BrokerError::Missing,
            _ => BrokerError::unavailable(error),
        }
    }

    /// The end of a publish.
    pub(super) fn of_publish(error: &PublishError) -> BrokerError {
        match error.kind() {
            PublishErrorKind::WrongLastSequence => BrokerError::Conflict,
            PublishErrorKind::StreamNotFound => BrokerError::Missing,
            PublishErrorKind::MaxPayloadExceeded => BrokerError::Refused(error.to_string()),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                BrokerError::Unknown(error.to_string())
            }
            _ => match std::error::Error::source(error)
                .and_then(|source| source.downcast_ref::<jetstream::Error>())
            {
                Some(answer) => BrokerError::of_code(answer),
                None => BrokerError::Unknown(error.to_string()),
            },
        }
    }
}
