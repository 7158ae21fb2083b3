//! Medians and spreads.

use serde::Serialize;
use std::collections::BTreeMap;

/// The smallest and the largest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of no figures: zeros.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let widen = |spread: Option<Spread>, value: f64| {
            let Spread { min, max } = spread.unwrap_or(Spread { min: value, max: value });
            Some(Spread { min: min.min(value), max: max.max(value) })
        };
        values.into_iter().fold(None, widen).unwrap_or_default()
    }
}

/// The middle of some figures, or the mean of both middles; of no figures zero.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Figures by their names.
pub(crate) type Named = BTreeMap<String, f64>;

/// Of each name what `one` makes of its figures; a name need not have all.
pub(crate) fn by_name<'n>(maps: impl IntoIterator<Item = &'n Named>, one: impl Fn(Vec<f64>) -> f64) -> Named {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in maps.into_iter().flatten() {
        all.entry(name.clone()).or_default().push(*value);
    }
    all.into_iter().map(|(name, values)| (name, one(values))).collect()
}

/// A share; of nothing zero.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// To so many digits behind the point.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let parts = 10_f64.powi(digits);
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        let rows: [(&[f64], f64, (f64, f64)); 5] = [
            (&[], 0.0, (0.0, 0.0)),
            (&[7.0], 7.0, (7.0, 7.0)),
            (&[9.0, 1.0], 5.0, (1.0, 9.0)),
            (&[3.0, -1.0, 2.0], 2.0, (-1.0, 3.0)),
            (&[4.0, 1.0, 3.0, 2.0], 2.5, (1.0, 4.0)),
        ];
        for (values, middle, (min, max)) in rows {
            assert_eq!(median(values.iter().copied()), middle, "{values:?}");
            assert_eq!(Spread::of(values.iter().copied()), Spread { min, max }, "{values:?}");
        }
    }

    #[test]
    fn figures_of_a_name_come_together() {
        let map = |pairs: &[(&str, f64)]| -> Named {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let maps = [map(&[("a", 1.0), ("b", 5.0)]), map(&[("a", 3.0)]), map(&[("a", 9.0)])];
        assert_eq!(by_name(&maps, median), map(&[("a", 3.0), ("b", 5.0)]));
        assert_eq!(by_name(&maps, |values| Spread::of(values).max), map(&[("a", 9.0), ("b", 5.0)]));
    }

    #[test]
    fn shares_and_digits() {
        for (part, whole, digits, expected) in
            [(1.0, 3.0, 2, 0.33), (5.0, 0.0, 2, 0.0), (2.0, 3.0, 0, 1.0), (1_234.567, 1.0, 1, 1_234.6)]
        {
            assert_eq!(rounded(ratio(part, whole), digits), expected, "{part}/{whole}");
        }
    }
}
