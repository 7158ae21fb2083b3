//! Publishing: whole batches, atomically (ADR-50 of the NATS architecture notes), one answer for all of a
//! batch.

use super::{Broker, BrokerError, headers};
use crate::telemetry::Form;
use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use std::future::Future;
use std::time::Instant;
use wire::header::Headers;
use wire::limits::{BATCH_MAX, MESSAGE_BYTES_MAX};

/// A header line's colon, space and end.
const HEADER_LINE_BYTES: usize = 4;
/// The version line and the headers of a condition and of an atomic batch, with room to spare.
const BATCH_HEADERS_BYTES_MAX: usize = 256;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The subject that it is to be stored under.
    pub subject: String,
    /// The message, encoded.
    pub payload: Bytes,
    /// What travels beside it.
    pub headers: Headers,
    /// Only if the subject holds no message: makes a payment unique while it is stored, over all gateways.
    pub only_if_absent: bool,
}

impl Outgoing {
    /// A message without headers or conditions.
    pub fn new(subject: String, payload: impl Into<Bytes>) -> Outgoing {
        Outgoing { subject, payload: payload.into(), headers: Headers::default(), only_if_absent: false }
    }

    /// Its size as a stream counts it, at most: subject names are not counted, and our headers are few.
    fn bytes_max(&self) -> usize {
        let headers: usize =
            self.headers.pairs().map(|(name, value)| name.len() + value.len() + HEADER_LINE_BYTES).sum();
        self.payload.len() + headers + BATCH_HEADERS_BYTES_MAX
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = headers::write(&self.headers);
        if self.only_if_absent {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        }
        headers
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
        if let Some(too_large) = batch.iter().find(|message| message.bytes_max() > MESSAGE_BYTES_MAX as usize)
        {
            return Err(BrokerError::Refused(format!(
                "{} bytes are more than a stream takes",
                too_large.payload.len()
            )));
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
