//! What lies in a client's hands: the deliveries that it has fetched and not yet taken.

use super::BrokerError;
use super::memory_log::Message;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// All that are open, by number.
pub(super) type Inboxes = BTreeMap<u64, Inbox>;

/// The deliveries of one client that has asked for some.
#[derive(Debug)]
pub(super) struct Inbox {
    fetched: VecDeque<Fetched>,
    /// So many it has asked for and not yet taken, fetched or not.
    asked: usize,
    batch_max: usize,
    /// Why nothing more will come.
    end: Option<BrokerError>,
    notify: Arc<Notify>,
}

/// A delivery on its way.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) seq: u64,
    pub(super) message: Arc<Message>,
    /// The number of this delivery among all of the consumer's.
    pub(super) delivery: u64,
    pub(super) attempt: u64,
}

impl Inbox {
    /// Of a client that fetches so many at once. Whoever waits for some is told by `notify`.
    pub(super) fn new(batch_max: usize, notify: Arc<Notify>) -> Inbox {
        Inbox { fetched: VecDeque::new(), asked: 0, batch_max, end: None, notify }
    }

    /// Whether it has asked for more than it was given.
    pub(super) fn has_room(&self) -> bool {
        self.fetched.len() < self.asked
    }

    #[cfg(test)]
    pub(super) fn fetched(&self) -> usize {
        self.fetched.len()
    }

    #[cfg(test)]
    pub(super) fn has_asked(&self) -> bool {
        self.asked > 0
    }

    pub(super) fn put(&mut self, fetched: Fetched) {
        self.fetched.push_back(fetched);
        self.notify.notify_one();
    }

    /// Looks for a delivery. Like the client's own, a look asks for another batch once half of one is left.
    pub(super) fn look(&mut self) -> Option<Fetched> {
        if self.asked <= self.batch_max / 2 {
            self.asked += self.batch_max;
        }
        let fetched = self.fetched.pop_front()?;
        self.asked -= 1;
        Some(fetched)
    }

    /// Nothing more comes; what has been fetched is still there, unless the connection is gone.
    pub(super) fn end(&mut self, why: BrokerError) {
        if !matches!(why, BrokerError::Missing) {
            self.fetched.clear();
        }
        self.end = Some(why);
        self.notify.notify_one();
    }

    /// Why nothing more comes, if so.
    pub(super) fn ended(&self) -> Option<&BrokerError> {
        self.end.as_ref()
    }
}
