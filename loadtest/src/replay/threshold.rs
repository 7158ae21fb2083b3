//! Thresholds: `settle_p99<250ms`, `settled_per_s>5000`, `lost<1`.

use super::report::Report;
use std::str::FromStr;

/// A bound on one figure of the report.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    text: String,
    figure: &'static Figure,
    comparison: Comparison,
    bound: f64,
}

/// The text is not a threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidThreshold {
    /// There is no comparison in it.
    #[error("must compare a figure with a bound, as in settle_p99<250ms")]
    NoComparison,
    /// No such figure.
    #[error("there is no figure {0:?}; there are {known}", known = known_figures())]
    UnknownFigure(String),
    /// The bound of a latency.
    #[error("{0:?} is no time in ms or s")]
    NoTime(String),
    /// The bound of a count or rate.
    #[error("{0:?} is no number")]
    NoNumber(String),
}

/// What came of a threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// The threshold as it was typed.
    pub(crate) text: String,
    /// The figure as it is.
    pub(crate) found: String,
    /// Whether it keeps to the bound. A figure that was not measured keeps to none.
    pub(crate) holds: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: Unit,
    read: fn(&Report) -> Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Number,
}

macro_rules! figures {
    ($($unit:ident $name:literal = $read:expr),+ $(,)?) => {
        const FIGURES: &[Figure] = &[$(Figure { name: $name, unit: Unit::$unit, read: $read }),+];
    };
}

figures! {
    Milliseconds "accept_p50" = |report| report.accept_ms.p50,
    Milliseconds "accept_p95" = |report| report.accept_ms.p95,
    Milliseconds "accept_p99" = |report| report.accept_ms.p99,
    Milliseconds "accept_max" = |report| report.accept_ms.max,
    Milliseconds "settle_p50" = |report| report.settle_ms.p50,
    Milliseconds "settle_p95" = |report| report.settle_ms.p95,
    Milliseconds "settle_p99" = |report| report.settle_ms.p99,
    Milliseconds "settle_max" = |report| report.settle_ms.max,
    Number "accepted_per_s" = |report| Some(report.accepted_per_s),
    Number "settled_per_s" = |report| Some(report.settled_per_s),
    Number "sent" = |report| Some(report.sent as f64),
    Number "accepted" = |report| Some(report.accepted as f64),
    Number "replayed" = |report| Some(report.replayed as f64),
    Number "refused" = |report| Some(report.refused as f64),
    Number "unavailable" = |report| Some(report.unavailable as f64),
    Number "settled" = |report| Some(report.settled as f64),
    Number "failed" = |report| Some(report.failed as f64),
    Number "duplicates" = |report| Some(report.duplicates as f64),
    Number "lost" = |report| Some(report.lost as f64),
}

fn known_figures() -> String {
    FIGURES.iter().map(|figure| figure.name).collect::<Vec<_>>().join(" ")
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Threshold, InvalidThreshold> {
        let place = text.find(['<', '>']).ok_or(InvalidThreshold::NoComparison)?;
        let (name, rest) = (text[..place].trim(), &text[place + 1..]);
        let (or_equal, bound) = rest.strip_prefix('=').map_or((false, rest), |bound| (true, bound));
        let comparison = match (text.as_bytes()[place], or_equal) {
            (b'<', false) => Comparison::Below,
            (b'<', true) => Comparison::AtMost,
            (_, false) => Comparison::Above,
            (_, true) => Comparison::AtLeast,
        };
        let figure = FIGURES.iter().find(|figure| figure.name == name);
        let figure = figure.ok_or_else(|| InvalidThreshold::UnknownFigure(name.to_owned()))?;
        Ok(Threshold { text: text.to_owned(), figure, comparison, bound: figure.unit.parse(bound.trim())? })
    }
}

impl Unit {
    fn parse(self, text: &str) -> Result<f64, InvalidThreshold> {
        let number = |digits: &str| {
            digits.trim_end().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
        };
        match self {
            Unit::Number => number(text).ok_or_else(|| InvalidThreshold::NoNumber(text.to_owned())),
            Unit::Milliseconds => {
                let milliseconds = text.strip_suffix("ms").and_then(number);
                let seconds = || text.strip_suffix('s').and_then(number).map(|seconds| seconds * 1_000.0);
                milliseconds.or_else(seconds).ok_or_else(|| InvalidThreshold::NoTime(text.to_owned()))
            }
        }
    }
}

impl Threshold {
    /// Holds the report against the bound.
    pub(crate) fn check(&self, report: &Report) -> Check {
        let value = (self.figure.read)(report);
        let holds = value.is_some_and(|value| match self.comparison {
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
        });
        let found = match (value, self.figure.unit) {
            (None, _) => "not measured".to_owned(),
            (Some(value), Unit::Milliseconds) => format!("{value:.1} ms"),
            (Some(value), Unit::Number) => format!("{value}"),
        };
        Check { text: self.text.clone(), found, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::super::latencies::Quantiles;
    use super::*;

    #[test]
    fn thresholds_hold_break_or_make_no_sense() {
        let accept_ms = Quantiles { p50: Some(1.0), p95: Some(2.0), p99: Some(3.5), max: Some(250.0) };
        let report = Report { accept_ms, settled_per_s: 5_000.0, lost: 1, settled: 10, ..Report::default() };
        let rows = [
            ("accept_p50<2ms", Ok(true)),
            ("accept_p50<1ms", Ok(false)),
            ("accept_p50<=1ms", Ok(true)),
            ("accept_p99 < 3.6 ms", Ok(true)),
            ("accept_p99<0.0035s", Ok(false)),
            ("accept_max<=0.25s", Ok(true)),
            ("accept_p95>1ms", Ok(true)),
            ("settle_p99<250ms", Ok(false)),
            ("settled_per_s>4999.5", Ok(true)),
            ("settled_per_s>=5000", Ok(true)),
            ("settled_per_s>5000", Ok(false)),
            ("lost<1", Ok(false)),
            ("lost<2", Ok(true)),
            ("settled>=10", Ok(true)),
            ("settle_p99", Err("must compare")),
            ("settle_p42<1ms", Err("no figure \"settle_p42\"")),
            ("accept_p50<250", Err("no time")),
            ("accept_p50<ms", Err("no time")),
            ("accept_p50<-1ms", Err("no time")),
            ("accept_p50<250us", Err("no time")),
            ("lost<1ms", Err("no number")),
            ("lost<", Err("no number")),
            ("lost<NaN", Err("no number")),
            ("", Err("must compare")),
        ];
        for (text, expected) in rows {
            match (text.parse::<Threshold>(), expected) {
                (Ok(threshold), Ok(holds)) => assert_eq!(threshold.check(&report).holds, holds, "{text}"),
                (Err(error), Err(problem)) => assert!(error.to_string().contains(problem), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
    }
}
