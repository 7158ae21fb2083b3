//! Many runs, on all cores, one seed after the other.

use crate::guards::Guard;
use crate::run::{Outcome, Run};
use crate::tally::Tally;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What came of many seeds.
#[derive(Default)]
pub(crate) struct Campaign {
    pub(crate) runs: u64,
    pub(crate) tally: Tally,
    /// The failure of the smallest seed, of those that were met.
    pub(crate) failure: Option<Outcome>,
    pub(crate) took: Duration,
}

impl Campaign {
    /// Runs so many seeds from this one on; it ends with the first failure.
    pub(crate) fn run(first: u64, count: u64, removed: Option<Guard>) -> Campaign {
        let started = Instant::now();
        let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let campaign = Mutex::new(Campaign::default());
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= count {
                    return;
                }
                let outcome = Run { removed, ..Run::of(first.wrapping_add(place)) }.play();
                if !outcome.violations.is_empty() {
                    is_over.store(true, Ordering::Relaxed);
                }
                campaign.lock().unwrap().add(outcome);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let mut campaign = campaign.into_inner().unwrap();
        campaign.took = started.elapsed();
        campaign
    }

    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.tally.add(&outcome.tally);
        let is_first = self.failure.as_ref().is_none_or(|failure| outcome.seed < failure.seed);
        if !outcome.violations.is_empty() && is_first {
            self.failure = Some(outcome);
        }
    }

    /// For people: how many, how fast, and what struck.
    pub(crate) fn report(&self) -> String {
        let per_second = self.runs as f64 / self.took.as_secs_f64();
        format!(
            "{} seeds in {:.1} s, {per_second:.0} a second\n{}",
            self.runs,
            self.took.as_secs_f64(),
            self.tally.report()
        )
    }
}

impl Outcome {
    /// For people: what went wrong, and how to see it step by step.
    pub(crate) fn complaint(&self) -> String {
        let faults: Vec<&str> = self.plan.iter().map(|fault| fault.name()).collect();
        format!(
            "seed {} breaks a promise:\n  {}\nfaults of this run: {}\nreplay it with: make simulate SEED={} SEEDS=1 TRACE=1",
            self.seed,
            self.violations.join("\n  "),
            faults.join("; "),
            self.seed,
        )
    }
}
