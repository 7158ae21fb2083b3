//! What is known of every payment of a replay, and the counts that follow from it.

use super::latencies::Latencies;
use super::script::Script;
use crate::client::Ending;
use domain::facts::{PaymentRecord, RecordState};
use domain::{PaymentId, PaymentKey, Refusal, Tenant, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use wire::message::PaymentFinished;

/// A row that was accepted so long before the replay began is an earlier replay's: the clocks of one machine
/// agree better.
const CLOCK_DOUBT_US: i64 = 1_000_000;

/// What the gateway owes us of a payment; the larger holds when several requests were about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Standing {
    #[default]
    Unowed,
    /// An end, if it was stored at all: the answer did not come.
    Unclear,
    /// An end, if it was not an earlier replay's: a repeated request was told that it had been taken before.
    Repeated,
    /// An end: it was accepted.
    Owed,
}

/// How a payment ended in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Why it failed; nothing: it settled.
    pub(crate) reason: Option<Refusal>,
    pub(crate) finished_at: Timestamp,
}

/// What is known of one payment, however many requests were about it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Track {
    /// What is owed of it.
    pub(crate) standing: Standing,
    /// When it was to be sent first, in microseconds after the start.
    pub(crate) planned_us: Option<u64>,
    /// When its end was heard of, likewise.
    pub(crate) heard_us: Option<u64>,
    /// When the ledger's row says that it was accepted.
    pub(crate) recorded: Option<Timestamp>,
    /// How it ended.
    pub(crate) end: Option<End>,
}

impl Track {
    /// Whether an answer promised an end that the ledger has not shown yet.
    fn is_awaited(&self) -> bool {
        self.standing >= Standing::Repeated && self.end.is_none()
    }
}

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// This replay's request was accepted: it must end.
    Accepted,
    /// It was refused, or accepted before.
    NotOurs,
    /// No answer came, and the ledger does not know it.
    Unknown,
}

/// Counts of requests, each by its final answer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Answered with 202 for the first time.
    pub(crate) accepted: u64,
    /// Answered with 202, as before this replay or as another request of it.
    pub(crate) replayed: u64,
    /// Answered with a refusal, by its code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Without a final answer, and surely not stored.
    pub(crate) unavailable: u64,
    /// Attempts after each request's first.
    pub(crate) retries: u64,
}

/// All that is known, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    /// By the payment's number in the script.
    pub(crate) tracks: Vec<Track>,
    pub(crate) counts: Counts,
    /// From the planned send to the 202.
    pub(crate) accepts: Latencies,
    /// From the planned send to the send.
    pub(crate) delays: Latencies,
    /// When the last 202 came.
    pub(crate) last_accept_us: u64,
    /// When the last final answer came.
    pub(crate) last_answer_us: u64,
    /// The payments of requests that are neither accepted nor replayed for sure.
    pub(crate) doubtful: Vec<usize>,
    heard: u64,
    last_news: Instant,
}

/// What a progress bar shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) sent: u64,
    /// Of them accepted.
    pub(crate) accepted: u64,
    /// Payments whose end was heard of.
    pub(crate) heard: u64,
}

/// The state of a replay, shared by all its tasks.
#[derive(Debug)]
pub(crate) struct Board {
    script: Arc<Script>,
    started: Instant,
    started_at: Timestamp,
    state: Mutex<State>,
}

impl Board {
    /// A board on which nothing has happened since `started`.
    pub(crate) fn new(script: Arc<Script>, started: Instant) -> Board {
        let state = State {
            tracks: vec![Track::default(); script.payments()],
            counts: Counts::default(),
            accepts: Latencies::new(),
            delays: Latencies::new(),
            last_accept_us: 0,
            last_answer_us: 0,
            doubtful: Vec::new(),
            heard: 0,
            last_news: started,
        };
        let ago = i64::try_from(started.elapsed().as_micros()).unwrap_or(0);
        let started_at = Timestamp::from_micros(runtime::clock::now().micros().saturating_sub(ago));
        Board { script, started, started_at, state: Mutex::new(state) }
    }

    /// All that is known.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds from the start to now.
    fn now_us(&self) -> u64 {
        self.offset_us(Instant::now())
    }

    fn offset_us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    /// Microseconds from the start to an instant of the ledger's clock.
    pub(crate) fn recorded_us(&self, at: Timestamp) -> u64 {
        u64::try_from(at.micros().saturating_sub(self.started_at.micros())).unwrap_or(0)
    }

    /// A request is sent for the first time, now, having been planned for `planned`.
    pub(crate) fn sending(&self, row: usize, planned: Instant) {
        let (planned_us, now_us) = (self.offset_us(planned), self.now_us());
        let mut state = self.state();
        state.counts.sent += 1;
        state.delays.record(now_us.saturating_sub(planned_us));
        state.tracks[self.script.payment(row)].planned_us.get_or_insert(planned_us);
    }

    /// A request has its final answer, or will not get one.
    pub(crate) fn answered(&self, row: usize, planned: Instant, ending: Ending, retries: u64) {
        let (planned_us, now_us) = (self.offset_us(planned), self.now_us());
        let payment = self.script.payment(row);
        let mut state = self.state();
        state.counts.retries += retries;
        if !matches!(ending, Ending::GaveUp { .. }) {
            state.last_answer_us = state.last_answer_us.max(now_us);
        }
        let standing = match ending {
            Ending::Done { replayed, unclear } => {
                state.accepts.record(now_us.saturating_sub(planned_us));
                state.last_accept_us = state.last_accept_us.max(now_us);
                state.last_news = Instant::now();
                match (replayed, unclear) {
                    (false, _) => Standing::Owed,
                    (true, true) => Standing::Repeated,
                    (true, false) => Standing::Unowed,
                }
            }
            Ending::Refused { code } => {
                *state.counts.refused.entry(code).or_default() += 1;
                return;
            }
            Ending::GaveUp { unclear: false } => {
                state.counts.unavailable += 1;
                return;
            }
            Ending::GaveUp { unclear: true } => Standing::Unclear,
        };
        match standing {
            Standing::Owed => state.counts.accepted += 1,
            Standing::Unowed => state.counts.replayed += 1,
            Standing::Unclear | Standing::Repeated => state.doubtful.push(payment),
        }
        let track = &mut state.tracks[payment];
        track.standing = track.standing.max(standing);
    }

    /// A payment's end was heard of. It may be another replay's, or be heard of again.
    pub(crate) fn heard(&self, finished: &PaymentFinished) {
        if finished.key.tenant != Tenant::default() {
            return;
        }
        let Some(payment) = self.script.place(finished.key.id.as_str()) else { return };
        let now_us = self.now_us();
        let mut state = self.state();
        if state.tracks[payment].planned_us.is_some() && state.tracks[payment].heard_us.is_none() {
            state.tracks[payment].heard_us = Some(now_us);
            state.heard += 1;
            state.last_news = Instant::now();
        }
    }

    /// What a progress bar shows.
    pub(crate) fn glance(&self) -> Glance {
        let state = self.state();
        Glance { sent: state.counts.sent, accepted: state.counts.accepted, heard: state.heard }
    }

    /// Whether fewer ends were heard of than payments were accepted, and something was within `silence_max`.
    pub(crate) fn hears_more(&self, silence_max: Duration) -> bool {
        let state = self.state();
        state.heard < state.counts.accepted && state.last_news.elapsed() < silence_max
    }

    /// Whether the end of a promised payment is still to be heard of, and for how long nothing has been.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let state = self.state();
        let unheard = state.tracks.iter().any(|track| track.is_awaited() && track.heard_us.is_none());
        unheard.then(|| state.last_news.elapsed())
    }

    /// Whether a promised payment's end is not in the ledger as far as it was read.
    pub(crate) fn awaits_any(&self) -> bool {
        self.state().tracks.iter().any(Track::is_awaited)
    }

    /// The payments whose row is to be read.
    pub(crate) fn unread(&self) -> Vec<usize> {
        let state = self.state();
        let is_open = |track: &Track| track.standing > Standing::Unowed && track.end.is_none();
        (0..state.tracks.len()).filter(|payment| is_open(&state.tracks[*payment])).collect()
    }

    /// The key of a payment's row; nothing if its id is none, so that it was never stored.
    pub(crate) fn key(&self, payment: usize) -> Option<PaymentKey> {
        PaymentId::parse(self.script.id(payment)).ok().map(|id| PaymentKey { tenant: Tenant::default(), id })
    }

    /// Notes what the ledger has of a payment.
    pub(crate) fn read(&self, payment: usize, record: &PaymentRecord) {
        let end = match &record.state {
            RecordState::Reserved(_) => None,
            RecordState::Captured { finished_at, .. } => {
                Some(End { reason: None, finished_at: *finished_at })
            }
            RecordState::Failed { rejection, finished_at, .. } => {
                Some(End { reason: Some(rejection.reason), finished_at: *finished_at })
            }
        };
        let track = &mut self.state().tracks[payment];
        (track.recorded, track.end) = (Some(record.facts.accepted_at), end);
    }

    /// What became of a payment that the replay sent, as far as is known.
    pub(crate) fn fate(&self, track: &Track) -> Fate {
        match (track.standing, track.recorded) {
            (Standing::Owed, _) => Fate::Accepted,
            (Standing::Unowed, _) => Fate::NotOurs,
            (_, Some(recorded)) if recorded.micros() < self.started_at.micros() - CLOCK_DOUBT_US => {
                Fate::NotOurs
            }
            (_, Some(_)) | (Standing::Repeated, None) => Fate::Accepted,
            (Standing::Unclear, None) => Fate::Unknown,
        }
    }

    /// Whether a payment of this id was sent.
    pub(crate) fn was_sent(&self, id: &str) -> bool {
        self.script.place(id).is_some_and(|payment| self.state().tracks[payment].planned_us.is_some())
    }
}
