//! Many runs, on all cores, one seed after the other.

use crate::guards::Guard;
use crate::run::{Outcome, Run};
use crate::tally::Tally;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A run takes a fraction of a second.
const RUN_MAX: Duration = Duration::from_secs(60);

/// What came of many seeds.
#[derive(Default)]
pub(crate) struct Campaign {
    pub(crate) runs: u64,
    pub(crate) tally: Tally,
    /// The failure of the smallest seed, of those that were met.
    pub(crate) failure: Option<Outcome>,
    pub(crate) took: Duration,
}

/// What the runs of a campaign share.
struct Work {
    next: AtomicU64,
    is_over: AtomicBool,
    campaign: Mutex<Campaign>,
    /// The run in hand of each thread, and since when.
    in_hand: Vec<Mutex<Option<(u64, Instant)>>>,
}

impl Work {
    /// Plays one seed after the other.
    fn play(&self, thread: usize, seeds: Range<u64>, removed: Option<Guard>) {
        while !self.is_over.load(Ordering::Relaxed) {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(seed) = seeds.start.checked_add(place).filter(|seed| seeds.contains(seed)) else {
                break;
            };
            *self.in_hand[thread].lock().unwrap() = Some((seed, Instant::now()));
            let outcome = Run { removed, ..Run::of(seed) }.play();
            if !outcome.violations.is_empty() {
                self.is_over.store(true, Ordering::Relaxed);
            }
            self.campaign.lock().unwrap().add(outcome);
        }
        *self.in_hand[thread].lock().unwrap() = None;
    }

    /// A run that goes round in circles without a call would keep its thread for ever, and nobody else can end it.
    fn watch(&self) {
        loop {
            std::thread::park_timeout(Duration::from_millis(100));
            let runs: Vec<(u64, Instant)> =
                self.in_hand.iter().filter_map(|run| *run.lock().unwrap()).collect();
            if runs.is_empty() {
                return;
            }
            if let Some((seed, _)) = runs.iter().find(|(_, since)| since.elapsed() > RUN_MAX) {
                crate::say(&format!("seed {seed} does not come to its end"));
                std::process::exit(1);
            }
        }
    }
}

impl Campaign {
    /// Runs so many seeds from this one on; it ends with the first failure.
    pub(crate) fn run(first: u64, count: u64, removed: Option<Guard>) -> Campaign {
        let started = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let work = Work {
            next: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            campaign: Mutex::default(),
            in_hand: (0..threads).map(|_| Mutex::new(Some((first, started)))).collect(),
        };
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let work = &work;
                scope.spawn(move || work.play(thread, first..first.saturating_add(count), removed));
            }
            work.watch();
        });
        let mut campaign = work.campaign.into_inner().unwrap();
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
