//! One timed replay, and what it cost every process.

use super::counters::{Counted, Counting, Counts};
use super::figures::{Named, ratio, rounded};
use super::processes::{Groups, Ticks};
use crate::error::LoadtestError;
use crate::replay::latencies::Quantiles;
use crate::replay::report::Report;
use crate::replay::script::Script;
use crate::replay::{self, Edge};
use config::Config;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// How payments are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// Keep-alive connections.
    pub(crate) connections: u16,
    /// Payments a second; none: as fast as the answers come.
    pub(crate) rate: Option<f64>,
    /// Payments in one request of the route for many; none: each in one of its own.
    pub(crate) batch: Option<u16>,
}

/// The figures of one timed replay. Times are from the first send to the last settlement.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Run {
    /// Payments settled in it.
    pub(crate) payments: u64,
    /// How many that were a second.
    pub(crate) settled_per_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) accept_ms: Quantiles,
    pub(crate) settle_ms: Quantiles,
    /// Processor time of a payment in all processes, the load generator's too.
    pub(crate) cpu_us_per_payment: f64,
    pub(crate) cpu_us_by_process: Named,
    /// Of the whole machine, so with the kernel's own tasks and whatever else ran.
    pub(crate) machine_us_per_payment: f64,
    /// What the machine below took meanwhile from this one, over its processor time: 0.01 is a hundredth.
    pub(crate) stolen_share: f64,
    /// The most memory of each process; of Postgres what it has at the end.
    pub(crate) rss_mb: Named,
    pub(crate) messages_per_payment: f64,
    pub(crate) message_bytes_per_payment: f64,
    pub(crate) wal_bytes_per_payment: f64,
    pub(crate) intake_stores_per_payment: f64,
    pub(crate) disk_flushes_per_payment: Option<f64>,
    pub(crate) mean_batch: Named,
    pub(crate) redeliveries: u64,
    pub(crate) payments_redriven: u64,
    /// What is not as it must be; empty: every payment that was sent has settled, once.
    pub(crate) problems: Vec<String>,
}

/// Who is looked at while payments are carried.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) groups: Groups,
    pub(crate) counting: Counting,
}

/// What was seen at an edge of the timed part.
#[derive(Debug, Clone, Default)]
struct Seen {
    counts: Counts,
    ticks: Ticks,
    peaks: Named,
}

impl Watched {
    /// Replays the payments of a file.
    pub(crate) async fn replay(&self, config: &Config, csv: &Path, pace: Pace) -> Result<Run, LoadtestError> {
        let script = Arc::new(Script::read(csv)?);
        let arguments = replay::Arguments::of(csv.to_owned(), pace.connections, pace.rate, pace.batch);
        let mut seen: Vec<Result<Seen, LoadtestError>> = Vec::new();
        let summary =
            replay::play(&arguments, &script, config, async |edge| seen.push(self.look(edge).await)).await?;
        let mut seen = seen.into_iter();
        let mut next = || seen.next().unwrap_or_else(|| Ok(Seen::default()));
        let (first, last) = (next()?, next()?);
        Ok(Run::of(&summary.report, &first, &last))
    }

    /// Clocks are read nearest to what they time.
    async fn look(&self, edge: Edge) -> Result<Seen, LoadtestError> {
        match edge {
            Edge::First => {
                let counts = self.counting.counts().await?;
                self.groups.forget_peaks();
                Ok(Seen { counts, ticks: self.groups.ticks(), peaks: Named::default() })
            }
            Edge::Last => {
                let ticks = self.groups.ticks();
                Ok(Seen { ticks, peaks: self.groups.memory(true), counts: self.counting.counts().await? })
            }
        }
    }
}

impl Run {
    fn of(report: &Report, first: &Seen, last: &Seen) -> Run {
        let payments = report.settled as f64;
        let each = |us: f64| rounded(ratio(us, payments), 1);
        let used = last.ticks.since(&first.ticks);
        let (machine_us, stolen_us, _) = last.ticks.of_all_since(&first.ticks);
        let counted: Counted = last.counts.since(&first.counts, payments);
        Run {
            payments: report.settled,
            settled_per_s: report.settled_per_s,
            duration_s: report.duration_s,
            accept_ms: report.accept_ms,
            settle_ms: report.settle_ms,
            cpu_us_per_payment: each(used.values().sum()),
            cpu_us_by_process: used.into_iter().map(|(name, us)| (name, each(us))).collect(),
            machine_us_per_payment: each(machine_us),
            stolen_share: rounded(ratio(stolen_us, machine_us + stolen_us), 3),
            rss_mb: last.peaks.clone(),
            messages_per_payment: counted.messages_per_payment,
            message_bytes_per_payment: counted.message_bytes_per_payment,
            wal_bytes_per_payment: counted.wal_bytes_per_payment,
            intake_stores_per_payment: counted.intake_stores_per_payment,
            disk_flushes_per_payment: counted.disk_flushes_per_payment,
            mean_batch: counted.mean_batch,
            redeliveries: counted.redeliveries,
            payments_redriven: counted.redriven,
            problems: problems(report),
        }
    }
}

/// What a replay says that must not be: the accounts have the money, and nothing disturbs.
fn problems(report: &Report) -> Vec<String> {
    let counts = [
        ("lost", report.lost),
        ("settled twice", report.duplicates),
        ("failed", report.failed),
        ("refused", report.refused),
        ("without an answer", report.unavailable),
        ("accepted before", report.replayed),
        ("sent and not settled", report.sent.saturating_sub(report.settled)),
    ];
    let wrong = counts.iter().filter(|(_, count)| *count > 0);
    wrong.map(|(what, count)| format!("{count} payments {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_costs_what_every_process_used_over_what_settled() {
        let seen = |stages, loadtest, machine, peak| Seen {
            counts: Counts::default(),
            ticks: Ticks {
                groups: [("stages".to_owned(), stages), ("loadtest".to_owned(), loadtest)].into(),
                machine,
                stolen: machine / 100,
                children: 0,
            },
            peaks: [("stages".to_owned(), peak)].into(),
        };
        let report = Report {
            sent: 1_000,
            accepted: 1_000,
            settled: 1_000,
            settled_per_s: 5_000.0,
            ..Report::default()
        };
        let run = Run::of(&report, &seen(100, 10, 1_000, 0.0), &seen(120, 14, 1_200, 51.5));
        assert_eq!((run.payments, run.settled_per_s, run.problems.len()), (1_000, 5_000.0, 0));
        assert_eq!((run.cpu_us_per_payment, run.machine_us_per_payment), (240.0, 2_000.0));
        assert_eq!((run.cpu_us_by_process["stages"], run.cpu_us_by_process["loadtest"]), (200.0, 40.0));
        assert_eq!((run.rss_mb["stages"], run.stolen_share), (51.5, 0.01));
    }

    #[test]
    fn whatever_has_not_settled_once_is_a_problem() {
        let whole = Report { sent: 10, accepted: 10, settled: 10, ..Report::default() };
        let rows: [(Report, &[&str]); 5] = [
            (whole.clone(), &[]),
            (
                Report { lost: 1, settled: 9, ..whole.clone() },
                &["1 payments lost", "1 payments sent and not settled"],
            ),
            (Report { duplicates: 2, ..whole.clone() }, &["2 payments settled twice"]),
            (
                Report { failed: 3, settled: 7, ..whole.clone() },
                &["3 payments failed", "3 payments sent and not settled"],
            ),
            (
                Report { replayed: 10, accepted: 0, settled: 0, ..whole },
                &["10 payments accepted before", "10 payments sent and not settled"],
            ),
        ];
        for (report, expected) in rows {
            assert_eq!(problems(&report), expected, "{report:?}");
        }
    }
}
