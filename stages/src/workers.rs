//! The stages and the janitor of a process: made in one place, and run wherever streams, a ledger and inputs
//! are, those of servers or those in memory.

use crate::janitor::{Janitor, observe};
use crate::pipeline::fx::Fx;
use crate::pipeline::rate_book::RateBooks;
use crate::pipeline::reserve::Reserve;
use crate::pipeline::risk::Risk;
use crate::pipeline::settle::Settle;
use crate::pipeline::settle_rejected::SettleRejected;
use crate::pipeline::trimming;
use crate::pipeline::velocities::Velocities;
use domain::Money;
use domain::risk::RiskLimits;
use runtime::broker::{BucketEvent, Streams};
use runtime::clock::Clock;
use runtime::config::{Config, RiskConfig};
use runtime::dead_letters::DeadLetters;
use runtime::drain::Drain;
use runtime::harness::{Harness, StageTelemetry};
use runtime::stage::Stage;
use runtime::telemetry::{JanitorMetrics, Metrics, StageMetrics, Traces};
use runtime::transport::Transport;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::{JanitorLedger, StageLedger};
use wire::{StageName, Stream};

/// What the stages of a process know beside the ledger. Its services answer from the same.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) limits: Arc<RiskLimits>,
    pub(crate) velocities: Arc<Velocities>,
    pub(crate) rates: Arc<RateBooks>,
}

impl Known {
    /// Nothing but the configuration.
    fn new(config: &Config) -> Known {
        Known {
            limits: Arc::new(risk_limits(&config.risk)),
            velocities: Arc::new(Velocities::new(config.risk.window_seconds)),
            rates: Arc::new(RateBooks::new(config.fx.rate_age_seconds_max)),
        }
    }
}

/// Where stages find what they are to judge.
pub trait Inputs: Send + 'static {
    /// An input of a stage, and its way out.
    type Transport: Transport;

    /// That of a stage in a shard, not yet opened.
    fn input<S: Stage>(&self, shard: u16) -> Self::Transport;
}

/// What one stage works with, beside what the workshop has.
pub struct Bench<L, I, D> {
    /// The ledger as this stage asks it.
    pub ledger: L,
    /// Where its input comes from.
    pub inputs: I,
    /// Where its dead are kept.
    pub dead_letters: D,
}

/// Where the stages and the janitor of one process are made. Clones share what they know and show.
#[derive(Clone)]
pub struct Workshop<S> {
    streams: S,
    known: Known,
    config: Arc<Config>,
    metrics: Metrics,
    /// By stage: its shards count together.
    of_stages: Arc<[OnceLock<StageMetrics>; StageName::ALL.len()]>,
    traces: Traces,
    clock: Clock,
    drain: Drain,
}

impl<S: Streams> Workshop<S> {
    /// A workshop in which nothing runs, and nothing is known but the configuration.
    pub fn new(
        streams: S,
        config: Arc<Config>,
        metrics: Metrics,
        traces: Traces,
        clock: Clock,
        drain: Drain,
    ) -> Workshop<S> {
        let (known, of_stages) = (Known::new(&config), Arc::default());
        Workshop { streams, known, config, metrics, of_stages, traces, clock, drain }
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// How many inputs a stage has.
    pub fn shards(&self, stage: StageName) -> u16 {
        let consumes = |stream: &Stream| stream.consumer() == Some(stage);
        let inputs = Stream::all(self.config.pipeline.shards).into_iter().filter(consumes);
        u16::try_from(inputs.count()).unwrap_or(u16::MAX)
    }

    /// Runs a stage on its input of one shard, until the drain begins. Risk judges nothing before it knows what
    /// accounts have sent lately.
    pub async fn stage<L: StageLedger, I: Inputs, D: DeadLetters>(
        self,
        stage: StageName,
        shard: u16,
        bench: Bench<L, I, D>,
    ) {
        let Known { limits, velocities, rates } = self.known.clone();
        let (ledger, fx) = (bench.ledger.clone(), &self.config.fx);
        match stage {
            StageName::Risk => {
                let (now, drain) = (self.clock.now(), &self.drain);
                if velocities.rebuild(&self.streams, &ledger, &self.config.pipeline, now, drain).await {
                    self.run(Risk { limits, velocities }, shard, bench).await;
                }
            }
            StageName::Fx => {
                self.run(Fx::new(rates, ledger, self.traces.clone(), fx), shard, bench).await;
            }
            StageName::Reserve => {
                let quote_age_seconds_max = fx.quote_age_seconds_max;
                self.run(Reserve { ledger, quote_age_seconds_max }, shard, bench).await;
            }
            StageName::Settle => self.run(Settle { ledger, shard }, shard, bench).await,
            StageName::SettleRejected => self.run(SettleRejected { ledger }, shard, bench).await,
        }
    }

    fn run<J: Stage, L, I: Inputs, D: DeadLetters>(
        &self,
        stage: J,
        shard: u16,
        bench: Bench<L, I, D>,
    ) -> impl Future<Output = ()> + Send + use<J, L, I, D, S> {
        let transport = bench.inputs.input::<J>(shard);
        let metrics = self.metrics_of(J::NAME);
        let telemetry = StageTelemetry { metrics, traces: self.traces.clone() };
        let (pipeline, clock, drain) = (self.config.pipeline.clone(), self.clock.clone(), self.drain.clone());
        Harness::new(stage, transport, bench.dead_letters, pipeline, telemetry, clock, drain).run()
    }

    /// What is seen of a stage; it is there from then on, also where the stage begins later.
    pub(crate) fn metrics_of(&self, stage: StageName) -> StageMetrics {
        let new = || StageMetrics::new(&self.metrics, stage);
        self.of_stages.get(stage as usize).map_or_else(new, |shown| shown.get_or_init(new).clone())
    }

    /// Trims a stage's input of one shard until the drain begins. The intake is the janitor's to purge.
    pub async fn trimming(self, stage: StageName, shard: u16) {
        let consumes = |stream: &Stream| stream.consumer() == Some(stage) && stream.shard() == shard;
        let input = Stream::all(self.config.pipeline.shards).into_iter().find(consumes);
        if let Some(input) = input.filter(|input| input.is_derived()) {
            trimming::follow(&self.streams, input, &self.config.pipeline, &self.drain).await;
        }
    }

    /// Runs the janitor until the drain begins.
    pub async fn janitor<L: JanitorLedger>(self, ledger: L) {
        let every = Duration::from_millis(self.config.janitor.every_ms);
        let metrics = JanitorMetrics::new(&self.metrics, observe::money_lasts(every));
        let (janitor, pipeline) = (self.config.janitor.clone(), self.config.pipeline.clone());
        Janitor::new(self.streams, ledger, janitor, pipeline, metrics).run(self.clock, self.drain).await;
    }

    /// Tells the stages of rates, as a watch of their bucket does. No rate counts before the first
    /// [`BucketEvent::Complete`].
    pub fn tell_rates(&self, event: BucketEvent) {
        self.known.rates.tell(event);
    }
}

/// The limits in minor units. The configuration was checked when it was loaded.
fn risk_limits(config: &RiskConfig) -> RiskLimits {
    let caps = config
        .amount_max
        .iter()
        .filter_map(|(currency, cap)| Some((*currency, Money::parse_payable(cap, *currency).ok()?.minor)));
    RiskLimits {
        amount_max: caps.collect(),
        amount_max_default: config.amount_minor_max_default,
        count_max: config.window_count_max,
        sum_max_multiple: config.window_sum_max_multiple,
    }
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
