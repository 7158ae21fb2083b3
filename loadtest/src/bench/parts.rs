//! The parts of a benchmark, one after the other on one stack.

use super::counters::{Counting, LATE};
use super::figures::{Named, by_name, median, ratio, rounded};
use super::knee::{Halving, SETTLE_P99_MS};
use super::money::{Hot, Loadtest};
use super::pgbench::Client;
use super::plan::{Plan, soak_pieces};
use super::report::{Compared, Held, Pair, Probe, Report, Uniform};
use super::run::{Pace, Run, Watched};
use super::soak::{self, Series, Soak};
use super::stack::Stack;
use super::{disk, settings, statements};
use crate::error::LoadtestError;
use crate::output::{grouped, say};
use config::Config;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// Flat out, as many requests are on their way at once.
const CONNECTIONS: u16 = 512;

/// Payments of one request, and connections that send such: together no more than a gateway lets wait for the
/// ledger.
const BATCH: u16 = 100;
const CONNECTIONS_BATCH: u16 = 20;

/// At a small rate few are.
const CONNECTIONS_SMALL: u16 = 64;

const SMALL_RATES: [u64; 2] = [200, 1_000];

/// The knee is looked for up to somewhat above the flat-out rate.
const KNEE_ABOVE: f64 = 1.2;

/// What may be left in the intake where a rate is measured: a second's worth.
const TIDY_MESSAGES: u64 = 5_000;
/// The janitor purges a minute after the row, and each look of its own is some seconds apart.
const TIDY_PATIENCE: Duration = Duration::from_secs(120);
const TIDY_LOOK_EVERY: Duration = Duration::from_secs(2);

/// A benchmark on its way.
pub(crate) struct Session {
    plan: Plan,
    config: Config,
    stack: Stack,
    loadtest: Loadtest,
    client: Client,
    store: Store,
    /// On the disk of the ledger.
    ledger_folder: PathBuf,
    /// Files of payments so far: each has ids of its own.
    files: u32,
    problems: Vec<String>,
}

impl Session {
    /// On a stack whose servers run.
    pub(crate) async fn start(
        plan: Plan,
        config: Config,
        stack: Stack,
        loadtest: Loadtest,
        ledger_folder: PathBuf,
    ) -> Result<Session, LoadtestError> {
        let running = stack.running().await?;
        let postgres = running.iter().find(|(name, _)| name == super::processes::POSTGRES);
        let pid = postgres.map_or(0, |(_, pid)| *pid);
        let client = Client::beside(pid, &config.postgres.owner_url)?;
        let store = settings::open(&config)?;
        let problems = Vec::new();
        Ok(Session { plan, config, stack, loadtest, client, store, ledger_folder, files: 0, problems })
    }

    /// Everything, in turn.
    pub(crate) async fn measure(mut self, checkout: &Path) -> Result<Report, LoadtestError> {
        let quiet_us = disk::fdatasync_us(&self.ledger_folder)?;
        self.stack.up().await?;
        let settings = settings::settings(&self.config, &self.store).await?;
        let versions = settings::versions(&self.config, &self.store, checkout).await?;
        self.problems.extend(settings.leaks());
        self.fund().await?;
        // First, while no earlier part has left anything to be tidied up.
        let (idle_cpu_us_per_s, small_load) = self.small().await?;

        let (pairs, [hot_destination, hot_source, batch_api]) = self.turns().await?;
        let [hot_destination, hot_source, batch_api] =
            [hot_destination, hot_source, batch_api].map(|runs| Compared::to(&pairs, runs));
        let mut uniform = Uniform::of(pairs);
        let pgbench = |figure: fn(&Pair) -> f64| median(uniform.runs.iter().map(figure));
        let (tps, cpu_us) = (pgbench(|pair| pair.pgbench.tps), pgbench(|pair| pair.pgbench.cpu_us));
        let by_process = uniform.runs.iter().map(|pair| &pair.pgbench.cpu_us_by_process);
        let pgbench_cpu_us_by_process = by_name(by_process, median);
        let fdatasyncs = uniform.runs.iter().map(|pair| pair.fdatasync_us).chain([quiet_us]);
        let fdatasync_us = rounded(median(fdatasyncs), 1);
        let flat = uniform.settled_per_s;

        self.tidy().await?;
        let half_load = self.held(flat / 2.0, self.plan.half_seconds, CONNECTIONS).await?;
        let (knee, knee_probes) = self.knee(flat, &half_load).await?;
        let soak = match self.plan.soak_seconds {
            0 => None,
            seconds => Some(self.soak(flat * soak::SHARE, seconds).await?),
        };
        self.verify("the whole").await?;
        uniform.round_trips_per_payment = self.round_trips().await?;
        Ok(Report {
            quick: self.plan.is_quick,
            pgbench_tps: tps,
            pgbench_cpu_us: cpu_us,
            pgbench_cpu_us_by_process,
            uniform,
            hot_destination,
            hot_source,
            batch_api,
            half_load,
            small_load,
            idle_cpu_us_per_s,
            knee_per_s: rounded(knee, 0),
            knee_ratio_to_uniform: rounded(ratio(knee, flat), 3),
            knee_probes,
            soak,
            fdatasync_us,
            settings,
            versions,
            verified: self.problems.is_empty(),
            problems: self.problems,
        })
    }

    /// Opens all accounts, with the money for all parts.
    async fn fund(&mut self) -> Result<(), LoadtestError> {
        let started = Instant::now();
        let units = self.plan.units(soak_pieces(self.plan.soak_seconds));
        let unit = self.payments(self.plan.unit(), None).await?;
        self.loadtest.fund(&unit, units).await?;
        for side in [Hot::Destination, Hot::Source] {
            let hot = self.payments(self.plan.payments, Some(side)).await?;
            self.loadtest.fund(&hot, u64::from(self.plan.pairs)).await?;
        }
        say(format_args!("accounts opened and funded in {} s", started.elapsed().as_secs()));
        Ok(())
    }

    /// pgbench and the pipeline in turn: over many accounts, to one account, from one account, and many payments
    /// a request.
    async fn turns(&mut self) -> Result<(Vec<Pair>, [Vec<Run>; 3]), LoadtestError> {
        let (mut pairs, mut others) = (Vec::new(), <[Vec<Run>; 3]>::default());
        for number in 1..=self.plan.pairs {
            let pair = self.pair(number).await?;
            say(format_args!(
                "pair {number}: pgbench {:.0} tps, {:.0} us; uniform {:.0}/s, {:.0} us: {:.2}, {:.2} of it",
                pair.pgbench.tps,
                pair.pgbench.cpu_us,
                pair.run.settled_per_s,
                pair.run.cpu_us_per_payment,
                pair.ratio_to_pgbench,
                pair.cpu_ratio_to_pgbench,
            ));
            pairs.push(pair);
            let batches = Pace { connections: CONNECTIONS_BATCH, batch: Some(BATCH), rate: None };
            let kinds = [
                ("hot destination", Some(Hot::Destination), flat_out()),
                ("hot source", Some(Hot::Source), flat_out()),
                ("batches", None, batches),
            ];
            for (runs, (name, hot, pace)) in others.iter_mut().zip(kinds) {
                runs.push(self.other(name, hot, pace).await?);
            }
        }
        Ok((pairs, others))
    }

    async fn pair(&mut self, number: u32) -> Result<Pair, LoadtestError> {
        self.stack.down_services().await?;
        let fdatasync_us = disk::fdatasync_us(&self.ledger_folder)?;
        let groups = self.stack.groups().await?;
        let pgbench = self.client.measure(self.plan.pgbench_seconds, &groups).await?;
        self.stack.up().await?;

        let watched = self.watched().await?;
        let late_before = watched.counting.late_counts().await?;
        let csv = self.payments(self.plan.payments, None).await?;
        self.warm_up(&watched).await?;
        let run = watched.replay(&self.config, &csv, flat_out()).await?;
        let ended = Instant::now();
        self.judge(&format!("uniform {number}"), &run).await?;
        // Nothing happens meanwhile but that sessions hand in what they have counted.
        tokio::time::sleep_until(ended + LATE).await;
        let late = watched.counting.late_counts().await?;
        let late = (
            late.wal_syncs.saturating_sub(late_before.wal_syncs),
            late.transactions.saturating_sub(late_before.transactions),
        );
        Ok(Pair::of(pgbench, fdatasync_us, late, self.plan.warm_up + run.payments, run))
    }

    /// As fast as it goes, in another way than the uniform runs.
    async fn other(&mut self, name: &str, hot: Option<Hot>, pace: Pace) -> Result<Run, LoadtestError> {
        let csv = self.payments(self.plan.payments, hot).await?;
        let watched = self.watched().await?;
        self.warm_up(&watched).await?;
        let run = watched.replay(&self.config, &csv, pace).await?;
        say(format_args!("{name}: {:.0}/s, {:.0} us", run.settled_per_s, run.cpu_us_per_payment));
        self.judge(name, &run).await?;
        Ok(run)
    }

    /// A rate, whatever the answers do.
    async fn held(&mut self, rate: f64, seconds: u64, connections: u16) -> Result<Held, LoadtestError> {
        let csv = self.payments(self.plan.held(rate, seconds), None).await?;
        let watched = self.watched().await?;
        self.client.settle_debts(self.database()).await?;
        let run =
            watched.replay(&self.config, &csv, Pace { connections, rate: Some(rate), batch: None }).await?;
        let p50 = |quantiles: crate::replay::latencies::Quantiles| quantiles.p50.unwrap_or(0.0);
        say(format_args!(
            "{rate:.0}/s: accept p50 {:.2} ms, settle p50 {:.2} ms, {:.0} us",
            p50(run.accept_ms),
            p50(run.settle_ms),
            run.cpu_us_per_payment
        ));
        self.note(&format!("{rate:.0}/s"), &run.problems);
        Ok(Held { rate: rounded(rate, 1), run })
    }

    /// Waits until the janitor has purged what the flat-out runs have left in the intake, or most of it: a rate
    /// is held beside the purge of its own payments, not of three times as many.
    async fn tidy(&mut self) -> Result<(), LoadtestError> {
        let (started, watched) = (Instant::now(), self.watched().await?);
        while watched.counting.intake_messages().await? > TIDY_MESSAGES && started.elapsed() < TIDY_PATIENCE {
            tokio::time::sleep(TIDY_LOOK_EVERY).await;
        }
        say(format_args!("the intake is purged after {} s", started.elapsed().as_secs()));
        Ok(())
    }

    /// Nothing, and little.
    async fn small(&mut self) -> Result<(Named, BTreeMap<String, Held>), LoadtestError> {
        let watched = self.watched().await?;
        self.warm_up(&watched).await?;
        let idle = self.idle().await?;
        let mut loads = BTreeMap::new();
        for rate in SMALL_RATES {
            let held = self.held(rate as f64, self.plan.small_seconds, CONNECTIONS_SMALL).await?;
            loads.insert(rate.to_string(), held);
        }
        Ok((idle, loads))
    }

    /// What is done for nothing.
    async fn idle(&mut self) -> Result<Named, LoadtestError> {
        let groups = self.stack.groups().await?;
        self.client.settle_debts(self.database()).await?;
        let first = groups.ticks();
        tokio::time::sleep(Duration::from_secs(self.plan.idle_seconds)).await;
        let used = groups.ticks().since(&first);
        Ok(used
            .into_iter()
            .map(|(name, us)| (name, rounded(us / self.plan.idle_seconds as f64, 0)))
            .collect())
    }

    /// Halves between half of the flat-out rate and somewhat above it.
    async fn knee(&mut self, flat: f64, half: &Held) -> Result<(f64, Vec<Probe>), LoadtestError> {
        let probe = |held: Held| {
            let settles_soon = held.run.settle_ms.p99.is_some_and(|p99| p99 < SETTLE_P99_MS);
            Probe { is_held: settles_soon && held.run.problems.is_empty(), held }
        };
        let mut probes = vec![probe(half.clone())];
        let known = if probes[0].is_held { half.rate } else { 0.0 };
        let mut halving = Halving::between(known, flat * KNEE_ABOVE);
        for _ in 0..self.plan.knee_probes {
            let held = self.held(halving.next(), self.plan.knee_seconds, CONNECTIONS).await?;
            let tried = probe(held);
            halving.note(tried.is_held);
            probes.push(tried);
        }
        Ok((halving.knee(), probes))
    }

    /// The same rate for long. It is sent in pieces: a file of all of it would be the load generator's memory.
    async fn soak(&mut self, rate: f64, seconds: u64) -> Result<Soak, LoadtestError> {
        let watched = self.watched().await?;
        let series = Series::default();
        let pieces = async {
            let (started, mut payments, mut slowest) = (Instant::now(), 0, 0.0_f64);
            for _ in 0..soak_pieces(seconds) {
                let left = seconds.saturating_sub(started.elapsed().as_secs());
                if left == 0 {
                    break;
                }
                let csv = self.payments(self.plan.held(rate, left), None).await?;
                let pace = Pace { connections: CONNECTIONS, rate: Some(rate), batch: None };
                let run = watched.replay(&self.config, &csv, pace).await?;
                self.note("the soak", &run.problems);
                payments += run.payments;
                slowest = slowest.max(run.settle_ms.p99.unwrap_or(0.0));
                say(format_args!("soak: {} payments, {left} s were left", grouped(payments)));
            }
            Ok::<_, LoadtestError>((payments, slowest))
        };
        let (payments, slowest) = tokio::select! {
            biased;
            sent = pieces => sent,
            never = series.watch(&watched.groups) => match never {},
        }?;
        Ok(series.into_soak(rounded(rate, 1), payments, slowest))
    }

    /// Last, since it starts Postgres anew; nothing where its counter is not installed.
    async fn round_trips(&mut self) -> Result<Option<f64>, LoadtestError> {
        if let Err(error) = statements::start_counting(&self.stack, &self.client, self.database()).await {
            say(format_args!("round trips are not counted: {}", crate::output::chain(&error)));
            return Ok(None);
        }
        // The sessions that were open ended with the server.
        self.store = settings::open(&self.config)?;
        let watched = self.watched().await?;
        self.warm_up(&watched).await?;
        let csv = self.payments(self.plan.counted, None).await?;
        statements::round_trips_per_payment(&self.config, &self.store, &csv, CONNECTIONS).await.map(Some)
    }

    /// Plans are made, pages are read, connections are open; then what is owed for it is paid.
    async fn warm_up(&mut self, watched: &Watched) -> Result<(), LoadtestError> {
        let csv = self.payments(self.plan.warm_up, None).await?;
        let run = watched.replay(&self.config, &csv, flat_out()).await?;
        self.note("a warm-up", &run.problems);
        self.client.settle_debts(self.database()).await
    }

    fn database(&self) -> &str {
        self.config.postgres.url.rsplit('/').next().unwrap_or_default()
    }

    /// A file of payments with ids that no other has.
    async fn payments(&mut self, count: u64, hot: Option<Hot>) -> Result<PathBuf, LoadtestError> {
        self.files += 1;
        self.loadtest.payments(&format!("B{:04}", self.files), count, hot).await
    }

    /// Whom to look at now: services have new processes after each start.
    async fn watched(&self) -> Result<Watched, LoadtestError> {
        let counting = Counting::of(&self.config, &self.store, &self.ledger_folder);
        Ok(Watched { groups: self.stack.groups().await?, counting })
    }

    async fn judge(&mut self, part: &str, run: &Run) -> Result<(), LoadtestError> {
        self.note(part, &run.problems);
        self.verify(part).await
    }

    async fn verify(&mut self, part: &str) -> Result<(), LoadtestError> {
        let broken = self.loadtest.verify().await?;
        self.note(part, &broken);
        Ok(())
    }

    fn note(&mut self, part: &str, problems: &[String]) {
        for problem in problems {
            say(format_args!("PROBLEM {part}: {problem}"));
            self.problems.push(format!("{part}: {problem}"));
        }
    }
}

fn flat_out() -> Pace {
    Pace { connections: CONNECTIONS, rate: None, batch: None }
}
