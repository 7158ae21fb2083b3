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

/// Hands out the rows to whichever connection is free. A row that is due keeps its planned time when all are busy, and its
/// latency counts from there: a slow gateway cannot hide by slowing the generator down.
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
    /// Which.
    pub(crate) row: usize,
    /// When.
    pub(crate) planned: Instant,
}

impl Schedule {
    /// Starts the clock.
    pub(crate) fn start(pace: Pace, rows: usize) -> Schedule {
        let started = Instant::now();
        Schedule { pace, rows, started, next: AtomicUsize::new(0), sending_ended: OnceLock::new(), last_answer: Mutex::new(started) }
    }

    /// When the clock was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The next row, or nothing when sending is over: all are handed out, the duration is over, or the gateway has been away
    /// for as long as the drain.
    pub(crate) fn take(&self) -> Option<Slot> {
        let now = Instant::now();
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

    /// Notes a final answer: the gateway is there.
    pub(crate) fn answered(&self) {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
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
    use tokio::time::{advance, pause};

    const DRAIN: Duration = Duration::from_secs(10);

    fn slots(schedule: &Schedule) -> Vec<u128> {
        let planned = std::iter::from_fn(|| schedule.take()).map(|slot| slot.planned - schedule.started());
        planned.map(|offset| offset.as_millis()).collect()
    }

    #[tokio::test]
    async fn rows_are_planned_by_rate_and_duration() {
        pause();
        let seconds = Duration::from_secs_f64;
        let rows = [
            (Some(10.0), None, 4, vec![0, 100, 200, 300]),
            (Some(10.0), Some(seconds(0.25)), 100, vec![0, 100, 200]),
            (None, None, 3, vec![0, 0, 0]),
            (None, Some(seconds(1.0)), 3, vec![0, 0, 0]),
            (Some(0.5), None, 2, vec![0, 2_000]),
        ];
        for (rate, duration, rows, expected) in rows {
            let schedule = Schedule::start(Pace { rate, duration, drain: DRAIN }, rows);
            assert_eq!(slots(&schedule), expected, "{rate:?} {duration:?} {rows}");
        }
    }

    #[tokio::test]
    async fn an_open_loop_keeps_its_plan_when_it_is_late() {
        pause();
        let schedule = Schedule::start(Pace { rate: Some(10.0), duration: None, drain: DRAIN }, 3);
        advance(Duration::from_secs(5)).await;
        assert_eq!(slots(&schedule), [0, 100, 200]);
    }

    #[tokio::test]
    async fn the_drain_runs_from_the_last_send_or_the_last_answer() {
        pause();
        let schedule = Schedule::start(Pace { rate: None, duration: Some(Duration::from_secs(30)), drain: DRAIN }, 100);
        let offset = || (schedule.deadline() - schedule.started()).as_secs();
        assert_eq!(offset(), 10);
        advance(Duration::from_secs(7)).await;
        assert!(schedule.take().is_some());
        assert_eq!(offset(), 10, "asking is no progress");
        schedule.answered();
        assert_eq!(offset(), 17);
        advance(Duration::from_secs(10)).await;
        assert_eq!(schedule.take(), None, "no answer for as long as the drain ends the sending");
        assert_eq!(offset(), 27);
        schedule.answered();
        assert_eq!(offset(), 27, "once it runs, the drain has a fixed end");
    }
}
