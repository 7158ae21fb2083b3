//! Which payments are told of, and what of them: pure, so that it can be tried on any order of things.
//!
//! Invariants: the hops of a payment are told in their order, each once. Nothing is told of a payment that is less
//! than the ledger knew when it was looked up for this: where its row is final, its end is told in the same message.
//! After its end nothing is told of it. Whole payments are chosen rather than parts of many: a payment is taken up
//! when there is room for all of its events, and from then on followed until its end is told.

use super::sighting::{End, Hops, Sighting};
use domain::{PaymentKey, Refusal, Timestamp};
use lru::LruCache;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use wire::Hop;

/// Events that are told in one round at most.
pub(super) const EVENTS_PER_ROUND: usize = 10;

/// Events of a payment at most: each hop but that of the refused, whose next is the end.
const EVENTS_PER_PAYMENT: usize = Hop::ALL.len() - 1;

const _: () = assert!(EVENTS_PER_PAYMENT <= EVENTS_PER_ROUND, "a payment's events are told in one message");

/// Room for events that may be saved up while little happens: a burst of twenty payments is told whole, two
/// seconds late at most.
const SAVED_EVENTS_MAX: usize = 10 * EVENTS_PER_ROUND;

/// Payments whose end is not known yet; when there are so many, only ended ones are taken up.
const PENDING_MAX: usize = 50;

/// Payments that are followed at all, and so looked up at once: the pending ones, and those that wait for room.
pub(super) const FOLLOWED_MAX: usize = PENDING_MAX + SAVED_EVENTS_MAX / 2;

/// Rounds after which a payment of which nothing new was heard is forgotten; about a minute. It is stuck, and must
/// not take the place of others for ever.
const FORGOTTEN_AFTER: u64 = 272;

/// A payment of which nothing was heard is looked up every so many rounds; about once a second.
const LOOKED_UP_EVERY: u64 = 5;

/// Ended payments that were told. At most fifty a second are, so it covers more than a minute.
const ENDED_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// What ended so long ago, in seconds, is no news, and may have been told and forgotten since: it was driven again.
const NEWS_SECONDS_MAX: i64 = 60;

/// The newest ends that were told.
const NEWEST_ENDS: usize = 20;

/// What is told of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) stage: &'static str,
    pub(super) status: &'static str,
    pub(super) at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Refusal>,
}

impl Event {
    fn of_hop(key: &PaymentKey, hop: Hop, at: Timestamp) -> Event {
        Event { id: key.id.to_string(), stage: hop.as_str(), status: "PENDING", at, reason: None }
    }

    fn of_end(key: &PaymentKey, end: &End) -> Event {
        Event {
            id: key.id.to_string(),
            stage: Hop::Finished.as_str(),
            status: end.status.as_str(),
            at: end.at,
            reason: end.reason,
        }
    }
}

/// What the ledger said of the payments that it was asked for.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing.
    Silent,
    /// These have a row, the others none.
    Rows(HashMap<PaymentKey, Sighting>),
}

/// The payments that are told of.
#[derive(Debug)]
pub(super) struct Stories {
    /// Those that are followed, the oldest first.
    followed: VecDeque<Story>,
    ended: LruCache<PaymentKey, ()>,
    newest_ends: VecDeque<Event>,
    /// Events that there is room for and that are promised to no payment.
    saved_events: usize,
    round: u64,
}

/// One payment as far as it is known and told.
#[derive(Debug)]
struct Story {
    key: PaymentKey,
    hops: Hops,
    end: Option<End>,
    /// The end is known from the row, and so everything.
    is_whole: bool,
    /// The last hop that was told.
    told: Option<Hop>,
    told_count: usize,
    /// There may be something to tell.
    has_news: bool,
    /// The round in which something was heard last.
    heard: u64,
}

impl Stories {
    pub(super) fn new() -> Stories {
        Stories {
            followed: VecDeque::new(),
            ended: LruCache::new(ENDED_MAX),
            newest_ends: VecDeque::new(),
            saved_events: SAVED_EVENTS_MAX,
            round: 0,
        }
    }

    /// How many ends of before the beginning are of use.
    pub(super) const fn ends_wanted() -> usize {
        NEWEST_ENDS
    }

    /// What had ended before the beginning, the oldest first.
    pub(super) fn begin_with(&mut self, ends: Vec<Sighting>) {
        for Sighting { key, end, .. } in ends {
            if let Some(end) = end
                && self.ended.put(key.clone(), ()).is_none()
            {
                self.remember(Event::of_end(&key, &end));
            }
        }
    }

    /// The newest ends that were told, the oldest first.
    pub(super) fn newest_ends(&self) -> impl Iterator<Item = &Event> {
        self.newest_ends.iter()
    }

    /// A round begins, with what was seen since the last.
    pub(super) fn see(&mut self, sightings: Vec<Sighting>) {
        self.round += 1;
        self.saved_events = (self.saved_events + EVENTS_PER_ROUND).min(SAVED_EVENTS_MAX);
        self.forget();
        let mut fresh: Vec<Sighting> = Vec::new();
        let mut places: HashMap<PaymentKey, usize> = HashMap::new();
        for sighting in sightings {
            if self.ended.contains(&sighting.key) {
                continue;
            }
            if let Some(story) = self.followed.iter_mut().find(|story| story.key == sighting.key) {
                story.hear(sighting, self.round);
            } else if let Some(place) = places.get(&sighting.key) {
                let known = &mut fresh[*place];
                known.hops.extend(sighting.hops);
                known.end = known.end.or(sighting.end);
            } else {
                places.insert(sighting.key.clone(), fresh.len());
                fresh.push(sighting);
            }
        }
        // Those at their beginning first: their whole way can be watched.
        fresh.sort_by_key(|sighting| (sighting.end.is_some(), sighting.hops.len()));
        fresh.into_iter().for_each(|sighting| self.take_up(sighting));
    }

    fn take_up(&mut self, sighting: Sighting) {
        let has_room = sighting.end.is_some() || self.pending() < PENDING_MAX;
        if !has_room || self.saved_events < EVENTS_PER_PAYMENT || self.followed.len() >= FOLLOWED_MAX {
            return;
        }
        self.saved_events -= EVENTS_PER_PAYMENT;
        self.followed.push_back(Story {
            key: sighting.key,
            hops: sighting.hops,
            end: sighting.end,
            is_whole: false,
            told: None,
            told_count: 0,
            has_news: true,
            heard: self.round,
        });
    }

    fn pending(&self) -> usize {
        self.followed.iter().filter(|story| story.end.is_none()).count()
    }

    fn forget(&mut self) {
        let (round, mut freed) = (self.round, 0);
        self.followed.retain(|story| {
            let stays = round - story.heard < FORGOTTEN_AFTER;
            freed += if stays { 0 } else { story.promised() };
            stays
        });
        self.save(freed);
    }

    fn save(&mut self, events: usize) {
        self.saved_events = (self.saved_events + events).min(SAVED_EVENTS_MAX);
    }

    fn remember(&mut self, end: Event) {
        if self.newest_ends.len() == NEWEST_ENDS {
            self.newest_ends.pop_front();
        }
        self.newest_ends.push_back(end);
    }

    /// The payments that the ledger is to be asked for in this round.
    pub(super) fn to_look_up(&self) -> Vec<PaymentKey> {
        let stories = self.followed.iter().filter(|story| story.is_due(self.round));
        stories.map(|story| story.key.clone()).collect()
    }

    /// What is told in this round, at most so many events, given what the ledger has just said.
    pub(super) fn tell(&mut self, look: &Look, room: usize, now: Timestamp) -> Vec<Event> {
        let (mut events, mut freed) = (Vec::new(), 0);
        for mut story in std::mem::take(&mut self.followed) {
            let is_certain = story.look(look, self.round);
            if story.is_old(now) {
                freed += story.promised();
                continue;
            }
            let told = story.next_events(is_certain);
            if told.len() > room - events.len() {
                self.followed.push_back(story);
                continue;
            }
            story.advance(&told, is_certain);
            events.extend(told.into_iter().map(|(_, event)| event));
            match (&story.end, events.last()) {
                (Some(_), Some(end)) => {
                    freed += story.promised();
                    self.ended.put(story.key, ());
                    self.remember(end.clone());
                }
                _ => self.followed.push_back(story),
            }
        }
        self.save(freed);
        events
    }
}

impl Story {
    fn hear(&mut self, sighting: Sighting, round: u64) {
        (self.has_news, self.heard) = (true, round);
        if !self.is_whole {
            // What is known of a hop stays: a payment that is driven again has it behind it twice.
            for (hop, at) in sighting.hops {
                self.hops.entry(hop).or_insert(at);
            }
            self.end = self.end.or(sighting.end);
        }
    }

    fn is_due(&self, round: u64) -> bool {
        !self.is_whole && (self.has_news || (round + self.heard).is_multiple_of(LOOKED_UP_EVERY))
    }

    /// Takes what the ledger says of it; whether it is known now how far it has come.
    fn look(&mut self, look: &Look, round: u64) -> bool {
        if !self.is_due(round) {
            return self.is_whole;
        }
        let Look::Rows(rows) = look else { return false };
        if let Some(row) = rows.get(&self.key) {
            if row.end.is_some() {
                // The row's way is the payment's; that of a copy which was driven again is not.
                (self.hops, self.end, self.is_whole) = (row.hops.clone(), row.end, true);
            } else {
                self.hops.extend(row.hops.clone());
            }
        }
        true
    }

    /// Whether it ended before anything of it was told, and too long ago.
    fn is_old(&self, now: Timestamp) -> bool {
        let ended = self.end.filter(|_| self.told.is_none());
        ended.is_some_and(|end| now.seconds_since(end.at) >= NEWS_SECONDS_MAX)
    }

    /// What is to be told of it next, all of it at once.
    fn next_events(&self, is_certain: bool) -> Vec<(Hop, Event)> {
        if !is_certain && self.end.is_none() {
            return Vec::new();
        }
        let is_next = |hop: &Hop, at: &Timestamp| {
            self.told.is_none_or(|told| *hop > told) && self.end.is_none_or(|end| *at <= end.at)
        };
        let hops = self.hops.iter().filter(|(hop, at)| is_next(hop, at));
        let hops = hops.map(|(hop, at)| (*hop, Event::of_hop(&self.key, *hop, *at)));
        let end = self.end.iter().map(|end| (Hop::Finished, Event::of_end(&self.key, end)));
        hops.chain(end).collect()
    }

    fn advance(&mut self, told: &[(Hop, Event)], is_certain: bool) {
        self.told = told.last().map(|(hop, _)| *hop).or(self.told);
        self.told_count += told.len();
        self.has_news = self.has_news && !is_certain;
    }

    /// Events that there is room for and that it has not needed yet.
    fn promised(&self) -> usize {
        EVENTS_PER_PAYMENT.saturating_sub(self.told_count)
    }
}

#[cfg(test)]
#[path = "stories_tests.rs"]
mod tests;
