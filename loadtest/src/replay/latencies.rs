//! Latencies in microseconds, and the quantiles of them in milliseconds.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are told apart to three digits, up to five minutes.
const MICROSECONDS_MAX: u64 = 300_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A distribution of latencies.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// The usual quantiles, in milliseconds; nothing when nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Quantiles {
    /// Half are faster.
    pub(crate) p50: Option<f64>,
    /// All but one in 20 are faster.
    pub(crate) p95: Option<f64>,
    /// All but one in 100 are faster.
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Quantiles {
    /// In the order of the fields, for tables.
    pub(crate) fn cells(self) -> [String; 4] {
        let Quantiles { p50, p95, p99, max } = self;
        [p50, p95, p99, max].map(|value| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")))
    }
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, MICROSECONDS_MAX, SIGNIFICANT_DIGITS);
        Latencies(histogram.unwrap_or_else(|error| unreachable!("constant bounds: {error}")))
    }

    /// Adds one; five minutes stand for all that is longer.
    pub(crate) fn record(&mut self, microseconds: u64) {
        self.0.saturating_record(microseconds);
    }

    /// The latency that this share is not slower than, in milliseconds.
    pub(crate) fn at(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share).min(self.0.max()) as f64 / 1_000.0)
    }

    /// The usual quantiles.
    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.at(0.50), p95: self.at(0.95), p99: self.at(0.99), max: self.at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_milliseconds_and_nothing_is_nothing() {
        assert_eq!(Latencies::new().quantiles(), Quantiles::default());
        let mut latencies = Latencies::new();
        (1..=1_000).for_each(|microseconds| latencies.record(microseconds));
        let expected = Quantiles { p50: Some(0.5), p95: Some(0.95), p99: Some(0.99), max: Some(1.0) };
        assert_eq!(latencies.quantiles(), expected);
        latencies.record(u64::MAX);
        assert!(latencies.quantiles().max.is_some_and(|max| (299_000.0..301_000.0).contains(&max)));
    }
}
