//! The streams in memory: what the border, the stages and the janitor see of a broker, without a server.
//! Nothing is delivered; how far a stage has come, what time it is and when the broker is away is for the
//! test to say.

use super::streams::stream_config;
use super::trim::trim;
use super::{AcceptedHead, Bounds, BrokerError, Outgoing, Progress, Stored, Streams, Subscription};
use crate::config::PipelineConfig;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use bytes::Bytes;
use domain::Timestamp;
use futures::stream;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use wire::{Stream, Subject};

/// Messages that a subscription keeps for who does not take them.
const SUBSCRIPTION_MESSAGES: usize = 16;

/// Between the first sequences of derived streams, the most messages that a test may have in one of them.
const SEQUENCES: u64 = 1_000_000;

/// Streams that hold what is published until it is purged. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStreams(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<Stream, Log>,
    now: Timestamp,
    /// Streams that were ever declared.
    declared: u64,
    /// So many calls until the broker is away.
    calls_left: Option<usize>,
    /// Whether the publish whose answer will be lost is stored.
    lost_answer: Option<bool>,
    /// Who has subscribed, and to which pattern.
    subscribers: Vec<(String, mpsc::Sender<Bytes>)>,
}

/// One stream.
#[derive(Debug)]
struct Log {
    /// The same bounds and rules that the server is given.
    config: Config,
    messages: BTreeMap<u64, Message>,
    /// The sequence of the next message.
    next: u64,
    /// Every message up to here is acknowledged.
    floor: u64,
}

#[derive(Debug, Clone)]
struct Message {
    outgoing: Outgoing,
    stored_at: Timestamp,
}

impl MemoryStreams {
    /// What is stored from now on is stored at this instant.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// The stream's stage has acknowledged everything up to this sequence, and has had nothing beyond it.
    pub fn acknowledge(&self, stream: Stream, floor: u64) {
        if let Some(log) = self.state().streams.get_mut(&stream) {
            log.floor = floor;
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

    /// Whoever has subscribed to this subject sees a message that no stream stores.
    pub fn hint(&self, subject: &str) {
        self.state().tell(subject, &Bytes::new());
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.state().subscribers.iter().filter(|(_, messages)| !messages.is_closed()).count()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of the broker's.
    fn call<T>(&self, act: impl FnOnce(&mut State) -> Result<T, BrokerError>) -> Result<T, BrokerError> {
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
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), BrokerError> {
        self.publish_batch(std::slice::from_ref(message)).await
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
    }

    async fn last(&self, stream: Stream, subject: &Subject) -> Result<Option<Stored>, BrokerError> {
        let found = self.last_of_each(stream, std::slice::from_ref(subject)).await?;
        Ok(found.into_iter().next())
    }

    async fn last_of_each(&self, stream: Stream, subjects: &[Subject]) -> Result<Vec<Stored>, BrokerError> {
        self.call(|state| match state.streams.get(&stream) {
            Some(log) => {
                Ok(subjects.iter().filter_map(|subject| log.last_of(subject.as_str())).map(stored).collect())
            }
            None if stream.is_derived() => Ok(Vec::new()),
            None => Err(BrokerError::unavailable("the stream is missing")),
        })
    }

    async fn progress(&self, stream: Stream) -> Result<Option<Progress>, BrokerError> {
        self.call(|state| {
            Ok(state.streams.get(&stream).filter(|_| stream.consumer().is_some()).map(Log::progress))
        })
    }

    async fn bounds(&self, stream: Stream) -> Result<Option<Bounds>, BrokerError> {
        self.call(|state| Ok(state.streams.get(&stream).map(Log::bounds)))
    }

    async fn accepted_heads(&self, seq: u64, max: usize) -> Result<Vec<AcceptedHead>, BrokerError> {
        self.call(|state| {
            let log = state.streams.get(&Stream::Accepted).ok_or(BrokerError::Missing)?;
            Ok(log.messages.range(seq..).take(max).map(head).collect())
        })
    }

    async fn accepted_since(&self, since: Timestamp, last: u64) -> Result<Vec<Stored>, BrokerError> {
        self.call(|state| {
            let Some(log) = state.streams.get(&Stream::Accepted) else { return Ok(Vec::new()) };
            Ok(log
                .messages
                .range(..=last)
                .filter(|(_, message)| message.stored_at >= since)
                .map(stored)
                .collect())
        })
    }

    async fn purge_below(&self, stream: Stream, seq: u64) -> Result<u64, BrokerError> {
        self.call(|state| {
            let log = state
                .streams
                .get_mut(&stream)
                .ok_or_else(|| BrokerError::unavailable("the stream is missing"))?;
            let kept = log.messages.split_off(&seq);
            Ok(std::mem::replace(&mut log.messages, kept).len() as u64)
        })
    }

    async fn subscribe(&self, subject: &str) -> Result<Subscription, BrokerError> {
        self.call(|state| {
            let (messages, mut taken) = mpsc::channel(SUBSCRIPTION_MESSAGES);
            state.subscribers.push((subject.to_owned(), messages));
            Ok(Subscription::of(stream::poll_fn(move |context| taken.poll_recv(context))))
        })
    }

    async fn trim(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<Option<Progress>, BrokerError> {
        trim(self, stream, pipeline).await
    }
}

impl Log {
    /// An empty stream. One that is derived never counts from a sequence again that it had before it
    /// vanished.
    fn new(config: Config, anew: u64) -> Log {
        let next = if config.first_sequence.is_some() { anew } else { 1 };
        Log { config, messages: BTreeMap::new(), next, floor: next - 1 }
    }

    fn takes(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|pattern| matches(pattern, subject))
    }

    /// Whether all of a batch may be stored; a batch of one is a single publish.
    fn check(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        let mut subjects = HashSet::new();
        for message in batch {
            if !self.takes(&message.subject) {
                return Err(BrokerError::Refused(format!(
                    "{} is a subject of another stream than the batch's",
                    message.subject
                )));
            }
            if size(message) > u64::try_from(self.config.max_message_size).unwrap_or(0) {
                return Err(BrokerError::Refused(format!(
                    "{} bytes are more than a stream takes",
                    message.payload.len()
                )));
            }
            let is_absent = subjects.insert(&message.subject) && self.last_of(&message.subject).is_none();
            if message.only_if_absent && !is_absent {
                return Err(BrokerError::Conflict);
            }
        }
        if self.config.discard == DiscardPolicy::New && !self.has_room(batch) {
            return Err(BrokerError::Full);
        }
        Ok(())
    }

    fn has_room(&self, batch: &[Outgoing]) -> bool {
        let Bounds { messages, bytes, messages_max, bytes_max, .. } = self.bounds();
        // The server sees the old copy that a single publish replaces, and none that a batch replaces.
        let replaced = match batch {
            [message] if self.config.max_messages_per_subject == 1 => self.last_of(&message.subject),
            _ => None,
        };
        let (new, bytes_new): (u64, u64) = (batch.len() as u64, batch.iter().map(size).sum());
        let fits_number = replaced.is_some() || messages_max.is_none_or(|max| messages + new <= max);
        let is_smaller = replaced.is_some_and(|(_, old)| size(&old.outgoing) > bytes_new);
        fits_number && (is_smaller || bytes_max.is_none_or(|max| bytes + bytes_new <= max))
    }

    fn store(&mut self, message: Outgoing, now: Timestamp) {
        if self.config.max_messages_per_subject == 1 {
            self.messages.retain(|_, older| older.outgoing.subject != message.subject);
        }
        self.messages.insert(self.next, Message { outgoing: message, stored_at: now });
        self.next += 1;
        // Only where the oldest is discarded a batch is let in that does not fit.
        while self.is_over_its_bounds() && self.messages.pop_first().is_some() {}
    }

    fn is_over_its_bounds(&self) -> bool {
        let Bounds { messages, bytes, messages_max, bytes_max, .. } = self.bounds();
        messages_max.is_some_and(|max| messages > max) || bytes_max.is_some_and(|max| bytes > max)
    }

    fn last_of(&self, subject: &str) -> Option<(&u64, &Message)> {
        self.messages.iter().rev().find(|(_, message)| message.outgoing.subject == subject)
    }

    fn progress(&self) -> Progress {
        Progress {
            floor: self.floor,
            pending: self.messages.range(self.floor + 1..).count() as u64,
            in_hand: 0,
        }
    }

    fn bounds(&self) -> Bounds {
        let bound = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0);
        Bounds {
            first: self.messages.keys().next().copied().unwrap_or(self.next),
            last: self.next - 1,
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(|message| size(&message.outgoing)).sum(),
            messages_max: bound(self.config.max_messages),
            bytes_max: bound(self.config.max_bytes),
        }
    }
}

/// Whether a subject is one of the pattern's.
fn matches(pattern: &str, subject: &str) -> bool {
    let (pattern, tokens): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), subject.split('.').collect());
    pattern.len() == tokens.len()
        && pattern.iter().zip(tokens).all(|(pattern, token)| *pattern == "*" || *pattern == token)
}

/// What a message takes.
fn size(message: &Outgoing) -> u64 {
    let headers: usize = message.headers.pairs().map(|(name, value)| name.len() + value.len()).sum();
    (message.payload.len() + headers) as u64
}

fn stored((seq, message): (&u64, &Message)) -> Stored {
    Stored {
        subject: message.outgoing.subject.clone(),
        payload: message.outgoing.payload.clone(),
        seq: *seq,
        stored_at: message.stored_at,
        headers: message.outgoing.headers.clone(),
    }
}

fn head(entry: (&u64, &Message)) -> AcceptedHead {
    let stored = stored(entry);
    let redrives = stored.headers.redrive.map_or(0, |redrive| redrive.times);
    AcceptedHead {
        seq: stored.seq,
        accepted_at: stored.accepted_at(),
        stored_at: stored.stored_at,
        subject: stored.subject,
        redrives,
    }
}

#[cfg(test)]
#[path = "memory_streams_tests.rs"]
mod tests;
