//! The transport on JetStream: a durable pull consumer per stage.

use super::ready::ready;
use super::singles::Answers;
use super::{Broker, BrokerError, Outgoing, headers};
use crate::config::PipelineConfig;
use crate::stage::{Stage, consumes_its_stream};
use crate::transport::{Delivery, Transport, Unpublished};
use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use bytes::Bytes;
use domain::Timestamp;
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use wire::Stream;

/// A pull request ends after this; a heartbeat that is missed for twice [`HEARTBEAT`] shows a lost one
/// sooner.
const EXPIRES: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The subject that acknowledges a delivery.
#[derive(Debug, Clone)]
pub struct Receipt(async_nats::Subject);

/// One stage's input.
pub struct JetStreamTransport {
    broker: Broker,
    stream: Stream,
    pipeline: PipelineConfig,
    fetching: Mutex<Fetching>,
    /// Where the broker answers what is published here.
    answers: tokio::sync::Mutex<Option<Answers>>,
    /// As the server had it when the input was opened, which another release may have given it; never longer
    /// than ours, which it may be given at any moment.
    ack_wait: Duration,
    reconnects: watch::Receiver<u64>,
}

/// What has been fetched and not yet been taken.
#[derive(Default)]
struct Fetching {
    messages: Option<pull::Stream>,
    /// Fetched before `messages`, and at hand so that it can be kept alive.
    ahead: VecDeque<Delivery<Receipt>>,
}

/// What is kept alive ahead of a batch that takes long, in batches: the stream fetches up to one and a half. It
/// fetches more for what is put at hand, and that is for others once this is full: it comes to them when its
/// time is over.
const BATCHES_AHEAD: usize = 2;

impl Fetching {
    /// Puts at hand what has been fetched. The stream goes on: it has asked for more by then, and what comes to
    /// a stream that is gone is nobody's until its time is over.
    fn put_at_hand(&mut self, batch_max: usize) {
        while self.ahead.len() < batch_max * BATCHES_AHEAD
            && let Some(next) = self.messages.as_mut().and_then(ready)
        {
            match next {
                // One that cannot be read as a delivery comes again.
                Some(Ok(message)) => self.ahead.extend(delivery(message).ok()),
                // The next call that takes meets the end.
                Some(Err(_)) | None => self.messages = None,
            }
        }
    }
}

impl JetStreamTransport {
    /// The input of a stage in a shard, not yet opened.
    pub fn new<S: Stage>(broker: Broker, shard: u16, pipeline: PipelineConfig) -> JetStreamTransport {
        const {
            assert!(
                consumes_its_stream::<S>(),
                "a stream's durable consumer is named for the stage that consumes it"
            )
        };
        let reconnects = broker.reconnects();
        let ack_wait = Duration::from_millis(pipeline.ack_wait_ms);
        let (stream, fetching) = (S::input(shard), Mutex::default());
        let answers = tokio::sync::Mutex::default();
        JetStreamTransport { broker, stream, pipeline, fetching, answers, ack_wait, reconnects }
    }

    async fn open(&mut self) -> Result<(), BrokerError> {
        self.close();
        self.reconnects.mark_unchanged();
        self.broker.declare_all(&self.pipeline).await?;
        let consumer = self.broker.consumer(self.stream).await?;
        let own = Duration::from_millis(self.pipeline.ack_wait_ms);
        self.ack_wait = consumer.cached_info().config.ack_wait.min(own);
        let messages = consumer
            .stream()
            .max_messages_per_batch(self.pipeline.batch_max)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT);
        let messages = messages.messages().await.map_err(BrokerError::unavailable)?;
        self.fetching_mut().messages = Some(messages);
        Ok(())
    }

    fn fetching_mut(&mut self) -> &mut Fetching {
        self.fetching.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been fetched and not been taken, as far as it is to be kept.
    fn ahead(&self) -> Vec<Receipt> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.put_at_hand(self.pipeline.batch_max);
        fetching.ahead.iter().map(|delivery| delivery.receipt.clone()).collect()
    }

    async fn answer(&self, answers: impl Iterator<Item = (&Receipt, Bytes)>) -> Result<(), BrokerError> {
        self.broker.require_connection()?;
        let client = self.broker.reading.client();
        let sending = async {
            for (receipt, answer) in answers {
                client.publish(receipt.0.clone(), answer).await.map_err(BrokerError::unavailable)?;
            }
            Ok(())
        };
        // Without a connection a publish waits in a full queue for ever, and the drain with it.
        tokio::time::timeout(self.broker.timeout, sending).await.map_err(BrokerError::unavailable)?
    }
}

fn delivery(message: jetstream::Message) -> Result<Delivery<Receipt>, BrokerError> {
    let info = message.info().map_err(BrokerError::unavailable)?;
    let (seq, attempt) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1));
    let stored_at = Timestamp::from(info.published);
    let headers = headers::read(message.headers.as_ref());
    let receipt = message
        .reply
        .clone()
        .map(Receipt)
        .ok_or_else(|| BrokerError::unavailable("a delivery without reply subject"))?;
    let (message, _) = message.split();
    Ok(Delivery {
        subject: message.subject.to_string(),
        payload: message.payload,
        seq,
        stored_at,
        headers,
        attempt,
        receipt,
    })
}

impl Transport for JetStreamTransport {
    type Receipt = Receipt;

    fn stream(&self) -> Stream {
        self.stream
    }

    async fn take(&mut self, max: usize) -> Result<Vec<Delivery<Receipt>>, BrokerError> {
        let fetching = self.fetching.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !fetching.ahead.is_empty() {
            let count = fetching.ahead.len().min(max);
            return Ok(fetching.ahead.drain(..count).collect());
        }
        let Some(messages) = fetching.messages.as_mut() else {
            return Err(BrokerError::Missing);
        };
        let first = tokio::select! {
            biased;
            changed = self.reconnects.changed() => {
                return Err(changed.map_or_else(BrokerError::unavailable, |()| BrokerError::unavailable("reconnected")));
            }
            first = messages.next() => first,
        };
        let mut batch = match first {
            Some(Ok(message)) => vec![delivery(message)?],
            Some(Err(error)) => return Err(BrokerError::unavailable(error)),
            None => return Err(BrokerError::Missing),
        };
        while batch.len() < max
            && let Some(next) = ready(messages)
        {
            match next {
                Some(Ok(message)) => batch.push(delivery(message)?),
                // What is in hand is processed; the next call meets the end of the stream again.
                Some(Err(_)) | None => {
                    fetching.messages = None;
                    break;
                }
            }
        }
        Ok(batch)
    }

    fn close(&mut self) {
        *self.fetching_mut() = Fetching::default();
    }

    fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    async fn reopen(&mut self) -> Result<(), BrokerError> {
        self.open().await
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        self.broker.declare_all(&self.pipeline).await
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        self.broker.publish_each(&mut *self.answers.lock().await, batch).await
    }

    async fn make_room(&self, stream: Stream) -> Result<(), BrokerError> {
        self.broker.trim(stream, &self.pipeline).await.map(|_| ())
    }

    async fn postpone(&self, receipts: &[(Receipt, Duration)]) -> Result<(), BrokerError> {
        let answers = receipts
            .iter()
            .map(|(receipt, after)| (receipt, format!("-NAK {{\"delay\": {}}}", after.as_nanos()).into()));
        self.answer(answers).await
    }

    async fn acknowledge(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        self.answer(receipts.iter().map(|receipt| (receipt, Bytes::from_static(b"+ACK")))).await
    }

    async fn keep(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let ahead = self.ahead();
        let kept = receipts.iter().chain(&ahead);
        self.answer(kept.map(|receipt| (receipt, Bytes::from_static(b"+WPI")))).await
    }

    async fn give_back(&mut self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let ahead = self.ahead();
        self.close();
        let given = receipts.iter().chain(&ahead);
        self.answer(given.map(|receipt| (receipt, Bytes::from_static(b"-NAK")))).await?;
        // The process ends: what is still in the client's buffer would go with it, acknowledgements too.
        let flushed = tokio::time::timeout(self.broker.timeout, self.broker.reading.client().flush()).await;
        flushed.map_err(BrokerError::unavailable)?.map_err(BrokerError::unavailable)
    }
}

#[cfg(test)]
#[path = "consume_tests.rs"]
mod tests;
