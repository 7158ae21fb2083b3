//! When each request is to be sent, and how long its answer may be waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The pace of a replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Requests a second, whatever the answers do; none: as fast as the answers come.
    pub(crate) rate: Option<f64>,
    /// Nothing new is sent after this.
    pub(crate) duration: Option<Duration>,
    /// How long after the last send, or after the last final answer, an end is waited for.
    pub(crate) drain: Duration,
}

/// Hands out the rows to whichever connection is free. A row that is due keeps its planned time when all are
/// busy, and its latency counts from there: a slow gateway cannot hide by slowing the generator down.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    rows: usize,
    started: Instant,
    next: AtomicUsize,
    sending_ended: OnceLock<Instant>,
    last_answer: Mutex<Instant>,
}

/// A row to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) row: usize,
    pub(crate) planned: Instant,
}

impl Schedule {
    /// A schedule whose clock starts now.
    pub(crate) fn start(pace: Pace, rows: usize, now: Instant) -> Schedule {
        let started = now;
        Schedule {
            pace,
            rows,
            started,
            next: AtomicUsize::new(0),
            sending_ended: OnceLock::new(),
            last_answer: Mutex::new(started),
        }
    }

    /// The next row, or nothing when sending is over: all are handed out, the duration is over, or the
    /// gateway has been away for as long as the drain.
    pub(crate) fn take(&self, now: Instant) -> Option<Slot> {
        let row = self.next.fetch_add(1, Ordering::Relaxed);
        let planned = match self.pace.rate {
            Some(rate) => self.started + Duration::from_secs_f64(row as f64 / rate),
            None => now,
        };
        let over = self.pace.duration.is_some_and(|duration| planned >= self.started + duration);
        if row >= self.rows || over || now >= self.deadline() {
            self.sending_ended.get_or_init(|| now);
            return None;
        }
        Some(Slot { row, planned })
    }

    /// The next rows for one request, so many at most: they are sent together, when the last of them is due.
    pub(crate) fn take_many(&self, now: Instant, max: usize) -> Vec<Slot> {
        let mut slots: Vec<Slot> = std::iter::from_fn(|| self.take(now)).take(max).collect();
        if let Some(last) = slots.last().map(|slot| slot.planned) {
            slots.iter_mut().for_each(|slot| slot.planned = last);
        }
        slots
    }

    /// Notes a final answer: the gateway is there.
    pub(crate) fn answered(&self, now: Instant) {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Nothing is waited for after this. It moves while there is something to send and there are answers.
    pub(crate) fn deadline(&self) -> Instant {
        let last_answer = || *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner);
        self.sending_ended.get().copied().unwrap_or_else(last_answer) + self.pace.drain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(10);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// The planned times of all that is handed out at once, in milliseconds after the start.
    fn plan(schedule: &Schedule, now: Instant) -> Vec<u128> {
        let planned = std::iter::from_fn(|| schedule.take(now)).map(|slot| slot.planned - schedule.started);
        planned.map(|offset| offset.as_millis()).collect()
    }

    #[test]
    fn rows_are_planned_by_rate_and_duration() {
        // rate, duration, rows, when the rows are asked for -> when they are planned
        let rows = [
            (Some(10.0), None, 4, 0.0, vec![0, 100, 200, 300]),
            (Some(10.0), Some(0.25), 100, 0.0, vec![0, 100, 200]),
            (Some(0.5), None, 2, 0.0, vec![0, 2_000]),
            // An open loop keeps its plan when it is late.
            (Some(10.0), None, 3, 5.0, vec![0, 100, 200]),
            (Some(10.0), Some(0.25), 100, 5.0, vec![0, 100, 200]),
            // Without a rate a row is due when a connection is free.
            (None, None, 3, 5.0, vec![5_000, 5_000, 5_000]),
            (None, Some(1.0), 3, 0.5, vec![500, 500, 500]),
            (None, Some(1.0), 3, 1.0, vec![]),
        ];
        for (rate, duration, rows, asked, expected) in rows {
            let started = Instant::now();
            let schedule =
                Schedule::start(Pace { rate, duration: duration.map(seconds), drain: DRAIN }, rows, started);
            assert_eq!(
                plan(&schedule, started + seconds(asked)),
                expected,
                "{rate:?} {duration:?} {rows} {asked}"
            );
        }
    }

    #[test]
    fn rows_that_are_sent_together_wait_for_the_last() {
        let started = Instant::now();
        let pace = Pace { rate: Some(10.0), duration: None, drain: DRAIN };
        let schedule = Schedule::start(pace, 5, started);
        for expected in [vec![(0, 100), (1, 100)], vec![(2, 300), (3, 300)], vec![(4, 400)], vec![]] {
            let slots = schedule.take_many(started, 2).into_iter();
            let found: Vec<_> = slots.map(|slot| (slot.row, (slot.planned - started).as_millis())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_drain_runs_from_the_last_send_or_the_last_answer() {
        let started = Instant::now();
        let after = |offset: f64| started + seconds(offset);
        let schedule = Schedule::start(Pace { rate: None, duration: None, drain: DRAIN }, 100, started);
        assert_eq!(schedule.deadline(), after(10.0));
        assert!(schedule.take(after(7.0)).is_some());
        assert_eq!(schedule.deadline(), after(10.0), "asking is no progress");
        schedule.answered(after(7.0));
        assert_eq!(schedule.deadline(), after(17.0));
        assert_eq!(schedule.take(after(17.0)), None, "no answer for as long as the drain ends the sending");
        assert_eq!(schedule.deadline(), after(27.0));
        schedule.answered(after(18.0));
        assert_eq!(schedule.deadline(), after(27.0), "once it runs, the drain has a fixed end");
    }
}
