//! The durable consumer of a stream in memory: what it has delivered, what comes again and when, and what is
//! acknowledged. It counts as the server does, down to how a floor moves when messages vanish below it.
//!
//! Nothing happens by itself: whoever touches the stream lets pass first what time has passed, in order.

use super::memory_inbox::{Fetched, Inbox, Inboxes};
use super::memory_log::{Message, Messages};
use super::memory_marks::{Floor, Marks, Open};
use super::{BrokerError, Progress};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The server writes down how far a consumer has come ten times a second, and forgets the rest when it dies.
const WRITTEN_EVERY: Duration = Duration::from_millis(100);

/// After its start the server looks through what was delivered, a second later on average.
const LOOKED_THROUGH_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Consumer {
    ack_wait: Duration,
    /// New messages are delivered while fewer are open.
    open_max: usize,
    marks: Marks,
    /// Messages that were never delivered.
    pending: u64,
    /// Delivered and not acknowledged, by sequence.
    open: BTreeMap<u64, Open>,
    /// When what is open comes again by itself; nothing of what does so at once.
    due: BTreeSet<(Instant, u64)>,
    /// What comes again at once, in order.
    again: BTreeMap<u64, u64>,
    /// The next place in that order.
    place: u64,
    /// Who asks, by turns.
    clients: VecDeque<u64>,
    /// What has changed lately, where it is written down at all.
    unwritten: Option<VecDeque<Change>>,
    /// When it was touched last.
    now: Instant,
}

/// What was before a change.
#[derive(Debug)]
struct Change {
    at: Instant,
    marks: Marks,
    seq: u64,
    open: Option<Open>,
}

impl Consumer {
    /// One that has all messages still to deliver, from the stream's first sequence on.
    pub(super) fn new(
        ack_wait: Duration,
        open_max: usize,
        first: u64,
        messages: &Messages,
        is_on_disk: bool,
    ) -> Consumer {
        Consumer {
            ack_wait,
            open_max,
            marks: Marks::all_done_below(first, 0),
            pending: messages.len() as u64,
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            again: BTreeMap::new(),
            place: 0,
            clients: VecDeque::new(),
            unwritten: is_on_disk.then(VecDeque::new),
            now: Instant::now(),
        }
    }

    pub(super) fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            floor: self.marks.told.seq,
            delivered: (self.marks.deliveries > 0).then_some(self.marks.told_last),
            pending: self.pending,
            in_hand: self.open.len() as u64,
        }
    }

    /// When the next delivery comes again by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// This client may be given deliveries from now on.
    pub(super) fn join(&mut self, client: u64) {
        self.clients.push_back(client);
    }

    pub(super) fn leave(&mut self, client: u64) {
        self.clients.retain(|other| *other != client);
    }

    /// Ends the inboxes of all its clients.
    pub(super) fn end(&mut self, inboxes: &mut Inboxes, why: &BrokerError) {
        for client in self.clients.drain(..) {
            if let Some(inbox) = inboxes.get_mut(&client) {
                inbox.end(why.clone());
            }
        }
    }

    /// A message was stored.
    pub(super) fn stored(&mut self) {
        self.pending += 1;
    }

    /// A message was removed, such as one that another took the place of: it counts as acknowledged.
    pub(super) fn removed(&mut self, seq: u64) {
        self.purging(seq);
        self.close(seq);
    }

    /// A message is being purged.
    pub(super) fn purging(&mut self, seq: u64) {
        if seq >= self.marks.next {
            self.pending -= 1;
        }
    }

    /// Everything below the stream's first sequence was purged. What was to come again at once waits for its
    /// time again, as with the server.
    pub(super) fn purged(&mut self, first: u64) {
        self.marks.next = self.marks.next.max(first);
        let mut floor = self.marks.floor;
        if floor.seq < first {
            floor.seq = first - 1;
            while let Some((seq, open)) = self.open.first_key_value()
                && *seq < first
            {
                let closed = Floor { seq: *seq, delivery: open.delivery };
                self.close(closed.seq);
                floor.delivery = closed.delivery.max(floor.delivery);
            }
        }
        if self.open.is_empty() {
            floor = Floor { seq: self.marks.next - 1, delivery: self.marks.deliveries };
        }
        self.marks.floor = floor;
        // What it has written down it does not set back.
        if floor.seq >= self.marks.told.seq {
            (self.marks.told, self.marks.told_last) = (floor, self.marks.next - 1);
        }
        for seq in std::mem::take(&mut self.again).into_values() {
            if let Some(open) = self.open.get_mut(&seq) {
                open.place = None;
                if open.due <= self.now {
                    open.due = self.now + self.ack_wait;
                }
                self.due.insert((open.due, seq));
            }
        }
    }

    /// A delivery is acknowledged, whichever it was.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        self.close(seq);
    }

    /// A delivery is worked on: its time begins anew.
    pub(super) fn keep(&mut self, seq: u64) {
        self.wait(seq, self.ack_wait);
    }

    /// A delivery is not wanted now: it comes again after this, or at once.
    pub(super) fn postpone(&mut self, seq: u64, delivery: u64, after: Option<Duration>) {
        if delivery <= self.marks.floor.delivery || delivery > self.marks.deliveries {
            return;
        }
        match after {
            Some(after) => {
                self.leave_queue(seq);
                self.wait(seq, after);
            }
            None => self.enqueue(seq),
        }
    }

    /// A delivery comes again now, even one that was acknowledged; whether there was one.
    pub(super) fn redeliver(&mut self, seq: u64, messages: &Messages) -> bool {
        if seq >= self.marks.next || !messages.contains_key(&seq) {
            return false;
        }
        if self.open.contains_key(&seq) {
            self.enqueue(seq);
        } else {
            self.again.insert(self.place, seq);
            self.place += 1;
        }
        true
    }

    /// Everything up to this sequence is acknowledged, and nothing beyond it was ever delivered.
    pub(super) fn set_floor(&mut self, floor: u64, messages: &Messages) {
        self.open.clear();
        self.due.clear();
        self.again.clear();
        self.marks = Marks::all_done_below(floor + 1, self.marks.deliveries + 1);
        self.pending = messages.range(floor + 1..).count() as u64;
    }

    /// The server dies and starts: it has forgotten what it had not written down, and who asked.
    pub(super) fn restart(&mut self, first: u64, messages: &Messages) {
        while let Some(change) = self.unwritten.as_mut().and_then(VecDeque::pop_back)
            && change.at + WRITTEN_EVERY > self.now
        {
            self.marks = change.marks;
            match change.open {
                Some(open) => self.open.insert(change.seq, open),
                None => self.open.remove(&change.seq),
            };
        }
        self.unwritten = self.unwritten.is_some().then(VecDeque::new);
        (self.marks.next, self.marks.floor) = (self.marks.told_last + 1, self.marks.told);
        self.clients.clear();
        self.again.clear();
        self.due.clear();
        let due = self.now + self.ack_wait.min(LOOKED_THROUGH_AFTER);
        for (seq, open) in &mut self.open {
            (open.due, open.place) = (due, None);
            self.due.insert((due, *seq));
        }
        let gone: Vec<u64> = self.open.keys().filter(|seq| !messages.contains_key(seq)).copied().collect();
        gone.into_iter().for_each(|seq| self.close(seq));
        if self.marks.floor.seq + 1 < first {
            self.purged(first);
        }
        self.pending = messages.range(self.marks.next..).count() as u64;
    }

    /// Lets pass what time has passed: what came due is given to who asks, each at its instant.
    pub(super) fn pass_time(&mut self, now: Instant, messages: &Messages, inboxes: &mut Inboxes) {
        while let Some((at, seq)) = self.due.first().copied()
            && at <= now
        {
            self.now = at;
            self.enqueue(seq);
            if let Some(open) = self.open.get_mut(&seq) {
                open.due = at + self.ack_wait;
            }
            // What comes due at the same instant does so together.
            if self.due.first().is_none_or(|(next, _)| *next > at) {
                self.hand_out(messages, inboxes);
            }
        }
        self.now = now;
    }

    /// Gives to who asks what is ready: first what comes again, then new messages in order; to each client in
    /// its turn, if it has asked for more than it was given.
    pub(super) fn hand_out(&mut self, messages: &Messages, inboxes: &mut Inboxes) {
        let asks = |client: &u64, inboxes: &Inboxes| inboxes.get(client).is_some_and(Inbox::has_room);
        while let Some(place) = self.clients.iter().position(|client| asks(client, inboxes))
            && let Some(fetched) = self.next_delivery(messages)
            && let Some(client) = self.clients.remove(place)
        {
            self.clients.push_back(client);
            if let Some(inbox) = inboxes.get_mut(&client) {
                inbox.put(fetched);
            }
        }
    }

    fn next_delivery(&mut self, messages: &Messages) -> Option<Fetched> {
        while let Some((_, seq)) = self.again.pop_first() {
            // It may be gone by now where nobody waits for its acknowledgement.
            if let Some(message) = messages.get(&seq) {
                return Some(self.delivered(seq, message));
            }
        }
        if self.open.len() >= self.open_max {
            return None;
        }
        let (seq, message) = messages.range(self.marks.next..).next()?;
        Some(self.delivered(*seq, message))
    }

    fn delivered(&mut self, seq: u64, message: &Arc<Message>) -> Fetched {
        let is_new = seq >= self.marks.next;
        let before = self.open.get(&seq).copied();
        self.note(seq, before);
        self.marks.deliveries += 1;
        let (delivery, due) = (self.marks.deliveries, self.now + self.ack_wait);
        let attempt = match before {
            Some(open) => {
                self.due.remove(&(open.due, seq));
                self.open.insert(seq, Open { attempts: open.attempts + 1, due, place: None, ..open });
                open.attempts + 1
            }
            None if is_new => {
                self.open.insert(seq, Open { delivery, attempts: 1, due, place: None });
                (self.marks.next, self.marks.told_last) = (seq + 1, seq);
                self.pending -= 1;
                1
            }
            // It was acknowledged: nobody waits for that to happen again.
            None => 2,
        };
        if self.open.contains_key(&seq) {
            self.due.insert((due, seq));
        }
        Fetched { seq, message: message.clone(), delivery, attempt }
    }

    /// What is open comes again at once, unless it does already.
    fn enqueue(&mut self, seq: u64) {
        if let Some(open) = self.open.get_mut(&seq)
            && open.place.is_none()
        {
            open.place = Some(self.place);
            self.due.remove(&(open.due, seq));
            self.again.insert(self.place, seq);
            self.place += 1;
        }
    }

    fn leave_queue(&mut self, seq: u64) {
        if let Some(open) = self.open.get_mut(&seq)
            && let Some(place) = open.place.take()
        {
            self.again.remove(&place);
        }
    }

    /// What is open comes again after this, unless it does at once.
    fn wait(&mut self, seq: u64, after: Duration) {
        if let Some(open) = self.open.get_mut(&seq) {
            self.due.remove(&(open.due, seq));
            open.due = self.now + after;
            if open.place.is_none() {
                self.due.insert((open.due, seq));
            }
        }
    }

    /// Nobody waits any more for the acknowledgement of this message, and the floor moves if this was the
    /// lowest.
    fn close(&mut self, seq: u64) {
        self.leave_queue(seq);
        let Some(open) = self.open.remove(&seq) else { return };
        self.due.remove(&(open.due, seq));
        self.note(seq, Some(open));
        self.marks.close(Floor { seq, delivery: open.delivery }, &self.open);
    }

    /// Notes what was before a change, for as long as it is not written down.
    fn note(&mut self, seq: u64, open: Option<Open>) {
        let Some(unwritten) = &mut self.unwritten else { return };
        while unwritten.front().is_some_and(|change| change.at + WRITTEN_EVERY <= self.now) {
            unwritten.pop_front();
        }
        unwritten.push_back(Change { at: self.now, marks: self.marks, seq, open });
    }
}

#[cfg(test)]
#[path = "memory_consumer_tests.rs"]
mod tests;
