//! The figures of a replay.

use super::board::{Board, Fate, Track};
use super::latencies::{Latencies, Quantiles};
use serde::Serialize;
use std::collections::BTreeMap;

/// The figures that `--json` writes. Every request that was sent is accepted, replayed, refused or
/// unavailable; every accepted payment is settled, failed or lost.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Report {
    /// Requests, each counted once however often it was repeated.
    pub(crate) sent: u64,
    /// Accepted for the first time: by a 202, or found in the ledger when the answer did not come.
    pub(crate) accepted: u64,
    /// Accepted before, by an earlier replay or another row of the same id.
    pub(crate) replayed: u64,
    /// Refused at the border.
    pub(crate) refused: u64,
    /// Without a final answer, and not in the ledger.
    pub(crate) unavailable: u64,
    /// Accepted, and captured in the ledger.
    pub(crate) settled: u64,
    /// Accepted, and failed in the ledger.
    pub(crate) failed: u64,
    /// Payments with more than one settlement in the ledger.
    pub(crate) duplicates: u64,
    /// Accepted, and without an end in the ledger.
    pub(crate) lost: u64,
    /// Payments of one request at most.
    pub(crate) batch: u16,
    /// From the first send to the last settlement, or to the last answer if nothing settled.
    pub(crate) duration_s: f64,
    /// Accepted, over the time from the first send to the last 202.
    pub(crate) accepted_per_s: f64,
    /// Settled, over the time from the first send to the last settlement.
    pub(crate) settled_per_s: f64,
    /// From the planned send to the 202.
    pub(crate) accept_ms: Quantiles,
    /// From the planned send to the settlement.
    pub(crate) settle_ms: Quantiles,
    /// Why payments failed.
    pub(crate) failed_by_reason: BTreeMap<String, u64>,
    /// Why requests were refused.
    pub(crate) refused_by_code: BTreeMap<String, u64>,
}

/// The figures with what only people read.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) report: Report,
    /// From the planned send to the 202.
    pub(crate) accepts: Latencies,
    /// From the planned send to the settlement.
    pub(crate) settlements: Latencies,
    /// From the planned send to the send; nothing without a plan.
    pub(crate) delays: Option<Latencies>,
    /// Attempts after each request's first.
    pub(crate) retries: u64,
}

/// When a settlement was heard of, else when the ledger says that it was.
fn settled_us(board: &Board, track: &Track) -> Option<u64> {
    let recorded_us = || track.end.map(|end| board.recorded_us(end.finished_at));
    track.heard_us.or_else(recorded_us)
}

impl Summary {
    /// Counts what the board knows; `is_planned` says whether sends were planned at a rate.
    pub(crate) fn of(board: &Board, duplicates: u64, is_planned: bool) -> Summary {
        let state = board.state();
        let counts = &state.counts;
        let mut report = Report {
            sent: counts.sent,
            accepted: counts.accepted,
            replayed: counts.replayed,
            refused: counts.refused.values().sum(),
            unavailable: counts.unavailable,
            duplicates,
            accept_ms: state.accepts.quantiles(),
            refused_by_code: counts.refused.clone(),
            ..Report::default()
        };
        for payment in &state.doubtful {
            let is_owed_elsewhere = state.tracks[*payment].standing == super::board::Standing::Owed;
            match board.fate(&state.tracks[*payment]) {
                Fate::Accepted if is_owed_elsewhere => report.replayed += 1,
                Fate::Accepted => report.accepted += 1,
                Fate::NotOurs => report.replayed += 1,
                Fate::Unknown => report.unavailable += 1,
            }
        }
        let mut settlements = Latencies::new();
        let mut last_settlement_us = None;
        for track in state.tracks.iter().filter(|track| board.fate(track) == Fate::Accepted) {
            match track.end {
                None => report.lost += 1,
                Some(end) => match end.reason {
                    Some(reason) => {
                        report.failed += 1;
                        *report.failed_by_reason.entry(reason.code().to_owned()).or_default() += 1;
                    }
                    None => {
                        report.settled += 1;
                        let settled_us = settled_us(board, track).unwrap_or(0);
                        settlements.record(settled_us.saturating_sub(track.planned_us.unwrap_or(0)));
                        last_settlement_us = last_settlement_us.max(Some(settled_us));
                    }
                },
            }
        }
        let first_us = state.tracks.iter().filter_map(|track| track.planned_us).min().unwrap_or(0);
        let window_s = |end_us: u64| end_us.saturating_sub(first_us) as f64 / 1_000_000.0;
        let per_second = |count: u64, seconds: f64| {
            if seconds > 0.0 { rounded(count as f64 / seconds, 10.0) } else { 0.0 }
        };
        let duration_s = window_s(last_settlement_us.unwrap_or(state.last_answer_us));
        report.duration_s = rounded(duration_s, 1_000.0);
        report.accepted_per_s = per_second(report.accepted, window_s(state.last_accept_us));
        report.settled_per_s = per_second(report.settled, duration_s);
        report.settle_ms = settlements.quantiles();
        Summary {
            report,
            accepts: state.accepts.clone(),
            settlements,
            delays: is_planned.then(|| state.delays.clone()),
            retries: counts.retries,
        }
    }

    /// What was measured, by name.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&'static str, &Latencies)> {
        let always = [("accept", &self.accepts), ("settle", &self.settlements)];
        always.into_iter().chain(self.delays.as_ref().map(|delays| ("send late", delays)))
    }
}

/// Rounds to so many parts of one.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
