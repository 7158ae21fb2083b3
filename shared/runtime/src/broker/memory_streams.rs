//! The streams in memory: what the border, the stages and the janitor see of a broker, without a server. What
//! time it is, when the broker is away and what it loses is for the test or the simulation to say.
//!
//! Deliveries go by tokio's time, what is stored by the clock. Nothing happens in the background.

#[path = "memory_faults.rs"]
mod faults;

use super::memory_consumer::Consumer;
use super::memory_inbox::Inboxes;
use super::memory_log::{Log, Message, head, matches, stored};
use super::streams::stream_config;
use super::trim::trim;
use super::{AcceptedHead, Bounds, BrokerError, Outgoing, Progress, Since, Stored, Streams, Subscription};
use crate::clock::Clock;
use crate::config::PipelineConfig;
use crate::transport::Unpublished;
use bytes::Bytes;
use domain::Timestamp;
use futures::stream;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
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

#[derive(Debug)]
pub(super) struct State {
    streams: BTreeMap<Stream, Log>,
    /// What was fetched from them and not yet taken.
    pub(super) inboxes: Inboxes,
    /// Inboxes that were ever opened.
    opened: u64,
    clock: Clock,
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

impl Default for State {
    fn default() -> State {
        State {
            streams: BTreeMap::new(),
            inboxes: Inboxes::new(),
            opened: 0,
            clock: Clock::new(Timestamp::default),
            declared: 0,
            calls_left: None,
            found_max: None,
            lost_answer: None,
            subscribers: Vec::new(),
        }
    }
}

impl MemoryStreams {
    /// Streams that store what comes at the instant that this clock shows.
    pub fn with_clock(clock: Clock) -> MemoryStreams {
        let streams = MemoryStreams::default();
        streams.state().clock = clock;
        streams
    }

    /// What is stored from now on is stored at this instant.
    pub fn set_now(&self, now: Timestamp) {
        self.state().clock = Clock::new(move || now);
    }

    /// The stream's stage has acknowledged everything up to this sequence, and has had nothing beyond it.
    pub fn acknowledge(&self, stream: Stream, floor: u64) {
        self.state().touch(stream, |log| {
            if let Some(consumer) = &mut log.consumer {
                consumer.set_floor(floor, &log.messages);
            }
        });
    }

    /// What a stream holds, in order; nothing when it is missing.
    pub fn messages(&self, stream: Stream) -> Vec<Outgoing> {
        let state = self.state();
        let messages = state.streams.get(&stream).into_iter().flat_map(|log| log.messages.values());
        messages.map(|message| message.outgoing.clone()).collect()
    }

    /// Stores the messages of a batch one by one, in one call, as far as the stream takes them.
    pub async fn publish_each(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        let (mut stored, mut error) = (Vec::new(), None);
        let answered = self.call(|state| {
            for (place, message) in batch.iter().enumerate() {
                match state.publish(std::slice::from_ref(message)) {
                    Ok(()) => stored.push(place),
                    Err(BrokerError::Full) => error = error.take().or(Some(BrokerError::Full)),
                    Err(objection) => {
                        error = error.take().filter(|known| *known != BrokerError::Full).or(Some(objection))
                    }
                }
            }
            Ok(())
        });
        answered.await?;
        match error {
            None => Ok(()),
            Some(error) => Err(Unpublished { error, stored }),
        }
    }

    /// Whether a stream holds a message under this subject.
    pub fn holds(&self, stream: Stream, subject: &str) -> bool {
        self.state().streams.get(&stream).is_some_and(|log| log.last_of(subject).is_some())
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of the broker's.
    pub(super) async fn call<T>(
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
    /// Stores all messages of a batch or none; or the answer is lost.
    fn publish(&mut self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let (now, lost_answer) = (self.clock.now(), self.lost_answer.take());
        let answer =
            lost_answer.map_or(Ok(()), |_| Err(BrokerError::Unknown("an answer that was lost".to_owned())));
        if lost_answer == Some(false) {
            return answer;
        }
        let mut streams = self.streams.iter();
        let taking = streams.find(|(_, log)| log.takes(&first.subject)).map(|(stream, _)| *stream);
        let stream = taking.ok_or(BrokerError::Missing)?;
        self.touch(stream, |log| log.publish(batch, now)).unwrap_or(Err(BrokerError::Missing))?;
        for message in batch {
            self.tell(&message.subject, &message.payload);
        }
        answer
    }

    /// Does something with a stream, after what has come due until now and before what can be delivered then;
    /// nothing when it is missing.
    pub(super) fn touch<T>(&mut self, stream: Stream, act: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let is_away = self.is_away();
        let log = self.streams.get_mut(&stream)?;
        if is_away {
            return Some(act(log));
        }
        log.pass_time(Instant::now(), &mut self.inboxes);
        let answer = act(log);
        log.hand_out(&mut self.inboxes);
        Some(answer)
    }

    /// Whether the broker is away: nothing is delivered meanwhile.
    pub(super) fn is_away(&self) -> bool {
        self.calls_left == Some(0)
    }

    /// Every connection was cut and is there again.
    fn disconnect(&mut self) {
        let why = BrokerError::unavailable("reconnected");
        for log in self.streams.values_mut() {
            if let Some(consumer) = &mut log.consumer {
                consumer.end(&mut self.inboxes, &why);
            }
        }
    }

    /// A number for a new inbox.
    pub(super) fn number(&mut self) -> u64 {
        self.opened += 1;
        self.opened
    }

    /// When the next delivery of a stream comes again by itself.
    pub(super) fn next_due(&self, stream: Stream) -> Option<Instant> {
        let consumer = self.streams.get(&stream)?.consumer.as_ref()?;
        consumer.next_due().filter(|_| !self.is_away())
    }

    fn declare(&mut self, stream: Stream, pipeline: &PipelineConfig) {
        let declared = &mut self.declared;
        let log = self.streams.entry(stream).or_insert_with(|| {
            *declared += 1;
            Log::new(stream_config(stream, pipeline), *declared * SEQUENCES)
        });
        if stream.consumer().is_some() && log.consumer.is_none() {
            let ack_wait = Duration::from_millis(pipeline.ack_wait_ms);
            let open_max = usize::try_from(pipeline.ack_pending_max).unwrap_or(usize::MAX);
            let (first, is_on_disk) = (log.first(), log.is_on_disk());
            log.consumer = Some(Consumer::new(ack_wait, open_max, first, &log.messages, is_on_disk));
        }
    }

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
                state.declare(stream, pipeline);
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
        self.call(|state| state.publish(batch)).await
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
            Ok(state.touch(stream, |log| log.consumer.as_ref().map(Consumer::progress)).flatten())
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
                let is_wanted = |(seq, message): &(&u64, &Arc<Message>)| match since {
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
            let purged = state.touch(stream, |log| log.purge_below(seq));
            purged.ok_or_else(|| BrokerError::unavailable("the stream is missing"))
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
