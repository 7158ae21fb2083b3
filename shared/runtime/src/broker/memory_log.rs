//! One stream in memory: what it holds, and what it lets in.

use super::memory_consumer::Consumer;
use super::memory_inbox::Inboxes;
use super::{AcceptedHead, Bounds, BrokerError, Outgoing, Stored};
use async_nats::HeaderName;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use domain::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::time::Instant;

/// One stream, and its consumer where it has one.
#[derive(Debug)]
pub(super) struct Log {
    /// The same bounds and rules that the server is given.
    config: Config,
    pub(super) messages: Messages,
    /// Of each subject that holds any, the sequence of the last one.
    last: HashMap<String, u64>,
    /// What the messages take.
    bytes: u64,
    /// The sequence of the next message.
    next: u64,
    pub(super) consumer: Option<Consumer>,
}

/// What a stream holds, by sequence. Who has been given a message keeps it, whatever becomes of the stream.
pub(super) type Messages = BTreeMap<u64, Arc<Message>>;

#[derive(Debug)]
pub(super) struct Message {
    pub(super) outgoing: Outgoing,
    pub(super) stored_at: Timestamp,
    /// What it takes.
    bytes: u64,
}

impl Log {
    /// An empty stream. One that is derived never counts from a sequence again that it had before it
    /// vanished.
    pub(super) fn new(config: Config, anew: u64) -> Log {
        let next = if config.first_sequence.is_some() { anew } else { 1 };
        Log { config, messages: BTreeMap::new(), last: HashMap::new(), bytes: 0, next, consumer: None }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|pattern| matches(pattern, subject))
    }

    /// Whether it outlives the server.
    pub(super) fn is_on_disk(&self) -> bool {
        self.config.storage == StorageType::File
    }

    /// Stores all of a batch or nothing; a batch of one is a single publish.
    pub(super) fn publish(&mut self, batch: &[Outgoing], now: Timestamp) -> Result<(), BrokerError> {
        let sizes: Vec<u64> = batch.iter().map(size).collect();
        self.check(batch, &sizes)?;
        for (message, bytes) in batch.iter().zip(sizes) {
            self.store(Message { outgoing: message.clone(), stored_at: now, bytes });
        }
        Ok(())
    }

    fn check(&self, batch: &[Outgoing], sizes: &[u64]) -> Result<(), BrokerError> {
        let mut subjects = HashSet::with_capacity(batch.len());
        for (message, bytes) in batch.iter().zip(sizes) {
            if !self.takes(&message.subject) {
                return Err(BrokerError::Refused(format!(
                    "{} is a subject of another stream than the batch's",
                    message.subject
                )));
            }
            if *bytes > u64::try_from(self.config.max_message_size).unwrap_or(0) {
                return Err(BrokerError::Refused(format!(
                    "{} bytes are more than a stream takes",
                    message.payload.len()
                )));
            }
            let is_first = subjects.insert(message.subject.as_str());
            let last = self.last_of(&message.subject).map_or(0, |(seq, _)| *seq);
            if message.expected_last.is_some_and(|expected| !is_first || expected != last) {
                return Err(BrokerError::Conflict);
            }
        }
        if self.config.discard == DiscardPolicy::New && !self.has_room(batch, sizes) {
            return Err(BrokerError::Full);
        }
        Ok(())
    }

    fn has_room(&self, batch: &[Outgoing], sizes: &[u64]) -> bool {
        let Bounds { messages, bytes, messages_max, bytes_max, .. } = self.bounds();
        // The server sees the old copy that a single publish replaces, and none that a batch replaces.
        let replaced = match batch {
            [message] if self.config.max_messages_per_subject == 1 => self.last_of(&message.subject),
            _ => None,
        };
        let (new, bytes_new): (u64, u64) = (batch.len() as u64, sizes.iter().sum());
        let fits_number = replaced.is_some() || messages_max.is_none_or(|max| messages + new <= max);
        let is_no_larger = replaced.is_some_and(|(_, old)| old.bytes >= bytes_new);
        fits_number && (is_no_larger || bytes_max.is_none_or(|max| bytes + bytes_new <= max))
    }

    fn store(&mut self, message: Message) {
        if self.config.max_messages_per_subject == 1
            && let Some(older) = self.last.get(&message.outgoing.subject).copied()
        {
            self.remove(older);
        }
        self.bytes += message.bytes;
        match self.last.get_mut(&message.outgoing.subject) {
            Some(last) => *last = self.next,
            None => {
                self.last.insert(message.outgoing.subject.clone(), self.next);
            }
        }
        self.messages.insert(self.next, Arc::new(message));
        self.next += 1;
        if let Some(consumer) = &mut self.consumer {
            consumer.stored();
        }
        // Only where the oldest is discarded a batch is let in that does not fit.
        while self.is_over_its_bounds()
            && let Some(oldest) = self.messages.keys().next().copied()
        {
            self.remove(oldest);
        }
    }

    /// Removes every message below a sequence, and answers how many there were.
    pub(super) fn purge_below(&mut self, seq: u64) -> u64 {
        if seq == 0 {
            return 0;
        }
        let before = self.messages.len();
        while let Some(oldest) = self.messages.keys().next().copied()
            && oldest < seq
        {
            self.forget(oldest);
            if let Some(consumer) = &mut self.consumer {
                consumer.purging(oldest);
            }
        }
        // What is purged is never stored any more, either.
        self.next = self.next.max(seq);
        let first = self.first();
        if let Some(consumer) = &mut self.consumer {
            consumer.purged(first);
        }
        (before - self.messages.len()) as u64
    }

    /// Removes the oldest message of its subject.
    fn remove(&mut self, seq: u64) {
        self.forget(seq);
        if let Some(consumer) = &mut self.consumer {
            consumer.removed(seq);
        }
    }

    fn forget(&mut self, seq: u64) {
        let Some(message) = self.messages.remove(&seq) else { return };
        self.bytes -= message.bytes;
        if self.last.get(&message.outgoing.subject) == Some(&seq) {
            self.last.remove(&message.outgoing.subject);
        }
    }

    fn is_over_its_bounds(&self) -> bool {
        let Bounds { messages, bytes, messages_max, bytes_max, .. } = self.bounds();
        messages_max.is_some_and(|max| messages > max) || bytes_max.is_some_and(|max| bytes > max)
    }

    pub(super) fn last_of(&self, subject: &str) -> Option<(&u64, &Arc<Message>)> {
        self.messages.get_key_value(self.last.get(subject)?)
    }

    /// The first sequence, or the next where it holds nothing.
    pub(super) fn first(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(self.next)
    }

    pub(super) fn bounds(&self) -> Bounds {
        let bound = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0);
        Bounds {
            // The server says 0 of a stream that never held anything.
            first: if self.next == 1 { 0 } else { self.first() },
            last: self.next - 1,
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            messages_max: bound(self.config.max_messages),
            bytes_max: bound(self.config.max_bytes),
        }
    }

    /// The server dies and starts, and this is on disk.
    pub(super) fn restart(&mut self) {
        let first = self.first();
        if let Some(consumer) = &mut self.consumer {
            consumer.restart(first, &self.messages);
        }
    }

    /// What has come due for the consumer by now comes due, each at its instant.
    pub(super) fn pass_time(&mut self, now: Instant, inboxes: &mut Inboxes) {
        if let Some(consumer) = &mut self.consumer {
            consumer.pass_time(now, &self.messages, inboxes);
        }
    }

    /// Gives to who asks what the consumer has to give.
    pub(super) fn hand_out(&mut self, inboxes: &mut Inboxes) {
        if let Some(consumer) = &mut self.consumer {
            consumer.hand_out(&self.messages, inboxes);
        }
    }
}

/// Whether a subject is one of the pattern's.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(token), Some(other)) if token == "*" || token == other => {}
            _ => return false,
        }
    }
}

/// What a message takes. The server keeps its condition among its headers.
fn size(message: &Outgoing) -> u64 {
    let headers: usize = message.headers.pairs().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = |(name, value): (HeaderName, String)| AsRef::<str>::as_ref(&name).len() + value.len();
    let condition: usize = message.condition().into_iter().flatten().map(bytes).sum();
    (message.payload.len() + headers + condition) as u64
}

pub(super) fn stored((seq, message): (&u64, &Arc<Message>)) -> Stored {
    Stored {
        subject: message.outgoing.subject.clone(),
        payload: message.outgoing.payload.clone(),
        seq: *seq,
        stored_at: message.stored_at,
        headers: message.outgoing.headers.clone(),
    }
}

pub(super) fn head(entry: (&u64, &Arc<Message>)) -> AcceptedHead {
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
