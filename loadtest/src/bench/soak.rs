//! A steady load for a long time: does anything grow?

use super::figures::{Named, rounded};
use super::processes::Groups;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Of the flat-out rate.
pub(crate) const SHARE: f64 = 0.8;

/// Between two looks at the memory of every process.
const LOOK_EVERY: Duration = Duration::from_secs(10);

const MINUTE_S: u64 = 60;

/// What a soak showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Soak {
    /// Payments a second while it sent.
    pub(crate) rate: f64,
    pub(crate) payments: u64,
    /// Of the slowest piece.
    pub(crate) settle_p99_ms: f64,
    /// When memory was looked at, in seconds from the start.
    pub(crate) seconds: Vec<u64>,
    /// What each process had then, in megabytes.
    pub(crate) rss_mb: BTreeMap<String, Vec<f64>>,
    /// The mean of the last minute less that of the second one; nothing when there are no two such minutes.
    pub(crate) growth_mb: Named,
}

/// The memory of every process, again and again.
#[derive(Debug, Default)]
pub(crate) struct Series {
    looks: RefCell<Vec<(u64, Named)>>,
}

impl Series {
    /// Looks until whoever waits for it has enough.
    pub(crate) async fn watch(&self, groups: &Groups) -> Infallible {
        let started = Instant::now();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.looks.borrow_mut().push((started.elapsed().as_secs(), groups.memory(false)));
        }
    }

    /// What was seen while so many payments went at this rate.
    pub(crate) fn into_soak(self, rate: f64, payments: u64, settle_p99_ms: f64) -> Soak {
        let looks = self.looks.into_inner();
        let seconds: Vec<u64> = looks.iter().map(|(second, _)| *second).collect();
        let mut rss_mb: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, megabytes) in looks.into_iter().flat_map(|(_, memory)| memory) {
            rss_mb.entry(name).or_default().push(megabytes);
        }
        let growth_mb =
            rss_mb.iter().filter_map(|(name, values)| Some((name.clone(), growth(&seconds, values)?)));
        Soak { rate, payments, settle_p99_ms, growth_mb: growth_mb.collect(), seconds, rss_mb }
    }
}

/// How much more the last minute has than the second one.
fn growth(seconds: &[u64], values: &[f64]) -> Option<f64> {
    let end = *seconds.last()?;
    if end < 3 * MINUTE_S {
        return None;
    }
    let mean = |from: u64, to: u64| {
        let within = seconds.iter().zip(values).filter(|(second, _)| (from..to).contains(*second));
        let (sum, count) = within.fold((0.0, 0_u32), |(sum, count), (_, value)| (sum + value, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    Some(rounded(mean(end + 1 - MINUTE_S, end + 1)? - mean(MINUTE_S, 2 * MINUTE_S)?, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_the_last_minute_over_the_second() {
        let every_ten: Vec<u64> = (0..=60).map(|look| look * 10).collect();
        let rows = [
            ("steady", every_ten.iter().map(|_| 50.0).collect::<Vec<_>>(), Some(0.0)),
            // What a start takes is no growth.
            ("at first", every_ten.iter().map(|s| if *s < 60 { 10.0 } else { 50.0 }).collect(), Some(0.0)),
            ("a leak", every_ten.iter().map(|s| *s as f64 / 10.0).collect(), Some(49.0)),
        ];
        for (name, values, expected) in rows {
            assert_eq!(growth(&every_ten, &values), expected, "{name}");
        }
        assert_eq!(growth(&every_ten[..12], &[1.0; 12]), None, "too short to tell");
        assert_eq!(growth(&[], &[]), None);
    }

    #[test]
    fn a_series_is_told_by_process() {
        let look = |second, megabytes| (second, Named::from([("stages".to_owned(), megabytes)]));
        let series = Series { looks: RefCell::new(vec![look(0, 40.0), look(10, 41.5)]) };
        let soak = series.into_soak(4_000.0, 40_000, 90.0);
        assert_eq!((soak.seconds, soak.rss_mb["stages"].as_slice()), (vec![0, 10], &[40.0, 41.5][..]));
        assert_eq!(soak.growth_mb, Named::new());
    }
}
