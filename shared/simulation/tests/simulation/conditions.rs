//! What every part of a run shares: chance, the plan of faults, the clock, and what is found out.

use crate::chance::Chance;
use crate::changing::Changing;
use crate::faults::{Fault, Plan};
use crate::guards::Guard;
use crate::steps::Steps;
use crate::tally::Tally;
use crate::windows::{self, Struck};
use domain::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// When every run begins.
const BEGINNING_MICROS: i64 = 1_800_000_000_000_000;

/// So many calls a run makes at most: about a hundred times as many as one does. Who makes more goes round in
/// circles, and time would never pass.
const CALLS_MAX: u64 = 3_000_000;

/// Of what goes wrong so much is kept: the rest follows from it, and a trace is read from the top.
const VIOLATIONS_MAX: usize = 20;

/// Clones share it.
#[derive(Clone)]
pub(crate) struct Conditions(Arc<Shared>);

struct Shared {
    chance: Chance,
    steps: Steps,
    plan: Plan,
    removed: Option<Guard>,
    started: Instant,
    is_healed: Changing<bool>,
    calls: AtomicU64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    tally: Tally,
    violations: Vec<String>,
}

impl Conditions {
    pub(crate) fn new(chance: Chance, steps: Steps, plan: Plan, removed: Option<Guard>) -> Conditions {
        let (started, is_healed) = (Instant::now(), Changing::new(false));
        Conditions(Arc::new(Shared {
            chance,
            steps,
            plan,
            removed,
            started,
            is_healed,
            calls: AtomicU64::new(0),
            found: Mutex::default(),
        }))
    }

    pub(crate) fn chance(&self) -> &Chance {
        &self.0.chance
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Whether this rule has been taken out.
    pub(crate) fn lacks(&self, guard: Guard) -> bool {
        self.0.removed == Some(guard)
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.0.started.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(BEGINNING_MICROS + micros)
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.tell("world", || "faults end");
        self.0.is_healed.set(true);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.0.is_healed.get()
    }

    /// Waits for so long, or until faults end.
    pub(crate) async fn lasts(&self, duration: Duration) {
        // Either may be first.
        let _ = tokio::time::timeout(duration, self.0.is_healed.wait_for(|is_healed| is_healed)).await;
    }

    /// A process calls a server.
    pub(crate) fn called(&self) {
        let calls = self.0.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < CALLS_MAX, "the run does not come to its end");
    }

    /// Whether a fault strikes here and now; then it is counted.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let strikes = !self.is_healed() && self.0.chance.strikes(self.0.plan.rate(fault));
        if strikes {
            self.struck(fault);
        }
        strikes
    }

    /// A fault has struck.
    pub(crate) fn struck(&self, fault: Fault) {
        self.0.found.lock().unwrap().tally.fault(fault);
    }

    /// A crash window was struck.
    pub(crate) fn window(&self, window: &'static str) {
        self.0.found.lock().unwrap().tally.window(window);
    }

    /// A call was struck: perhaps in one of the windows.
    pub(crate) fn struck_call(&self, role: &str, call: &str, struck: Struck) {
        windows::of_call(role, call, struck).into_iter().for_each(|window| self.window(window));
    }

    pub(crate) fn count(&self, what: &'static str, count: u64) {
        self.0.found.lock().unwrap().tally.count(what, count);
    }

    /// Something that must never be.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell("VIOLATION", || &what);
        let violations = &mut self.0.found.lock().unwrap().violations;
        if violations.len() < VIOLATIONS_MAX {
            violations.push(what);
        }
    }

    pub(crate) fn tell<T: std::fmt::Display>(&self, who: &str, what: impl FnOnce() -> T) {
        self.0.steps.tell(who, what);
    }

    pub(crate) fn steps(&self) -> &Steps {
        &self.0.steps
    }

    /// What has been counted, and what was violated.
    pub(crate) fn found(&self) -> (Tally, Vec<String>) {
        let found = self.0.found.lock().unwrap();
        (found.tally.clone(), found.violations.clone())
    }
}
