//! One line for each request that has failed; the others are only counted.

use super::Asked;
use crate::ids::RequestId;
use domain::TraceContext;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::{Code, Problem};

/// Lines a second of each kind, over all ports of the process.
const LINES_PER_SECOND_MAX: u32 = 20;

/// Neither who asks for nonsense nor a crowd that is turned away takes a line from what is our own fault.
static THEIRS: LineBudget = LineBudget::new();
static TURNED_AWAY: LineBudget = LineBudget::new();
static OURS: LineBudget = LineBudget::new();

/// What a request met in the place of a good answer.
#[derive(Debug)]
pub(crate) enum Failing<'r> {
    /// It was answered with this.
    With(&'r Problem),
    /// Whoever asked was gone before; it counts under this status.
    ClientGone(u16),
}

impl Failing<'_> {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Failing::With(problem) => Some(problem),
            Failing::ClientGone(_) => None,
        }
    }

    /// The status, and the code beside it.
    fn status(&self) -> (u16, &'static str) {
        match self {
            Failing::With(problem) => (problem.status(), problem.code.as_str()),
            Failing::ClientGone(status) => (*status, "client_gone"),
        }
    }

    fn budget(&self) -> &'static LineBudget {
        match self.problem().map(|problem| problem.code) {
            Some(Code::Internal | Code::Unavailable | Code::AcceptanceUnknown) => &OURS,
            Some(Code::Overloaded | Code::RateLimited) => &TURNED_AWAY,
            _ => &THEIRS,
        }
    }
}

/// A request that has failed.
#[derive(Debug)]
pub(crate) struct FailedRequest<'r> {
    pub(crate) request_id: &'r RequestId,
    pub(crate) asked: Asked,
    pub(crate) failing: Failing<'r>,
    pub(crate) took: Duration,
    /// The client's trace, if it has one.
    pub(crate) trace: Option<TraceContext>,
}

impl FailedRequest<'_> {
    /// Writes its line, unless there were too many in this second.
    pub(crate) fn tell(&self) {
        let budget = self.failing.budget();
        let Some(left_out) = budget.take() else { return };
        let (problem, (status, code)) = (self.failing.problem(), self.failing.status());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = %self.request_id,
                    route = self.asked.route(),
                    method = self.asked.method(),
                    status,
                    code,
                    micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
                    payment = problem.and_then(|problem| problem.id.as_deref()),
                    trace_id = self.trace.map(|trace| trace.trace_id_text()),
                    cause = problem.and_then(|problem| problem.cause.as_deref()),
                    left_out = (left_out > 0).then_some(left_out),
                    "a request failed"
                )
            };
        }
        if status >= 500 {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

/// Bounds log lines of one kind that others can cause: so many in a second.
#[derive(Debug)]
pub struct LineBudget(Mutex<Budget>);

impl LineBudget {
    /// Nothing is written yet.
    pub const fn new() -> LineBudget {
        LineBudget(Mutex::new(Budget::EMPTY))
    }

    /// Whether a line may be written now; if so, how many since the last one were not.
    pub fn take(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

impl Default for LineBudget {
    fn default() -> LineBudget {
        LineBudget::new()
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

    #[test]
    fn what_is_our_own_fault_shares_its_lines_with_nobody() {
        for code in Code::ALL {
            let expected = match code {
                Code::Internal | Code::Unavailable | Code::AcceptanceUnknown => &OURS,
                Code::Overloaded | Code::RateLimited => &TURNED_AWAY,
                _ => &THEIRS,
            };
            let problem = Problem::new(*code, "");
            assert!(std::ptr::eq(Failing::With(&problem).budget(), expected), "{problem}");
            assert_eq!(std::ptr::eq(expected, &OURS) || *code == Code::Overloaded, code.status() >= 500);
        }
        assert!(std::ptr::eq(Failing::ClientGone(499).budget(), &THEIRS));
    }
}
