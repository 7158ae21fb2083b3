//! The transport and the dead letters in memory: a scripted broker for the harness' tests.

use crate::broker::{BrokerError, Outgoing};
use crate::dead_letters::{BurialError, DeadLetter, DeadLetters};
use crate::drain::Drain;
use crate::transport::{Delivery, Transport, Unpublished};
use domain::TraceContext;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::Stream;

/// A delivery that nothing is heard of for so long would come again.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// What a test prepares, and what it looks at afterwards.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Batches to deliver, in order; when there are none left the drain begins.
    pub(crate) deliveries: VecDeque<Vec<Delivery<u64>>>,
    /// How the next publishes end; success when there is nothing left.
    pub(crate) publishes: VecDeque<Result<(), BrokerError>>,
    /// What each publish that does not succeed has stored nevertheless, by places.
    pub(crate) stored_of_failed: VecDeque<Vec<usize>>,
    /// The drain begins with the next publish.
    pub(crate) drains_at_publish: bool,
    /// How the next burials end; success when there is nothing left.
    pub(crate) burials: VecDeque<BurialError>,
    /// Tokens of open dead letters.
    pub(crate) dead: HashSet<String>,
    /// Batches that were stored, by subject.
    pub(crate) published: Vec<Vec<String>>,
    /// Of the messages that were stored, those that are traced: each subject, and the span that it comes from.
    pub(crate) traced: Vec<(String, TraceContext)>,
    /// Receipts that were acknowledged, in order.
    pub(crate) acknowledged: Vec<u64>,
    /// Receipts that were postponed, and for how long each.
    pub(crate) postponed: Vec<(u64, Duration)>,
    /// Dead letters that were written.
    pub(crate) buried: Vec<DeadLetter>,
    /// Receipts that were kept, each time.
    pub(crate) kept: Vec<Vec<u64>>,
    /// Receipts that were given back at the end.
    pub(crate) given_back: Vec<u64>,
    /// How often room was made, what was fetched ahead was let go, and missing streams were declared.
    pub(crate) made_room: usize,
    pub(crate) closed: usize,
    pub(crate) declared: usize,
}

/// Both seams over one script; clones share it.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) drain: Drain,
}

impl Memory {
    fn with<T>(&self, read: impl FnOnce(&mut Script) -> T) -> T {
        read(&mut self.script.lock().unwrap())
    }
}

impl Transport for Memory {
    type Receipt = u64;

    fn stream(&self) -> Stream {
        Stream::Accepted
    }

    async fn take(&mut self, _: usize) -> Result<Vec<Delivery<u64>>, BrokerError> {
        match self.with(|script| script.deliveries.pop_front()) {
            Some(batch) => Ok(batch),
            None => {
                self.drain.begin();
                std::future::pending().await
            }
        }
    }

    fn close(&mut self) {
        self.with(|script| script.closed += 1);
    }

    fn ack_wait(&self) -> Duration {
        ACK_WAIT
    }

    async fn reopen(&mut self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        self.with(|script| script.declared += 1);
        Ok(())
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        if self.with(|script| script.drains_at_publish) {
            self.drain.begin();
        }
        self.with(|script| match script.publishes.pop_front() {
            Some(Err(error)) => {
                let stored = script.stored_of_failed.pop_front().unwrap_or_default();
                if !stored.is_empty() {
                    script.published.push(stored.iter().map(|place| batch[*place].subject.clone()).collect());
                }
                Err(Unpublished { error, stored })
            }
            Some(Ok(())) | None => {
                let traced = |message: &Outgoing| Some((message.subject.clone(), message.headers.trace?));
                script.traced.extend(batch.iter().filter_map(traced));
                script.published.push(batch.iter().map(|message| message.subject.clone()).collect());
                Ok(())
            }
        })
    }

    async fn make_room(&self, _: Stream) -> Result<(), BrokerError> {
        self.with(|script| script.made_room += 1);
        Ok(())
    }

    async fn postpone(&self, receipts: &[(u64, Duration)]) -> Result<(), BrokerError> {
        self.with(|script| script.postponed.extend_from_slice(receipts));
        Ok(())
    }

    async fn acknowledge(&self, receipts: &[u64]) -> Result<(), BrokerError> {
        self.with(|script| script.acknowledged.extend_from_slice(receipts));
        Ok(())
    }

    async fn keep(&self, receipts: &[u64]) -> Result<(), BrokerError> {
        self.with(|script| script.kept.push(receipts.to_vec()));
        Ok(())
    }

    async fn give_back(&mut self, receipts: &[u64]) -> Result<(), BrokerError> {
        self.with(|script| script.given_back.extend_from_slice(receipts));
        Ok(())
    }
}

impl DeadLetters for Memory {
    async fn write(&self, letter: &DeadLetter) -> Result<(), BurialError> {
        self.with(|script| {
            if let Some(error) = script.burials.pop_front() {
                return Err(error);
            }
            script.buried.push(letter.clone());
            Ok(())
        })
    }

    fn is_dead(&self, token: &str) -> bool {
        self.with(|script| script.dead.contains(token))
    }
}
