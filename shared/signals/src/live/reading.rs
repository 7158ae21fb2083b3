//! What is taken from a player's figures: of fixed size, whatever it sends.

use super::tally::Tally;
use crate::metric::{self, Kind, Metric};
use std::collections::BTreeMap;
use wire::figures::{Figure, RoleFigures, Series};
use wire::{Hop, StageName};

/// Currencies of a ledger: ISO 4217 has fewer.
const CURRENCIES_MAX: usize = 256;

/// A player's counts at one moment.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) is_recorded: bool,
    pub(super) accepted: u64,
    pub(super) requests: Tally,
    pub(super) accepted_batches: Tally,
    pub(super) captured: Tally,
    pub(super) failed: Tally,
    pub(super) stages: [StageReading; StageName::ALL.len()],
    pub(super) violations: Option<u64>,
    pub(super) audit_lag_s: Option<f64>,
    pub(super) imbalances: BTreeMap<String, i64>,
    pub(super) dead_letters: Option<u64>,
}

/// A stage's.
#[derive(Debug, Default)]
pub(super) struct StageReading {
    pub(super) batches: Tally,
    pub(super) durations: Tally,
    pub(super) is_halted: bool,
    /// Over all shards.
    pub(super) lag: Option<u64>,
}

/// What is asked for, and where it goes.
#[rustfmt::skip]
const ASKED: [(&Metric, fn(&mut Reading, &Series)); 12] = [
    (&metric::REQUESTS, requests),
    (&metric::REQUEST_DURATION, |reading, series| if is(series, "service", "gateway") && is(series, "route", "/payments") {
        reading.requests = tally(series, &metric::REQUEST_DURATION);
    }),
    (&metric::PUBLISH_BATCH_SIZE, |reading, series| if is(series, "hop", Hop::Accepted.as_str()) {
        let batches = std::mem::take(&mut reading.accepted_batches);
        reading.accepted_batches = batches.plus(tally(series, &metric::PUBLISH_BATCH_SIZE));
    }),
    (&metric::END_TO_END, ends),
    (&metric::STAGE_BATCH_SIZE, |reading, series| if let Some(stage) = reading.stage(series) {
        stage.batches = tally(series, &metric::STAGE_BATCH_SIZE);
    }),
    (&metric::STAGE_DURATION, |reading, series| if let Some(stage) = reading.stage(series) {
        stage.durations = tally(series, &metric::STAGE_DURATION);
    }),
    (&metric::STAGE_HALTED, |reading, series| if let Some(stage) = reading.stage(series) {
        stage.is_halted = whole(series) != Some(0);
    }),
    (&metric::STAGE_LAG, |reading, series| if let Some(stage) = reading.stage(series) {
        stage.lag = whole(series).map(|lag| lag.saturating_add(stage.lag.unwrap_or(0)));
    }),
    (&metric::INVARIANT_VIOLATIONS, |reading, series| reading.violations = whole(series)),
    (&metric::AUDIT_LAG, |reading, series| reading.audit_lag_s = number(series).filter(|lag| *lag >= 0.0)),
    (&metric::IMBALANCE, imbalance),
    (&metric::DEAD_LETTERS_OPEN, |reading, series| reading.dead_letters = whole(series)),
];

/// The metrics that a role tells.
pub fn asked() -> impl Iterator<Item = &'static Metric> {
    ASKED.iter().map(|(metric, _)| *metric)
}

impl Reading {
    pub(super) fn of(figures: &RoleFigures) -> Reading {
        let mut reading = Reading { is_recorded: !figures.series.is_empty(), ..Reading::default() };
        for series in &figures.series {
            if let Some((_, take)) = ASKED.iter().find(|(metric, _)| metric.name == series.name) {
                take(&mut reading, series);
            }
        }
        reading
    }

    fn stage(&mut self, series: &Series) -> Option<&mut StageReading> {
        let stage = series.labels.get("stage").and_then(|name| StageName::named(name))?;
        self.stages.get_mut(stage as usize)
    }
}

fn requests(reading: &mut Reading, series: &Series) {
    let labels = [("service", "gateway"), ("route", "/payments"), ("method", "POST"), ("status", "OK")];
    if labels.iter().all(|(label, value)| is(series, label, value)) {
        reading.accepted = reading.accepted.saturating_add(whole(series).unwrap_or(0));
    }
}

fn ends(reading: &mut Reading, series: &Series) {
    let ended = tally(series, &metric::END_TO_END);
    match series.labels.get("status").map(String::as_str) {
        Some("CAPTURED") => reading.captured = ended,
        Some("FAILED") => reading.failed = ended,
        _ => {}
    }
}

fn imbalance(reading: &mut Reading, series: &Series) {
    let code = series.labels.get("currency").filter(|code| code.len() == 3);
    if let (Some(currency), Some(minor)) = (code, number(series))
        && reading.imbalances.len() < CURRENCIES_MAX
    {
        reading.imbalances.insert(currency.clone(), minor as i64);
    }
}

fn is(series: &Series, label: &str, value: &str) -> bool {
    series.labels.get(label).is_some_and(|found| found == value)
}

fn number(series: &Series) -> Option<f64> {
    match series.figure {
        Figure::Value(value) => Some(value).filter(|value| value.is_finite()),
        Figure::Histogram { .. } => None,
    }
}

/// A count; what is less than nothing is none.
fn whole(series: &Series) -> Option<u64> {
    number(series).filter(|value| *value >= 0.0).map(|value| value as u64)
}

fn tally(series: &Series, metric: &Metric) -> Tally {
    match metric.kind {
        Kind::Histogram(bounds) => Tally::of(&series.figure, bounds),
        Kind::Counter | Kind::Gauge => Tally::default(),
    }
}
