//! A histogram's counts, and what they say.

use wire::figures::Figure;

/// What was observed so far. Whoever counts is trusted with nothing: no sum of these overflows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    /// Up to each bound, and at last all; empty while nothing was told.
    counts: Vec<u64>,
    sum: u64,
}

impl Tally {
    /// A histogram with these bounds; nothing where it has others, or cannot be one.
    pub(super) fn of(figure: &Figure, bounds: &[f64]) -> Tally {
        let Figure::Histogram { counts, sum } = figure else { return Tally::default() };
        let is_one = counts.len() == bounds.len() + 1 && counts.is_sorted() && sum.is_finite();
        // Sums are of whole messages; those of seconds are not asked for.
        if is_one { Tally { counts: counts.clone(), sum: *sum as u64 } } else { Tally::default() }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Of all observations, the part after the point cut off.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    pub(super) fn plus(mut self, other: Tally) -> Tally {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(all, one)| *all = all.saturating_add(*one));
        self.sum = self.sum.saturating_add(other.sum);
        self
    }

    /// What came after an earlier one.
    pub(super) fn since(mut self, before: &Tally) -> Tally {
        self.counts.iter_mut().zip(&before.counts).for_each(|(now, then)| *now = now.saturating_sub(*then));
        self.sum = self.sum.saturating_sub(before.sum);
        self
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| rounded(self.sum as f64 / self.count() as f64))
    }

    /// What 99 of 100 do not exceed, as Prometheus' `histogram_quantile` says it: observations lie evenly between
    /// two bounds, and above the last bound there is nothing to say but that bound.
    pub(super) fn p99(&self, bounds: &[f64]) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let rank = 0.99 * all as f64;
        let place = self.counts.iter().position(|count| *count as f64 >= rank)?;
        let Some(upper) = bounds.get(place) else { return bounds.last().copied() };
        let (below, lower) = match place.checked_sub(1) {
            Some(before) => (self.counts[before], bounds[before]),
            None => (0, 0.0),
        };
        let within = self.counts[place].saturating_sub(below);
        let part = if within == 0 { 1.0 } else { (rank - below as f64) / within as f64 };
        Some(rounded(lower + (upper - lower) * part))
    }
}

/// A number to the millionth: what comes after it is noise.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.1, 0.2, 0.5, 1.0];

    fn tally(counts: &[u64], sum: f64) -> Tally {
        Tally::of(&Figure::Histogram { counts: counts.to_vec(), sum }, BOUNDS)
    }

    #[test]
    fn the_p99_is_prometheus_own() {
        // What `histogram_quantile(0.99, ...)` answers, worked out by its rule.
        let rows: [(&[u64], Option<f64>); 9] = [
            (&[0, 0, 0, 0, 0], None),
            (&[1, 1, 1, 1, 1], Some(0.099)),
            (&[100, 100, 100, 100, 100], Some(0.099)),
            (&[0, 100, 100, 100, 100], Some(0.199)),
            (&[98, 100, 100, 100, 100], Some(0.15)),
            (&[99, 100, 100, 100, 100], Some(0.1)),
            (&[0, 0, 0, 50, 100], Some(1.0)),
            (&[0, 0, 0, 0, 1], Some(1.0)),
            (&[10, 10, 110, 110, 110], Some(0.4967)),
        ];
        for (counts, expected) in rows {
            assert_eq!(tally(counts, 0.0).p99(BOUNDS), expected, "{counts:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_histogram_counts_nothing() {
        let rows: [(&[u64], f64, u64); 5] = [
            (&[1, 2, 3, 4, 5], 9.5, 5),
            (&[1, 2, 3, 4], 9.5, 0),
            (&[1, 2, 3, 4, 5, 6], 9.5, 0),
            (&[2, 1, 3, 4, 5], 9.5, 0),
            (&[1, 2, 3, 4, 5], f64::INFINITY, 0),
        ];
        for (counts, sum, expected) in rows {
            assert_eq!(tally(counts, sum).count(), expected, "{counts:?}");
        }
        assert_eq!(Tally::of(&Figure::Value(3.0), BOUNDS), Tally::default());
    }

    #[test]
    fn growth_is_added_and_never_overflows() {
        let (before, after) = (tally(&[1, 1, 2, 2, 2], 4.0), tally(&[2, 4, 6, 6, 6], 10.0));
        let grown = after.clone().since(&before);
        assert_eq!((grown.count(), grown.sum(), grown.mean()), (4, 6, Some(1.5)));
        assert_eq!(before.clone().since(&after).count(), 0, "what shrank has not grown");
        assert_eq!(after.clone().since(&Tally::default()), after, "a series that was not there began at 0");
        let all = tally(&[u64::MAX; 5], f64::MAX).plus(after.clone());
        assert_eq!((all.count(), all.sum()), (u64::MAX, u64::MAX));
        assert_eq!(Tally::default().plus(after.clone()), after);
        assert_eq!(Tally::default().mean(), None);
    }
}
