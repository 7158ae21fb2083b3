//! The streams in memory against a real server: the same random steps on both, and after each the same figures,
//! the same answers and the same deliveries. `SEED=17 cargo test -p runtime random_steps` runs one seed again.

use super::*;

const SEEDS: std::ops::Range<u64> = 0..10;
const STEPS_PER_SEED: u32 = 100;

/// So many payments, so that copies take each other's place.
const PAYMENTS: u64 = 12;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What is done, on both.
#[derive(Debug)]
enum Step {
    Publish(u64),
    Take(usize),
    /// Of what was taken and not yet answered, by place.
    Acknowledge(Vec<usize>),
    Close,
    Purge(u64),
    LoseConsumer,
}

/// One of both: its input, and what was taken of it.
struct Side<'s, S: Stack> {
    stack: &'s S,
    input: S::Input,
    open: Vec<<S::Input as Transport>::Receipt>,
}

impl<'s, S: Stack> Side<'s, S> {
    async fn new(stack: &'s S, pipeline: &PipelineConfig) -> Side<'s, S> {
        Side { stack, input: opened(stack, Stream::Accepted, pipeline).await, open: Vec::new() }
    }

    /// Takes the step; what comes of it: what was taken, or how many were purged.
    async fn step(&mut self, step: &Step) -> Vec<(u64, u64)> {
        let streams = self.stack.streams();
        match step {
            Step::Publish(payment) => {
                let message = Outgoing::new(format!("pay.accepted.0.P{payment}"), "x");
                streams.publish(&message).await.unwrap();
            }
            Step::Take(count) => {
                let mut came = Vec::new();
                while came.len() < *count {
                    let taking = self.input.take(*count - came.len());
                    let Ok(taken) = tokio::time::timeout(Duration::from_secs(10), taking).await else {
                        break;
                    };
                    for delivery in taken.unwrap() {
                        came.push((delivery.seq, delivery.attempt));
                        self.open.push(delivery.receipt);
                    }
                }
                return came;
            }
            Step::Acknowledge(places) => {
                let receipts: Vec<_> = places.iter().map(|place| self.open[*place].clone()).collect();
                self.input.acknowledge(&receipts).await.unwrap();
            }
            Step::Close => self.input.reopen().await.unwrap(),
            Step::Purge(seq) => {
                return vec![(streams.purge_below(Stream::Accepted, *seq).await.unwrap(), 0)];
            }
            Step::LoseConsumer => {
                self.stack.lose_consumer(Stream::Accepted).await;
                self.input.reopen().await.unwrap();
            }
        }
        Vec::new()
    }

    async fn figures(&self) -> (Option<Progress>, Option<crate::broker::Bounds>) {
        let streams = self.stack.streams();
        let bounds = streams.bounds(Stream::Accepted).await.unwrap();
        // What a message takes beside its payload is the server's own.
        let bounds = bounds.map(|bounds| crate::broker::Bounds { bytes: 0, ..bounds });
        (streams.progress(Stream::Accepted).await.unwrap(), bounds)
    }
}

async fn run(seed: u64, memory: &MemoryStreams, server: &Server) {
    let mut random = Random(seed);
    let pipeline = PipelineConfig {
        ack_wait_ms: NEVER_MS,
        ack_pending_max: [3, 8, 100][random.below(3) as usize],
        batch_max: [1, 4, 50][random.below(3) as usize],
        ..Config::on(StackConfig::shifted(0)).pipeline
    };
    let (mut ours, mut theirs) = (Side::new(memory, &pipeline).await, Side::new(server, &pipeline).await);
    for number in 0..STEPS_PER_SEED {
        let (progress, bounds) = ours.figures().await;
        let (Some(progress), Some(bounds)) = (progress, bounds) else { panic!("it is declared") };
        // An input that was just opened asks for nothing before it is looked into.
        let is_fresh = !ours.input.has_asked();
        let ready = match ours.input.ready() {
            0 if is_fresh && progress.pending > 0 && (progress.in_hand as i64) < pipeline.ack_pending_max => {
                1
            }
            ready => ready,
        };
        let step = match random.below(20) {
            0..8 => Step::Publish(random.below(PAYMENTS)),
            8..13 if ready > 0 => Step::Take(1 + random.below(ready as u64) as usize),
            13..17 if !ours.open.is_empty() => {
                let many = 1 + random.below(4);
                Step::Acknowledge((0..many).map(|_| random.below(ours.open.len() as u64) as usize).collect())
            }
            17 => Step::Purge(random.below(bounds.last + 4)),
            18 => Step::Close,
            19 if random.below(4) == 0 => Step::LoseConsumer,
            _ => continue,
        };
        let told = format!("SEED={seed}, step {number}: {step:?} at {progress:?} of {bounds:?}");
        let ours_told = ours.step(&step).await;
        assert_eq!(theirs.step(&step).await, ours_told, "{told}");
        let expected = ours.figures().await;
        let agreed = tokio::time::timeout(Server::PATIENCE, async {
            while theirs.figures().await != expected {
                // Polled: the server tells nobody.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if agreed.await.is_err() {
            panic!("{told}: the server has {:?}, not {expected:?}", theirs.figures().await);
        }
    }
}

#[tokio::test]
async fn random_steps_come_to_the_same_on_a_server() {
    let server = Server::start().await;
    let seeds = std::env::var("SEED").map_or(SEEDS.collect(), |seed| vec![seed.parse::<u64>().unwrap()]);
    for seed in seeds {
        run(seed, &MemoryStreams::default(), &server).await;
        server.lose_all().await;
    }
}
