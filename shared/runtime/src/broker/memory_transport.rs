//! The transport on the streams in memory: like [`super::JetStreamTransport`] it fetches ahead of what it
//! takes, and what it has fetched counts as delivered.

use super::memory_consumer::Consumer;
use super::memory_inbox::{Fetched, Inbox};
use super::memory_streams::State;
use super::{BrokerError, MemoryStreams, Outgoing, Streams};
use crate::config::PipelineConfig;
use crate::stage::{Stage, consumes_its_stream};
use crate::transport::{Delivery, Transport, Unpublished};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::Stream;

/// What is kept alive ahead of a batch that takes long, in batches, as on JetStream.
const BATCHES_AHEAD: usize = 2;

/// Which delivery is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReceipt {
    stream: Stream,
    seq: u64,
    delivery: u64,
    attempt: u64,
}

impl MemoryReceipt {
    /// The stream that it was delivered from.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// The sequence of the message.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The number of the delivery among all of the consumer's, from 1 on.
    pub fn delivery(&self) -> u64 {
        self.delivery
    }

    /// How many times the message had been delivered, this one included.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Its acknowledgement arrives, whoever sent it and however late.
    pub fn acknowledge(&self, streams: &MemoryStreams) {
        streams.state().touch(self.stream, |log| {
            if let Some(consumer) = &mut log.consumer {
                consumer.acknowledge(self.seq);
            }
        });
    }
}

/// One stage's input in memory.
#[derive(Debug)]
pub struct MemoryTransport {
    streams: MemoryStreams,
    stream: Stream,
    pipeline: PipelineConfig,
    /// The number of its inbox while it is open.
    inbox: Option<u64>,
    /// Fetched before what lies in the inbox, and at hand so that it can be kept alive.
    ahead: Mutex<VecDeque<Delivery<MemoryReceipt>>>,
    notify: Arc<Notify>,
    ack_wait: Duration,
}

/// What there is to take.
enum Taken {
    Batch(Vec<Delivery<MemoryReceipt>>),
    /// Nothing, until something comes or until a delivery comes again by itself.
    Nothing(Option<Instant>),
}

impl MemoryTransport {
    /// The input of a stage in a shard, not yet opened.
    pub fn new<S: Stage>(streams: MemoryStreams, shard: u16, pipeline: PipelineConfig) -> MemoryTransport {
        const {
            assert!(
                consumes_its_stream::<S>(),
                "a stream's durable consumer is named for the stage that consumes it"
            )
        };
        MemoryTransport {
            streams,
            stream: S::input(shard),
            ack_wait: Duration::from_millis(pipeline.ack_wait_ms),
            pipeline,
            inbox: None,
            ahead: Mutex::default(),
            notify: Arc::default(),
        }
    }

    fn taken(&self, max: usize) -> Result<Taken, BrokerError> {
        let state = &mut *self.streams.state();
        let number = self.inbox.ok_or(BrokerError::Missing)?;
        let batch = self.look(state, number, max);
        if !batch.is_empty() {
            return Ok(Taken::Batch(batch));
        }
        match state.inboxes.get(&number).map(Inbox::ended) {
            Some(None) => Ok(Taken::Nothing(state.next_due(self.stream))),
            Some(Some(why)) => Err(why.clone()),
            None => Err(BrokerError::Missing),
        }
    }

    /// Looks for deliveries, up to `max`.
    fn look(&self, state: &mut State, number: u64, max: usize) -> Vec<Delivery<MemoryReceipt>> {
        // Until now time has passed for the stream, and what was asked for may have come.
        state.touch(self.stream, |_| ());
        let Some(inbox) = state.inboxes.get_mut(&number) else { return Vec::new() };
        let found = std::iter::from_fn(|| inbox.look()).take(max);
        let batch = found.map(|fetched| self.delivery(fetched)).collect();
        // Who has looked may have asked for more; what comes of that wakes whoever waits.
        state.touch(self.stream, |_| ());
        batch
    }

    fn delivery(&self, fetched: Fetched) -> Delivery<MemoryReceipt> {
        let Fetched { seq, message, delivery, attempt } = fetched;
        Delivery {
            subject: message.outgoing.subject.clone(),
            payload: message.outgoing.payload.clone(),
            seq,
            stored_at: message.stored_at,
            headers: message.outgoing.headers.clone(),
            attempt,
            receipt: MemoryReceipt { stream: self.stream, seq, delivery, attempt },
        }
    }

    fn ahead_mut(&mut self) -> &mut VecDeque<Delivery<MemoryReceipt>> {
        self.ahead.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts at hand what has been fetched, as far as it is to be kept.
    fn ahead(&self) -> Vec<MemoryReceipt> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (self.pipeline.batch_max * BATCHES_AHEAD).saturating_sub(ahead.len());
        if let Some(number) = self.inbox {
            ahead.extend(self.look(&mut self.streams.state(), number, room));
        }
        ahead.iter().map(|delivery| delivery.receipt).collect()
    }

    /// How many deliveries have been fetched and not yet been taken.
    #[cfg(test)]
    fn ready(&self) -> usize {
        let fetched =
            self.inbox.and_then(|number| Some(self.streams.state().inboxes.get(&number)?.fetched()));
        fetched.unwrap_or(0) + self.ahead.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[cfg(test)]
    fn has_asked(&self) -> bool {
        let asked =
            self.inbox.and_then(|number| Some(self.streams.state().inboxes.get(&number)?.has_asked()));
        asked.unwrap_or(false)
    }

    /// Is given nothing more.
    fn leave(&self, number: u64) {
        self.streams.state().touch(self.stream, |log| {
            if let Some(consumer) = &mut log.consumer {
                consumer.leave(number);
            }
        });
    }

    async fn answer(&self, answer: impl FnOnce(&mut Consumer) + Send) -> Result<(), BrokerError> {
        let answered = self.streams.call(|state| {
            state.touch(self.stream, |log| log.consumer.as_mut().map(answer));
            Ok(())
        });
        answered.await
    }
}

impl Transport for MemoryTransport {
    type Receipt = MemoryReceipt;

    fn stream(&self) -> Stream {
        self.stream
    }

    async fn take(&mut self, max: usize) -> Result<Vec<Delivery<MemoryReceipt>>, BrokerError> {
        let ahead = self.ahead_mut();
        if !ahead.is_empty() {
            let count = ahead.len().min(max);
            return Ok(ahead.drain(..count).collect());
        }
        loop {
            match self.taken(max)? {
                Taken::Batch(batch) => return Ok(batch),
                Taken::Nothing(None) => self.notify.notified().await,
                Taken::Nothing(Some(due)) => tokio::select! {
                    biased;
                    () = self.notify.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    fn close(&mut self) {
        self.ahead_mut().clear();
        if let Some(number) = self.inbox.take() {
            self.leave(number);
            self.streams.state().inboxes.remove(&number);
        }
    }

    fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    async fn reopen(&mut self) -> Result<(), BrokerError> {
        self.close();
        self.declare().await?;
        let (stream, notify, batch_max) = (self.stream, self.notify.clone(), self.pipeline.batch_max);
        let opened = self.streams.call(|state| {
            let number = state.number();
            let joined = state.touch(stream, |log| {
                log.consumer.as_mut().map(|consumer| {
                    consumer.join(number);
                    consumer.ack_wait()
                })
            });
            let ack_wait = joined.flatten().ok_or(BrokerError::Missing)?;
            state.inboxes.insert(number, Inbox::new(batch_max, notify));
            Ok((number, ack_wait))
        });
        let (number, ack_wait) = opened.await?;
        self.inbox = Some(number);
        self.ack_wait = ack_wait.min(Duration::from_millis(self.pipeline.ack_wait_ms));
        Ok(())
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        self.streams.declare_all(&self.pipeline).await
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        self.streams.publish_each(batch).await
    }

    async fn make_room(&self, stream: Stream) -> Result<(), BrokerError> {
        self.streams.trim(stream, &self.pipeline).await.map(|_| ())
    }

    async fn postpone(&self, receipts: &[(MemoryReceipt, Duration)]) -> Result<(), BrokerError> {
        self.answer(|consumer| {
            for (receipt, after) in receipts {
                consumer.postpone(receipt.seq, receipt.delivery, Some(*after));
            }
        })
        .await
    }

    async fn acknowledge(&self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        self.answer(|consumer| receipts.iter().for_each(|receipt| consumer.acknowledge(receipt.seq))).await
    }

    async fn keep(&self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        let ahead = self.ahead();
        let mut kept = receipts.iter().chain(&ahead);
        self.answer(|consumer| kept.by_ref().for_each(|receipt| consumer.keep(receipt.seq))).await
    }

    async fn give_back(&mut self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        // What it asks for while it looks would come to nobody.
        self.inbox.iter().for_each(|number| self.leave(*number));
        let ahead = self.ahead();
        self.close();
        let mut given = receipts.iter().chain(&ahead);
        self.answer(|consumer| {
            given.by_ref().for_each(|receipt| consumer.postpone(receipt.seq, receipt.delivery, None));
        })
        .await
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[path = "memory_transport_tests.rs"]
mod tests;
