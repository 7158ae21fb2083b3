//! One stream in memory: what it holds, and what it lets in.

use super::{AcceptedHead, Bounds, BrokerError, Outgoing, Progress, Stored};
use async_nats::HeaderName;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use domain::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One stream.
#[derive(Debug)]
pub(super) struct Log {
    /// The same bounds and rules that the server is given.
    config: Config,
    pub(super) messages: BTreeMap<u64, Message>,
    /// Of each subject that holds any, the sequence of the last one.
    last: HashMap<String, u64>,
    /// What the messages take.
    bytes: u64,
    /// The sequence of the next message.
    next: u64,
    /// Every message up to here is acknowledged.
    pub(super) floor: u64,
    /// The last message that the stream's stage was given.
    pub(super) delivered: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) outgoing: Outgoing,
    pub(super) stored_at: Timestamp,
}

impl Log {
    /// An empty stream. One that is derived never counts from a sequence again that it had before it
    /// vanished.
    pub(super) fn new(config: Config, anew: u64) -> Log {
        let next = if config.first_sequence.is_some() { anew } else { 1 };
        Log {
            config,
            messages: BTreeMap::new(),
            last: HashMap::new(),
            bytes: 0,
            next,
            floor: next - 1,
            delivered: None,
        }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|pattern| matches(pattern, subject))
    }

    /// Whether all of a batch may be stored; a batch of one is a single publish.
    pub(super) fn check(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
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
            let is_first = subjects.insert(&message.subject);
            let last = self.last_of(&message.subject).map_or(0, |(seq, _)| *seq);
            if message.expected_last.is_some_and(|expected| !is_first || expected != last) {
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
        let is_no_larger = replaced.is_some_and(|(_, old)| size(&old.outgoing) >= bytes_new);
        fits_number && (is_no_larger || bytes_max.is_none_or(|max| bytes + bytes_new <= max))
    }

    pub(super) fn store(&mut self, message: Outgoing, now: Timestamp) {
        if self.config.max_messages_per_subject == 1
            && let Some(older) = self.last.get(&message.subject).copied()
        {
            self.remove(older);
        }
        self.bytes += size(&message);
        self.last.insert(message.subject.clone(), self.next);
        self.messages.insert(self.next, Message { outgoing: message, stored_at: now });
        self.next += 1;
        // Only where the oldest is discarded a batch is let in that does not fit.
        while self.is_over_its_bounds()
            && let Some(oldest) = self.messages.keys().next().copied()
        {
            self.remove(oldest);
        }
    }

    /// Removes every message below a sequence, and answers how many there were.
    pub(super) fn purge_below(&mut self, seq: u64) -> u64 {
        let purged: Vec<u64> = self.messages.range(..seq).map(|(seq, _)| *seq).collect();
        purged.iter().for_each(|seq| self.remove(*seq));
        purged.len() as u64
    }

    /// Removes the oldest message of its subject.
    fn remove(&mut self, seq: u64) {
        let Some(Message { outgoing, .. }) = self.messages.remove(&seq) else { return };
        self.bytes -= size(&outgoing);
        if self.last.get(&outgoing.subject) == Some(&seq) {
            self.last.remove(&outgoing.subject);
        }
    }

    fn is_over_its_bounds(&self) -> bool {
        let Bounds { messages, bytes, messages_max, bytes_max, .. } = self.bounds();
        messages_max.is_some_and(|max| messages > max) || bytes_max.is_some_and(|max| bytes > max)
    }

    pub(super) fn last_of(&self, subject: &str) -> Option<(&u64, &Message)> {
        self.messages.get_key_value(self.last.get(subject)?)
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            floor: self.floor,
            delivered: self.delivered,
            pending: self.messages.range(self.floor + 1..).count() as u64,
            in_hand: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let bound = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0);
        Bounds {
            first: self.messages.keys().next().copied().unwrap_or(self.next),
            last: self.next - 1,
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            messages_max: bound(self.config.max_messages),
            bytes_max: bound(self.config.max_bytes),
        }
    }
}

/// Whether a subject is one of the pattern's.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let (pattern, tokens): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), subject.split('.').collect());
    pattern.len() == tokens.len()
        && pattern.iter().zip(tokens).all(|(pattern, token)| *pattern == "*" || *pattern == token)
}

/// What a message takes. The server keeps its condition among its headers.
fn size(message: &Outgoing) -> u64 {
    let headers: usize = message.headers.pairs().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = |(name, value): (HeaderName, String)| AsRef::<str>::as_ref(&name).len() + value.len();
    let condition: usize = message.condition().into_iter().flatten().map(bytes).sum();
    (message.payload.len() + headers + condition) as u64
}

pub(super) fn stored((seq, message): (&u64, &Message)) -> Stored {
    Stored {
        subject: message.outgoing.subject.clone(),
        payload: message.outgoing.payload.clone(),
        seq: *seq,
        stored_at: message.stored_at,
        headers: message.outgoing.headers.clone(),
    }
}

pub(super) fn head(entry: (&u64, &Message)) -> AcceptedHead {
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
