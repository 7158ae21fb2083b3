//! Everything that is left to chance, from one seed.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A seeded source of chance; clones draw from the same one.
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<SmallRng>>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// Whether something happens that happens so often in a million times.
    pub(crate) fn strikes(&self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number below a bound, which is not zero.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..bound.max(1))
    }

    pub(crate) fn between(&self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    pub(crate) fn milliseconds(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.between(range))
    }

    pub(crate) fn seconds(&self, range: Range<u64>) -> Duration {
        self.milliseconds(range.start * 1_000..range.end * 1_000)
    }

    /// One of these, of which there is at least one.
    pub(crate) fn pick<'t, T>(&self, from: &'t [T]) -> &'t T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        items.shuffle(&mut *self.0.lock().unwrap());
    }
}
