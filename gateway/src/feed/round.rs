//! The feed as it runs: five times a second or so it takes what is new, asks the ledger, and tells.

use super::Feed;
use super::listeners::{EVENTS_PER_SECOND, Listener, encode};
use super::sighting::{Sighting, headers_are_enough};
use super::stories::{EVENTS_PER_ROUND, FOLLOWED_MAX, Look, Stories};
use bytes::Bytes;
use runtime::broker::Follower;
use runtime::clock;
use runtime::process::chain;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use wire::Stream;

/// Between two rounds. Five fit into a second with some room, so that a second has five messages at most and the
/// events of five rounds.
const EVERY: Duration = Duration::from_millis(220);

/// In any span of so long no more is sent than a listener may be sent in a second; a little longer than that, as
/// what is sent evenly does not arrive so.
const WINDOW: Duration = Duration::from_millis(1_050);

const _: () = assert!(5 * EVENTS_PER_ROUND <= EVENTS_PER_SECOND);

/// Messages that are taken in a round: of one stream at most, and of all where there are many shards.
const TAKEN_MAX: usize = 40;
const TAKEN_OF_ALL: usize = 240;

/// How long an answer of the ledger is waited for. It is a read of a hundred rows by their keys.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Rounds in which a ledger that was silent is not asked again: about a second, then twice as long, and so on.
const SILENT_ROUNDS: u32 = 5;
const SILENT_ROUNDS_MAX: u32 = 40;

/// A feed while somebody listens.
pub(super) struct Running {
    feed: Feed,
    joins: mpsc::Receiver<Listener>,
    listeners: Vec<Listener>,
    follower: Follower,
    stories: Stories,
    /// What had ended before is known, and everything is followed: who joins can be welcomed.
    has_begun: bool,
    /// When so many events were sent.
    sent: VecDeque<(Instant, usize)>,
    /// Rounds until the ledger is asked again, and for how many it is let be when it is silent once more.
    silence: (u32, u32),
}

impl Running {
    pub(super) fn new(feed: Feed, joins: mpsc::Receiver<Listener>, first: Listener) -> Running {
        let streams: Vec<(Stream, bool)> = Stream::all(feed.shards)
            .into_iter()
            .filter(|stream| stream.hop().is_some())
            .map(|stream| (stream, headers_are_enough(stream)))
            .collect();
        let taken_max = (TAKEN_OF_ALL / streams.len().max(1)).clamp(1, TAKEN_MAX);
        let follower = Follower::new(feed.broker.clone(), streams, taken_max);
        Running {
            feed,
            joins,
            listeners: vec![first],
            follower,
            stories: Stories::new(),
            has_begun: false,
            sent: VecDeque::new(),
            silence: (0, SILENT_ROUNDS),
        }
    }

    /// Runs until the last listener has gone, or the drain begins.
    pub(super) async fn run(mut self) {
        let drain = self.feed.drain.clone();
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.rounds() => {}
        }
        // Their streams end with the drain by themselves.
        self.listeners.clear();
        self.follower.close().await;
    }

    async fn rounds(&mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(listener) = self.joins.recv() => self.admit(listener),
                _ = ticks.tick() => {
                    self.round().await;
                    if self.listeners.is_empty() {
                        match self.feed.leave(&mut self.joins) {
                            Some(latecomer) => self.admit(latecomer),
                            None => return,
                        }
                    }
                }
            }
        }
    }

    fn admit(&mut self, mut listener: Listener) {
        if !self.has_begun || listener.welcome(self.stories.newest_ends()) {
            self.listeners.push(listener);
        }
    }

    async fn round(&mut self) {
        let taken = self.follower.take().await;
        if !self.has_begun {
            self.begin().await;
        }
        let seen = taken.iter().filter_map(|(stream, stored)| Sighting::of_message(*stream, stored));
        self.stories.see(seen.collect());
        let look = self.look_up().await;
        let room = self.room();
        let events = self.stories.tell(&look, room, clock::now());
        let (text, count) = encode(events.iter());
        if count == 0 {
            self.listeners.retain(Listener::is_there);
            return;
        }
        let message = Bytes::from(text);
        self.listeners.retain_mut(|listener| listener.tell(&message, count));
        self.sent.push_back((Instant::now(), count));
    }

    /// Learns what has ended before, once everything new is followed: nothing falls between the two.
    async fn begin(&mut self) {
        if !self.follower.is_complete() {
            return;
        }
        match self.feed.broker.newest(Stream::Finished, Stories::ends_wanted()).await {
            Ok(ended) => {
                let ended = ended.iter().filter_map(|stored| Sighting::of_message(Stream::Finished, stored));
                self.stories.begin_with(ended.collect());
                self.has_begun = true;
                let stories = &self.stories;
                self.listeners.retain_mut(|listener| listener.welcome(stories.newest_ends()));
            }
            Err(error) => tracing::debug!(%error, "what has ended before is not known yet"),
        }
    }

    /// What the ledger says of the payments that are told of, those whose end is not known from it.
    async fn look_up(&mut self) -> Look {
        let keys = self.stories.to_look_up();
        debug_assert!(keys.len() <= FOLLOWED_MAX, "one read has a bound");
        if keys.is_empty() {
            return Look::Rows([].into());
        }
        if self.silence.0 > 0 {
            self.silence.0 -= 1;
            return Look::Silent;
        }
        let silent = match timeout(LOOK_MAX, self.feed.ledger.records(&keys)).await {
            Ok(Ok(rows)) => {
                self.silence = (0, SILENT_ROUNDS);
                return Look::Rows(
                    rows.into_iter().map(|(key, record)| (key, Sighting::of_record(&record))).collect(),
                );
            }
            Ok(Err(error)) => chain(&error),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::debug!(error = silent, "the ledger does not say what is true of the payments told of");
        let rounds = self.silence.1;
        self.silence = (rounds, (rounds * 2).min(SILENT_ROUNDS_MAX));
        Look::Silent
    }

    /// Events that may be told now.
    fn room(&mut self) -> usize {
        while self.sent.front().is_some_and(|(at, _)| at.elapsed() >= WINDOW) {
            self.sent.pop_front();
        }
        let sent: usize = self.sent.iter().map(|(_, count)| count).sum();
        EVENTS_PER_SECOND.saturating_sub(sent).min(EVENTS_PER_ROUND)
    }
}
