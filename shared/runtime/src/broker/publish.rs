//! Publishing: whole batches, atomically (ADR-50 of the NATS architecture notes), with one answer for all of a
//! batch; or singles, each with its own condition and answer.

use super::{Broker, BrokerError, headers};
use crate::telemetry::Form;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use futures::future::join_all;
use std::future::Future;
use std::time::Instant;
use wire::header::{Headers, ROOM};
use wire::limits::{BATCH_MAX, MESSAGE_BYTES_MAX};

/// A header line's colon, space and end.
const HEADER_LINE_BYTES: usize = 4;
/// The version line and the headers of a condition and of an atomic batch, with room to spare.
const BATCH_HEADERS_BYTES_MAX: usize = 384;

/// What tells one copy of a payment from another, at most: its two headers with their names, a count of three
/// digits, and the twelve of the sequence that it expects. What takes more may have to wait for a purge.
const ROOM_BYTES: usize = 80;

/// Messages that are sent one by one before their answers are waited for. On disk each costs an fsync, and
/// those of others wait behind them: for some 10 ms.
const PIPELINE_MESSAGES_MAX: usize = 64;
/// What they may take: so much lies in the connection's buffer before whatever else is published.
const PIPELINE_BYTES_MAX: usize = 4 << 20;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The subject that it is to be stored under.
    pub subject: String,
    /// The message, encoded.
    pub payload: Bytes,
    /// What travels beside it.
    pub headers: Headers,
    /// Only if the last message that the subject holds has this sequence. 0 is none: that makes a payment
    /// unique while it is stored, over all gateways; any other fences who wakes up late.
    pub expected_last: Option<u64>,
}

impl Outgoing {
    /// A message without headers or conditions.
    pub fn new(subject: String, payload: impl Into<Bytes>) -> Outgoing {
        Outgoing { subject, payload: payload.into(), headers: Headers::default(), expected_last: None }
    }

    /// Its size as a stream counts it, at most: subject names are not counted, and our headers are few.
    fn bytes_max(&self) -> usize {
        let headers: usize =
            self.headers.pairs().map(|(name, value)| name.len() + value.len() + HEADER_LINE_BYTES).sum();
        self.payload.len() + headers + BATCH_HEADERS_BYTES_MAX
    }

    /// Why no stream takes it, if none does.
    pub(super) fn objection(&self) -> Option<BrokerError> {
        let is_too_large = self.bytes_max() > MESSAGE_BYTES_MAX as usize;
        is_too_large.then(|| {
            BrokerError::Refused(format!("{} bytes are more than a stream takes", self.payload.len()))
        })
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = headers::write(&self.headers);
        for (name, value) in self.condition().into_iter().flatten() {
            headers.insert(name, value);
        }
        headers
    }

    /// The headers that say what the subject must hold. The second of them is filled up, so that whatever
    /// copy of a payment this is, it takes as much as any other.
    pub(super) fn condition(&self) -> Option<[(HeaderName, String); 2]> {
        let expected = self.expected_last?.to_string();
        let copy = Headers { trace: None, ..self.headers.clone() };
        let told: usize =
            copy.pairs().map(|(name, value)| name.len() + value.len() + HEADER_LINE_BYTES).sum();
        let room = ".".repeat(ROOM_BYTES.saturating_sub(told + expected.len()));
        Some([(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected), (HeaderName::from_static(ROOM), room)])
    }
}

impl Broker {
    /// Stores all messages of a batch or none, in one stream, and waits until they are. At most 1,000
    /// messages.
    pub async fn publish_batch(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        debug_assert!(batch.len() <= BATCH_MAX);
        match batch {
            [] => Ok(()),
            [message] => self.publish(message).await,
            [before @ .., last] => {
                let publishing = self.publish_atomically(batch, before, last);
                self.measured(last, batch.len(), Form::Atomic, publishing).await
            }
        }
    }

    async fn publish_atomically(
        &self,
        batch: &[Outgoing],
        before: &[Outgoing],
        last: &Outgoing,
    ) -> Result<(), BrokerError> {
        self.require_connection()?;
        // The server leaves such a message out without a word, and then refuses the batch as incomplete, as
        // if it were lost.
        if let Some(objection) = batch.iter().find_map(Outgoing::objection) {
            return Err(objection);
        }
        let id = crate::ids::fresh();
        let client = self.publishing.client();
        let numbered = |message: &Outgoing, place: usize| {
            let mut headers = message.headers();
            headers.insert(NATS_BATCH_ID, id.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, (place + 1).to_string());
            headers
        };
        for (place, message) in before.iter().enumerate() {
            let sent = client.publish_with_headers(
                message.subject.clone(),
                numbered(message, place),
                message.payload.clone(),
            );
            // A part of a batch without its commit is never stored, so failing here has stored nothing.
            let sent = tokio::time::timeout(self.timeout, sent).await.map_err(BrokerError::unavailable)?;
            sent.map_err(BrokerError::unavailable)?;
        }
        let mut headers = numbered(last, before.len());
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        self.publish_one(last, headers).await
    }

    /// Stores one message, in the place of what its subject held if the stream keeps one message per subject.
    pub async fn publish(&self, message: &Outgoing) -> Result<(), BrokerError> {
        self.require_connection()?;
        self.measured(message, 1, Form::Single, self.publish_one(message, message.headers())).await
    }

    /// Records what is stored, and how long that took.
    async fn measured(
        &self,
        one: &Outgoing,
        count: usize,
        form: Form,
        publishing: impl Future<Output = Result<(), BrokerError>>,
    ) -> Result<(), BrokerError> {
        let started = Instant::now();
        publishing.await?;
        if let Some(metrics) = &self.metrics {
            metrics.stored(&one.subject, count, form, started.elapsed());
        }
        Ok(())
    }

    /// Stores messages one by one, all sent before any is waited for: answers whether each is stored, in their
    /// order. Once no answer comes, what is left is not sent.
    pub async fn publish_singles(
        &self,
        messages: &[Outgoing],
    ) -> Result<Vec<Result<(), BrokerError>>, BrokerError> {
        self.require_connection()?;
        let mut answers = Vec::with_capacity(messages.len());
        for part in pipelines(messages) {
            let is_away = |answer: &Result<(), BrokerError>| {
                matches!(answer, Err(BrokerError::Unavailable(_) | BrokerError::Unknown(_)))
            };
            if answers.iter().any(is_away) {
                let unsent =
                    || Err(BrokerError::Unavailable("what was sent before got no answer".to_owned()));
                answers.extend(part.iter().map(|_| unsent()));
            } else {
                answers.extend(join_all(part.iter().map(|message| self.publish(message))).await);
            }
        }
        Ok(answers)
    }

    async fn publish_one(&self, message: &Outgoing, headers: HeaderMap) -> Result<(), BrokerError> {
        let publish = PublishMessage::build().headers(headers).payload(message.payload.clone());
        let acknowledged =
            async { self.publishing.send_publish(message.subject.clone(), publish).await?.await };
        match acknowledged.await {
            Ok(_) => Ok(()),
            Err(error) => Err(BrokerError::of_publish(&error)),
        }
    }
}

/// The messages in parts, each as long as one pipeline may be.
fn pipelines(mut messages: &[Outgoing]) -> impl Iterator<Item = &[Outgoing]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&Outgoing| {
            bytes += message.bytes_max();
            bytes <= PIPELINE_BYTES_MAX
        };
        let count = messages.iter().take(PIPELINE_MESSAGES_MAX).take_while(fits).count();
        let (part, rest) = messages.split_at_checked(count.max(1))?;
        messages = rest;
        Some(part)
    })
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
