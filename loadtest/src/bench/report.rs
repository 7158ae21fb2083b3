//! What `bench.json` says. Keys are the contract of whoever reads it.

use super::figures::{Named, Spread, by_name, median, ratio, rounded};
use super::pgbench::Transactions;
use super::run::Run;
use super::settings::{Settings, Versions};
use super::soak::Soak;
use serde::Serialize;
use std::collections::BTreeMap;

/// All figures of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Whether it was the quick one, of one short pair.
    pub(crate) quick: bool,
    /// The median of its runs.
    pub(crate) pgbench_tps: f64,
    /// Of a transaction, in Postgres and in pgbench.
    pub(crate) pgbench_cpu_us: f64,
    pub(crate) pgbench_cpu_us_by_process: Named,
    pub(crate) uniform: Uniform,
    /// All payments to one account.
    pub(crate) hot_destination: Compared,
    /// All payments from one account.
    pub(crate) hot_source: Compared,
    /// A hundred payments in each request.
    pub(crate) batch_api: Compared,
    pub(crate) half_load: Held,
    /// By rate.
    pub(crate) small_load: BTreeMap<String, Held>,
    /// Processor time that every process takes in a second without payments, in microseconds.
    pub(crate) idle_cpu_us_per_s: Named,
    /// The highest rate at which 99 of 100 settle soon.
    pub(crate) knee_per_s: f64,
    pub(crate) knee_ratio_to_uniform: f64,
    pub(crate) knee_probes: Vec<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soak: Option<Soak>,
    pub(crate) fdatasync_us: f64,
    pub(crate) settings: Settings,
    pub(crate) versions: Versions,
    /// Whether nothing was lost or done twice, the ledger holds, and the settings are durable.
    pub(crate) verified: bool,
    /// Why it is not.
    pub(crate) problems: Vec<String>,
}

/// The pipeline flat out over many accounts: medians of its runs, each beside its own pgbench.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Uniform {
    pub(crate) settled_per_s: f64,
    pub(crate) ratio_to_pgbench: f64,
    pub(crate) cpu_us_per_payment: f64,
    pub(crate) cpu_ratio_to_pgbench: f64,
    pub(crate) cpu_us_by_process: Named,
    /// Of the whole machine: what is above the sum of ours was somebody else's, or the kernel's own.
    pub(crate) machine_us_per_payment: f64,
    pub(crate) stolen_share: f64,
    /// The highest of all runs.
    pub(crate) rss_mb: Named,
    pub(crate) messages_per_payment: f64,
    /// Of the write-ahead log and of the intake.
    pub(crate) fsyncs_per_payment: f64,
    pub(crate) fsyncs: Named,
    pub(crate) wal_bytes_per_payment: f64,
    /// To the ledger; nothing where it cannot count them.
    pub(crate) round_trips_per_payment: Option<f64>,
    pub(crate) transactions_per_payment: f64,
    pub(crate) mean_batch: Named,
    /// Of all runs together.
    pub(crate) redeliveries: u64,
    /// Likewise.
    pub(crate) payments_redriven: u64,
    pub(crate) spread: BTreeMap<String, Spread>,
    pub(crate) runs: Vec<Pair>,
}

/// pgbench, and the pipeline right after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Pair {
    pub(crate) pgbench: Transactions,
    pub(crate) fdatasync_us: f64,
    pub(crate) ratio_to_pgbench: f64,
    pub(crate) cpu_ratio_to_pgbench: f64,
    /// Flushes of the write-ahead log; of the run and its warm-up, since Postgres tells them late.
    pub(crate) wal_syncs_per_payment: f64,
    /// Likewise.
    pub(crate) transactions_per_payment: f64,
    #[serde(flatten)]
    pub(crate) run: Run,
}

/// Runs of another kind, each right after a uniform one: medians, and of ratios those of their own neighbours.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) settled_per_s: f64,
    pub(crate) ratio_to_uniform: f64,
    pub(crate) ratio_to_pgbench: f64,
    pub(crate) cpu_us_per_payment: f64,
    /// Of the ratio to uniform.
    pub(crate) spread: Spread,
    pub(crate) runs: Vec<Run>,
}

/// A run at a rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Held {
    /// Payments a second, whatever the answers did.
    pub(crate) rate: f64,
    #[serde(flatten)]
    pub(crate) run: Run,
}

/// A rate that was tried for the knee.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Probe {
    pub(crate) is_held: bool,
    #[serde(flatten)]
    pub(crate) held: Held,
}

impl Pair {
    /// The flushes and transactions are over `counted` payments.
    pub(crate) fn of(
        pgbench: Transactions,
        fdatasync_us: f64,
        late: (u64, u64),
        counted: u64,
        run: Run,
    ) -> Pair {
        let each = |count: u64| rounded(ratio(count as f64, counted as f64), 4);
        Pair {
            ratio_to_pgbench: rounded(ratio(run.settled_per_s, pgbench.tps), 3),
            cpu_ratio_to_pgbench: rounded(ratio(run.cpu_us_per_payment, pgbench.cpu_us), 3),
            wal_syncs_per_payment: each(late.0),
            transactions_per_payment: each(late.1),
            pgbench,
            fdatasync_us,
            run,
        }
    }
}

impl Uniform {
    /// Medians, and of ratios those of the pairs' own.
    pub(crate) fn of(runs: Vec<Pair>) -> Uniform {
        let middle = |figure: &dyn Fn(&Pair) -> f64| rounded(median(runs.iter().map(figure)), 4);
        let spread = |figure: &dyn Fn(&Pair) -> f64| Spread::of(runs.iter().map(figure));
        let named = |figures: &dyn Fn(&Pair) -> &Named, one: &dyn Fn(Vec<f64>) -> f64| {
            by_name(runs.iter().map(figures), one)
        };
        let (wal, intake) =
            (middle(&|pair| pair.wal_syncs_per_payment), middle(&|pair| pair.run.intake_stores_per_payment));
        let disk = runs.iter().filter_map(|pair| pair.run.disk_flushes_per_payment);
        let fsyncs = [("write_ahead_log", wal), ("intake", intake), ("disk_flushes", median(disk))];
        let spreads: [(&str, &dyn Fn(&Pair) -> f64); 7] = [
            ("fdatasync_us", &|pair| pair.fdatasync_us),
            ("pgbench_tps", &|pair| pair.pgbench.tps),
            ("pgbench_cpu_us", &|pair| pair.pgbench.cpu_us),
            ("settled_per_s", &|pair| pair.run.settled_per_s),
            ("ratio_to_pgbench", &|pair| pair.ratio_to_pgbench),
            ("cpu_us_per_payment", &|pair| pair.run.cpu_us_per_payment),
            ("cpu_ratio_to_pgbench", &|pair| pair.cpu_ratio_to_pgbench),
        ];
        Uniform {
            settled_per_s: middle(&|pair| pair.run.settled_per_s),
            ratio_to_pgbench: middle(&|pair| pair.ratio_to_pgbench),
            cpu_us_per_payment: middle(&|pair| pair.run.cpu_us_per_payment),
            cpu_ratio_to_pgbench: middle(&|pair| pair.cpu_ratio_to_pgbench),
            cpu_us_by_process: named(&|pair| &pair.run.cpu_us_by_process, &|values| median(values)),
            machine_us_per_payment: middle(&|pair| pair.run.machine_us_per_payment),
            stolen_share: middle(&|pair| pair.run.stolen_share),
            rss_mb: named(&|pair| &pair.run.rss_mb, &|values| Spread::of(values).max),
            messages_per_payment: middle(&|pair| pair.run.messages_per_payment),
            fsyncs_per_payment: rounded(wal + intake, 4),
            fsyncs: fsyncs.map(|(name, each)| (name.to_owned(), each)).into(),
            wal_bytes_per_payment: middle(&|pair| pair.run.wal_bytes_per_payment),
            round_trips_per_payment: None,
            transactions_per_payment: middle(&|pair| pair.transactions_per_payment),
            mean_batch: named(&|pair| &pair.run.mean_batch, &|values| median(values)),
            redeliveries: runs.iter().map(|pair| pair.run.redeliveries).sum(),
            payments_redriven: runs.iter().map(|pair| pair.run.payments_redriven).sum(),
            spread: spreads.map(|(name, figure)| (name.to_owned(), spread(figure))).into(),
            runs,
        }
    }
}

impl Compared {
    /// One run after each pair.
    pub(crate) fn to(pairs: &[Pair], runs: Vec<Run>) -> Compared {
        let neighbours = || pairs.iter().zip(&runs);
        let to_uniform = || neighbours().map(|(pair, run)| ratio(run.settled_per_s, pair.run.settled_per_s));
        let to_pgbench = neighbours().map(|(pair, run)| ratio(run.settled_per_s, pair.pgbench.tps));
        let Spread { min, max } = Spread::of(to_uniform());
        Compared {
            settled_per_s: rounded(median(runs.iter().map(|run| run.settled_per_s)), 1),
            ratio_to_uniform: rounded(median(to_uniform()), 3),
            ratio_to_pgbench: rounded(median(to_pgbench), 3),
            cpu_us_per_payment: rounded(median(runs.iter().map(|run| run.cpu_us_per_payment)), 1),
            spread: Spread { min: rounded(min, 3), max: rounded(max, 3) },
            runs,
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
