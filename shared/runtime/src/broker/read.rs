//! Reading stored messages: one subject from the leader, or many at once.

use super::{Broker, BrokerError, headers};
use async_nats::header::{NATS_SEQUENCE, NATS_SUBJECT, NATS_TIME_STAMP};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use domain::Timestamp;
use futures::StreamExt;
use wire::header::Headers;
use wire::{Stream, Subject};

/// The most subjects that one direct get may ask for.
const SUBJECTS_MAX: usize = 1_000;

/// A message as a stream keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The subject that it was stored under.
    pub subject: String,
    /// The message, encoded.
    pub payload: Bytes,
    /// Its sequence in the stream.
    pub seq: u64,
    /// When the stream stored it.
    pub stored_at: Timestamp,
    /// What travelled beside it.
    pub headers: Headers,
}

impl Stored {
    /// When the payment was accepted: the first copy's time.
    pub fn accepted_at(&self) -> Timestamp {
        self.headers.accepted_at(self.stored_at)
    }
}

impl Broker {
    /// The last message of a subject, from the stream's leader: what has been acknowledged to a publisher is
    /// seen. A missing stream that is derived holds nothing; a missing intake is an outage.
    pub async fn last(&self, stream: Stream, subject: &Subject) -> Result<Option<Stored>, BrokerError> {
        self.require_connection()?;
        let handle =
            self.reading.get_stream_no_info(stream.name()).await.map_err(BrokerError::unavailable)?;
        match handle.get_last_raw_message_by_subject(subject.as_str()).await {
            Ok(message) => Ok(Some(Stored {
                subject: message.subject.to_string(),
                headers: headers::read(Some(&message.headers)),
                payload: message.payload,
                seq: message.sequence,
                stored_at: Timestamp::from(message.time),
            })),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND && stream.is_derived() =>
                {
                    Ok(None)
                }
                _ => Err(BrokerError::unavailable(error)),
            },
        }
    }

    /// The last message of each subject that has one, in as few requests as possible. A missing derived
    /// stream holds nothing.
    pub async fn last_of_each(
        &self,
        stream: Stream,
        subjects: &[Subject],
    ) -> Result<Vec<Stored>, BrokerError> {
        self.require_connection()?;
        let mut found = Vec::new();
        for part in subjects.chunks(SUBJECTS_MAX) {
            let read = self.direct_get(stream, part, &mut found);
            match tokio::time::timeout(self.timeout, read).await {
                Ok(read) => read?,
                Err(elapsed) => return Err(BrokerError::unavailable(elapsed)),
            }
        }
        Ok(found)
    }

    async fn direct_get(
        &self,
        stream: Stream,
        subjects: &[Subject],
        found: &mut Vec<Stored>,
    ) -> Result<(), BrokerError> {
        let client = self.reading.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
        let texts: Vec<&str> = subjects.iter().map(Subject::as_str).collect();
        let request = serde_json::json!({ "multi_last": texts }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        client.publish_with_reply(subject, inbox, request.into()).await.map_err(BrokerError::unavailable)?;
        while let Some(answer) = answers.next().await {
            match answer.status.map(|status| status.as_u16()) {
                None => found.extend(stored(answer)),
                // 204 ends the answers, 404 says that there are none, and a stream that does not exist has no
                // responder.
                Some(204 | 404) => return Ok(()),
                Some(503) if stream.is_derived() => return Ok(()),
                Some(status) => {
                    return Err(BrokerError::Unavailable(format!("direct get answered {status}")));
                }
            }
        }
        Err(BrokerError::Unavailable("direct get ended early".to_owned()))
    }
}

fn stored(answer: async_nats::Message) -> Option<Stored> {
    let map = answer.headers.as_ref()?;
    Some(Stored {
        subject: map.get_last(NATS_SUBJECT)?.to_string(),
        seq: map.get_last(NATS_SEQUENCE)?.as_str().parse().ok()?,
        stored_at: Timestamp::parse(map.get_last(NATS_TIME_STAMP)?.as_str()).ok()?,
        headers: headers::read(Some(map)),
        payload: answer.payload,
    })
}
