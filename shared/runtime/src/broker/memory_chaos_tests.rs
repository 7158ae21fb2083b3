//! Random steps of several inputs, with every fault among them. What the consumer keeps agrees with itself after
//! each; once the faults stop, everything that is stored has been delivered and is acknowledged.
//! `SEED=17 cargo test -p runtime chaos` runs one seed again.

use super::model::Random;
use super::*;
use futures::FutureExt;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

const INTAKE: Stream = Stream::Accepted;
const SEEDS: std::ops::Range<u64> = 0..300;
const STEPS_PER_SEED: u32 = 120;
const INPUTS: u64 = 3;

struct Chaos {
    random: Random,
    streams: MemoryStreams,
    pipeline: PipelineConfig,
    inputs: Vec<MemoryTransport>,
    /// What each input has taken and not yet answered.
    open: Vec<Vec<MemoryReceipt>>,
    taken: BTreeSet<u64>,
    /// What happened, to be compared.
    told: Vec<String>,
}

impl Chaos {
    async fn new(seed: u64) -> Chaos {
        let mut random = Random(seed);
        let pipeline = PipelineConfig {
            ack_wait_ms: 3_000,
            ack_pending_max: [2, 8, 100][random.below(3) as usize],
            batch_max: [1, 2, 5, 50][random.below(4) as usize],
            ..Config::on(StackConfig::shifted(0)).pipeline
        };
        let streams = MemoryStreams::default();
        let mut inputs = Vec::new();
        for _ in 0..INPUTS {
            inputs.push(opened(&streams, INTAKE, &pipeline).await);
        }
        let open = vec![Vec::new(); inputs.len()];
        Chaos { random, streams, pipeline, inputs, open, taken: BTreeSet::new(), told: Vec::new() }
    }

    fn some_of(&mut self, input: usize) -> Vec<MemoryReceipt> {
        let random = &mut self.random;
        let (some, rest) = self.open[input].drain(..).partition(|_| random.below(3) > 0);
        self.open[input] = rest;
        some
    }

    async fn step(&mut self) {
        let input = self.random.below(INPUTS) as usize;
        let what = self.random.below(28);
        match what {
            0..6 => {
                for _ in 0..=self.random.below(5) {
                    let subject = format!("pay.accepted.0.P{}", self.random.below(40));
                    let _ = self.streams.publish(&Outgoing::new(subject, "x")).await;
                }
            }
            6..12 => {
                let max = 1 + self.random.below(6) as usize;
                if let Some(Ok(taken)) = self.inputs[input].take(max).now_or_never() {
                    self.taken.extend(taken.iter().map(|delivery| delivery.seq));
                    let numbers = taken.iter().map(|delivery| (delivery.seq, delivery.attempt));
                    self.told.push(format!("{input} {:?}", numbers.collect::<Vec<_>>()));
                    self.open[input].extend(taken.into_iter().map(|delivery| delivery.receipt));
                }
            }
            12..16 => {
                let some = self.some_of(input);
                let _ = self.inputs[input].acknowledge(&some).await;
            }
            16 => {
                let after = Duration::from_millis(self.random.below(5_000));
                let some: Vec<_> = self.some_of(input).into_iter().map(|receipt| (receipt, after)).collect();
                let _ = self.inputs[input].postpone(&some).await;
            }
            17 | 18 => {
                let _ = self.inputs[input].keep(&self.open[input]).await;
            }
            19 => {
                let some = std::mem::take(&mut self.open[input]);
                let _ = self.inputs[input].give_back(&some).await;
            }
            20 => self.inputs[input].close(),
            21 | 22 => drop(self.inputs[input].reopen().await),
            23 => tokio::time::advance(Duration::from_millis(self.random.below(4_000))).await,
            24 => {
                let last = self.streams.bounds(INTAKE).await.ok().flatten().map_or(0, |bounds| bounds.last);
                let (seq, any) = (self.random.below(last + 1), self.random.below(last + 1));
                self.told.push(format!("{}", self.streams.redeliver(INTAKE, any)));
                let _ = self.streams.purge_below(INTAKE, seq / 2).await;
            }
            25 => self.streams.begin_outage_after(self.random.below(4) as usize),
            26 => self.streams.end_outage(),
            _ => match self.random.below(3) {
                0 => self.streams.restart(),
                1 => self.streams.lose_consumer(INTAKE),
                _ => self.streams.acknowledge(INTAKE, 0),
            },
        }
        self.told.push(format!("{what} {:?}", self.streams.progress(INTAKE).await));
        self.streams.state().touch(INTAKE, |log| {
            log.consumer.iter().for_each(|consumer| consumer.assert_consistent(&log.messages));
        });
    }

    /// The faults stop, and one input goes on alone.
    async fn settle(&mut self) {
        self.streams.end_outage();
        self.inputs.clear();
        let mut input = opened(&self.streams, INTAKE, &self.pipeline).await;
        while let Ok(taken) = tokio::time::timeout(Duration::from_secs(10), input.take(7)).await {
            let taken = taken.unwrap();
            self.taken.extend(taken.iter().map(|delivery| delivery.seq));
            let receipts: Vec<_> = taken.into_iter().map(|delivery| delivery.receipt).collect();
            input.acknowledge(&receipts).await.unwrap();
        }
        let last = self.streams.bounds(INTAKE).await.unwrap().unwrap().last;
        let Progress { floor, pending, in_hand, .. } = self.streams.progress(INTAKE).await.unwrap().unwrap();
        assert_eq!((floor, pending, in_hand), (last, 0, 0), "nothing waits for ever");
        let stored = self.streams.accepted_heads(0, usize::MAX).await.unwrap();
        let missed: Vec<_> = stored.iter().filter(|head| !self.taken.contains(&head.seq)).collect();
        assert!(missed.is_empty(), "{missed:?} never came");
    }
}

async fn run(seed: u64) -> Vec<String> {
    let mut chaos = Chaos::new(seed).await;
    for _ in 0..STEPS_PER_SEED {
        chaos.step().await;
    }
    chaos.settle().await;
    chaos.told
}

#[test]
fn chaos_loses_nothing_and_is_the_same_again() {
    let seeds = std::env::var("SEED").map_or(SEEDS.collect(), |seed| vec![seed.parse::<u64>().unwrap()]);
    for seed in seeds {
        let once = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            let told = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed))));
            told.unwrap_or_else(|_| panic!("SEED={seed} comes to grief"))
        };
        assert_eq!(once(), once(), "SEED={seed}");
    }
}
