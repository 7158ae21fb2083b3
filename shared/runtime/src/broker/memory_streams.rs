//! The streams in memory: what the border, the stages and the janitor see of a broker, without a server.
//! Nothing is delivered; how far a stage has come, what time it is and when the broker is away is for the
//! test to say.

use super::memory_log::{Log, Message, head, matches, stored};
use super::streams::stream_config;
use super::trim::trim;
use super::{AcceptedHead, Bounds, BrokerError, Outgoing, Progress, Since, Stored, Streams, Subscription};
use crate::config::PipelineConfig;
use bytes::Bytes;
use domain::Timestamp;
use futures::stream;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use wire::{Stream, Subject};

/// Messages that a subscription keeps for who does not take them.
const SUBSCRIPTION_MESSAGES: usize = 16;

/// Between the first sequences of derived streams, the most messages that a test may have in one of them.
const SEQUENCES: u64 = 1_000_000;

/// Streams that hold what is published until it is purged. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStreams {
    state: Arc<Mutex<State>>,
    /// What each call takes one of, where somebody is to stand still.
    permits: Option<Arc<Semaphore>>,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<Stream, Log>,
    now: Timestamp,
    /// Streams that were ever declared.
    declared: u64,
    /// So many calls until the broker is away.
    calls_left: Option<usize>,
    /// What a read of many subjects finds at most, where its answer is to be cut short.
    found_max: Option<usize>,
    /// Whether the publish whose answer will be lost is stored.
    lost_answer: Option<bool>,
    /// Who has subscribed, and to which pattern.
    subscribers: Vec<(String, mpsc::Sender<Bytes>)>,
}

impl MemoryStreams {
    /// What is stored from now on is stored at this instant.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// The stream's stage has acknowledged everything up to this sequence, and has had nothing beyond it.
    pub fn acknowledge(&self, stream: Stream, floor: u64) {
        if let Some(log) = self.state().streams.get_mut(&stream) {
            (log.floor, log.delivered) = (floor, Some(floor));
        }
    }

    /// The stream vanishes with its messages and its consumer, as one in memory does with its server.
    pub fn lose(&self, stream: Stream) {
        self.state().streams.remove(&stream);
    }

    /// After so many more calls every call fails, until the outage ends.
    pub fn begin_outage_after(&self, calls: usize) {
        self.state().calls_left = Some(calls);
    }

    /// The broker is there again.
    pub fn end_outage(&self) {
        self.state().calls_left = None;
    }

    /// What a stream holds, in order; nothing when it is missing.
    pub fn messages(&self, stream: Stream) -> Vec<Outgoing> {
        let state = self.state();
        let messages = state.streams.get(&stream).into_iter().flat_map(|log| log.messages.values());
        messages.map(|message| message.outgoing.clone()).collect()
    }

    /// The next publish gets no answer, and is stored or not.
    pub fn lose_next_answer(&self, is_stored: bool) {
        self.state().lost_answer = Some(is_stored);
    }

    /// From now on a read of several subjects finds so many messages at most, whatever is there.
    pub fn cut_answers_short(&self, found_max: usize) {
        self.state().found_max = Some(found_max);
    }

    /// Whoever has subscribed to this subject sees a message that no stream stores.
    pub fn hint(&self, subject: &str) {
        self.state().tell(subject, &Bytes::new());
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.state().subscribers.iter().filter(|(_, messages)| !messages.is_closed()).count()
    }

    /// A clone of which each call takes a permit, and waits while there is none: who works on it stands still
    /// when the test says so.
    pub fn with_permits(&self, permits: Arc<Semaphore>) -> MemoryStreams {
        MemoryStreams { permits: Some(permits), ..self.clone() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of the broker's.
    async fn call<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, BrokerError> + Send,
    ) -> Result<T, BrokerError> {
        if let Some(permits) = &self.permits
            && let Ok(permit) = permits.acquire().await
        {
            permit.forget();
        }
        let mut state = self.state();
        match &mut state.calls_left {
            Some(0) => return Err(BrokerError::unavailable("an outage")),
            Some(calls) => *calls -= 1,
            None => {}
        }
        act(&mut state)
    }
}

impl State {
    /// Shows a message to whoever has subscribed to its subject; one that does not take it misses it.
    fn tell(&mut self, subject: &str, payload: &Bytes) {
        self.subscribers.retain(|(_, messages)| !messages.is_closed());
        for (_, messages) in self.subscribers.iter().filter(|(pattern, _)| matches(pattern, subject)) {
            let _ = messages.try_send(payload.clone());
        }
    }
}

impl Streams for MemoryStreams {
    async fn declare_all(&self, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        self.call(|state| {
            for stream in Stream::all(pipeline.shards) {
                if !state.streams.contains_key(&stream) {
                    state.declared += 1;
                    let log = Log::new(stream_config(stream, pipeline), state.declared * SEQUENCES);
                    state.streams.insert(stream, log);
                }
            }
            Ok(())
        })
        .await
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), BrokerError> {
        self.publish_batch(std::slice::from_ref(message)).await
    }

    async fn publish_singles(
        &self,
        messages: &[Outgoing],
    ) -> Result<Vec<Result<(), BrokerError>>, BrokerError> {
        let mut answers = Vec::new();
        // Each is a call of its own: what comes to an end between two of them is for the test to say.
        for message in messages {
            answers.push(self.publish(message).await);
        }
        Ok(answers)
    }

    async fn publish_batch(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        self.call(|state| {
            let Some(first) = batch.first() else { return Ok(()) };
            let (now, lost_answer) = (state.now, state.lost_answer.take());
            let answer = lost_answer
                .map_or(Ok(()), |_| Err(BrokerError::Unknown("an answer that was lost".to_owned())));
            if lost_answer == Some(false) {
                return answer;
            }
            let mut streams = state.streams.values_mut();
            let log = streams.find(|log| log.takes(&first.subject)).ok_or(BrokerError::Missing)?;
            log.check(batch)?;
            for message in batch {
                log.store(message.clone(), now);
            }
            for message in batch {
                state.tell(&message.subject, &message.payload);
            }
            answer
        })
        .await
    }

    async fn last(&self, stream: Stream, subject: &Subject) -> Result<Option<Stored>, BrokerError> {
        let found = self.last_of_each(stream, std::slice::from_ref(subject)).await?;
        Ok(found.into_iter().next())
    }

    async fn last_of_each(&self, stream: Stream, subjects: &[Subject]) -> Result<Vec<Stored>, BrokerError> {
        self.call(|state| match state.streams.get(&stream) {
            Some(log) => {
                let found_max = state.found_max.filter(|_| subjects.len() > 1).unwrap_or(usize::MAX);
                let found = subjects.iter().filter_map(|subject| log.last_of(subject.as_str()));
                Ok(found.take(found_max).map(stored).collect())
            }
            None if stream.is_derived() => Ok(Vec::new()),
            None => Err(BrokerError::unavailable("the stream is missing")),
        })
        .await
    }

    async fn progress(&self, stream: Stream) -> Result<Option<Progress>, BrokerError> {
        self.call(|state| {
            Ok(state.streams.get(&stream).filter(|_| stream.consumer().is_some()).map(Log::progress))
        })
        .await
    }

    async fn bounds(&self, stream: Stream) -> Result<Option<Bounds>, BrokerError> {
        self.call(|state| Ok(state.streams.get(&stream).map(Log::bounds))).await
    }

    async fn accepted_heads(&self, seq: u64, max: usize) -> Result<Vec<AcceptedHead>, BrokerError> {
        self.call(|state| {
            let log = state.streams.get(&Stream::Accepted).ok_or(BrokerError::Missing)?;
            Ok(log.messages.range(seq..).take(max).map(head).collect())
        })
        .await
    }

    async fn accepted_since(
        &self,
        since: Since,
        last: u64,
        visit: &mut (dyn FnMut(Stored) + Send),
    ) -> Result<(), BrokerError> {
        // As with the server, what is shown may lead to further calls.
        let found: Vec<Stored> = self
            .call(|state| {
                let log = state.streams.get(&Stream::Accepted);
                let messages = log.into_iter().flat_map(|log| log.messages.range(..=last));
                let is_wanted = |(seq, message): &(&u64, &Message)| match since {
                    Since::Instant(instant) => message.stored_at >= instant,
                    Since::Sequence(first) => **seq >= first,
                };
                Ok(messages.filter(is_wanted).map(stored).collect())
            })
            .await?;
        found.into_iter().for_each(visit);
        Ok(())
    }

    async fn purge_below(&self, stream: Stream, seq: u64) -> Result<u64, BrokerError> {
        self.call(|state| {
            let log = state
                .streams
                .get_mut(&stream)
                .ok_or_else(|| BrokerError::unavailable("the stream is missing"))?;
            Ok(log.purge_below(seq))
        })
        .await
    }

    async fn subscribe(&self, subject: &str) -> Result<Subscription, BrokerError> {
        self.call(|state| {
            let (messages, mut taken) = mpsc::channel(SUBSCRIPTION_MESSAGES);
            state.subscribers.push((subject.to_owned(), messages));
            Ok(Subscription::of(stream::poll_fn(move |context| taken.poll_recv(context))))
        })
        .await
    }

    async fn trim(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<Option<Progress>, BrokerError> {
        trim(self, stream, pipeline).await
    }
}

#[cfg(test)]
#[path = "memory_streams_tests.rs"]
mod tests;
