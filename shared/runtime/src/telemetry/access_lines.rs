//! One line for each request that has failed; the others are only counted.

use super::Asked;
use crate::ids::RequestId;
use domain::TraceContext;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::{Code, Problem};

/// Lines a second of each kind, over all ports of the process.
const LINES_PER_SECOND_MAX: u32 = 20;

/// From this status on it is we who failed.
const OURS_FROM: u16 = 500;

/// Who asks for nonsense takes no line from what is our own fault.
static THEIRS: Mutex<Budget> = Mutex::new(Budget::EMPTY);
static OURS: Mutex<Budget> = Mutex::new(Budget::EMPTY);

/// A request that has been answered with a problem.
#[derive(Debug)]
pub(crate) struct Failure<'r> {
    pub(crate) request_id: &'r RequestId,
    pub(crate) asked: Asked,
    pub(crate) problem: &'r Problem,
    pub(crate) took: Duration,
    /// The client's trace, if it has one.
    pub(crate) trace: Option<TraceContext>,
}

impl Failure<'_> {
    /// Writes its line, unless there were too many in this second.
    pub(crate) fn tell(&self) {
        let is_ours = self.problem.status() >= OURS_FROM;
        let budget = if is_ours { &OURS } else { &THEIRS };
        let left_out = budget.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        let Some(left_out) = left_out else { return };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = %self.request_id,
                    route = self.asked.route(),
                    method = self.asked.method(),
                    status = self.problem.status(),
                    code = Code::as_str(self.problem.code),
                    micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
                    payment = self.problem.id.as_deref(),
                    trace_id = self.trace.map(|trace| trace.trace_id_text()),
                    cause = self.problem.cause.as_deref(),
                    left_out = (left_out > 0).then_some(left_out),
                    "a request failed"
                )
            };
        }
        if is_ours {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

/// How many lines may still be written in this second, and how many were not since the last one was.
#[derive(Debug)]
struct Budget {
    began_at: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Budget {
    const EMPTY: Budget = Budget { began_at: None, written: 0, left_out: 0 };

    /// Whether a line may be written now; if so, how many before it were not.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.began_at.is_none_or(|began_at| now.duration_since(began_at) >= Duration::from_secs(1)) {
            (self.began_at, self.written) = (Some(now), 0);
        }
        if self.written >= LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_twenty_lines_a_second_and_says_how_many_it_did_not() {
        let (start, mut budget) = (Instant::now(), Budget::EMPTY);
        // When, how many requests fail then, how many lines that makes, and what the first of them tells.
        for (milliseconds, failures, lines, left_out) in [
            (0, 3, 3, Some(0)),
            (10, 100, 17, Some(0)),
            (999, 5, 0, None),
            (1_000, 30, 20, Some(88)),
            (9_000, 1, 1, Some(10)),
        ] {
            let now = start + Duration::from_millis(milliseconds);
            let told: Vec<u64> = (0..failures).filter_map(|_| budget.take(now)).collect();
            assert_eq!((told.len(), told.first().copied()), (lines, left_out), "{milliseconds} ms");
            assert!(told.iter().skip(1).all(|left_out| *left_out == 0));
        }
    }
}
