use super::*;
use crate::broker::{Broker, JetStreamTransport, Progress};
use crate::config::{Config, Flags, StackConfig, load};
use crate::stage::{Fault, Input, Verdict};
use devstack::testing::TestNats;
use domain::{StageName, Timestamp};
use rows::ROWS;
use wire::message::{PaymentAccepted, PaymentQuoted, PaymentScreened};

#[path = "memory_chaos_tests.rs"]
mod chaos;
#[path = "memory_faults_tests.rs"]
mod faults;
#[path = "memory_transport_model_tests.rs"]
mod model;
#[path = "memory_transport_rows.rs"]
mod rows;

/// Consumes a stream, and is never asked.
macro_rules! stage {
    ($stage:ident, $name:ident, $in:ident, $out:ident) => {
        struct $stage;

        impl Stage for $stage {
            const NAME: StageName = StageName::$name;
            type In = $in;
            type Out = $out;

            async fn advance(&self, _: &[Input<$in>], _: Timestamp) -> Result<Vec<Verdict<$out>>, Fault> {
                Ok(Vec::new())
            }
        }
    };
}

stage!(OfIntake, Risk, PaymentAccepted, PaymentScreened);
stage!(OfDerived, Fx, PaymentScreened, PaymentQuoted);

/// Longer than any test takes.
const NEVER_MS: u64 = 3_600_000;

/// A broker with all that a row does to it.
trait Stack {
    type Streams: Streams;
    type Input: Transport;
    /// How long a figure may take to become what it must be.
    const PATIENCE: Duration;

    fn streams(&self) -> &Self::Streams;
    fn input(&self, stream: Stream, pipeline: &PipelineConfig) -> Self::Input;
    async fn lose(&self, stream: Stream);
    async fn lose_consumer(&self, stream: Stream);
    /// The broker dies, and is there again.
    async fn restart(&self);
}

impl Stack for MemoryStreams {
    type Streams = MemoryStreams;
    type Input = MemoryTransport;
    const PATIENCE: Duration = Duration::ZERO;

    fn streams(&self) -> &MemoryStreams {
        self
    }

    fn input(&self, stream: Stream, pipeline: &PipelineConfig) -> MemoryTransport {
        match stream {
            Stream::Accepted => MemoryTransport::new::<OfIntake>(self.clone(), 0, pipeline.clone()),
            _ => MemoryTransport::new::<OfDerived>(self.clone(), 0, pipeline.clone()),
        }
    }

    async fn lose(&self, stream: Stream) {
        MemoryStreams::lose(self, stream);
    }

    async fn lose_consumer(&self, stream: Stream) {
        MemoryStreams::lose_consumer(self, stream);
    }

    async fn restart(&self) {
        MemoryStreams::restart(self);
    }
}

/// A real one.
struct Server {
    nats: TestNats,
    broker: Broker,
}

impl Server {
    async fn start() -> Server {
        let nats = TestNats::start().await;
        let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
        let broker = Broker::connect(&load(&flags).unwrap().nats, "test", None).await.unwrap();
        broker.connected().await;
        Server { nats, broker }
    }

    async fn lose_all(&self) {
        for stream in Stream::all(1) {
            self.broker.reading.delete_stream(stream.name()).await.unwrap();
        }
    }
}

impl Stack for Server {
    type Streams = Broker;
    type Input = JetStreamTransport;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn streams(&self) -> &Broker {
        &self.broker
    }

    fn input(&self, stream: Stream, pipeline: &PipelineConfig) -> JetStreamTransport {
        match stream {
            Stream::Accepted => JetStreamTransport::new::<OfIntake>(self.broker.clone(), 0, pipeline.clone()),
            _ => JetStreamTransport::new::<OfDerived>(self.broker.clone(), 0, pipeline.clone()),
        }
    }

    async fn lose(&self, stream: Stream) {
        self.broker.reading.delete_stream(stream.name()).await.unwrap();
    }

    async fn lose_consumer(&self, stream: Stream) {
        let handle = self.broker.reading.get_stream(stream.name()).await.unwrap();
        handle.delete_consumer(stream.consumer().unwrap().as_str()).await.unwrap();
    }

    async fn restart(&self) {
        self.nats.kill().await;
        self.nats.restart().await;
        self.broker.connected().await;
    }
}

/// What is done. Sequences count from the stream's first one on; deliveries are numbered as they were taken.
#[derive(Debug, Clone, Copy)]
enum Do<'r> {
    Publish(&'r [&'r str]),
    /// These come next: sequences, and how often each was delivered.
    Take(&'r [(u64, u64)]),
    /// These do, in any order.
    TakeAll(&'r [(u64, u64)]),
    Acknowledge(&'r [usize]),
    /// Come again after so many milliseconds.
    Postpone(&'r [(usize, u64)]),
    /// So many times, with so many milliseconds before each.
    Keep(&'r [usize], u32, u64),
    GiveBack(&'r [usize]),
    Close,
    Reopen,
    /// For longer than deliveries are waited for.
    WaitOut,
    PurgeBelow(u64),
    Lose,
    LoseConsumer,
    /// The input has ended.
    Ended,
    /// For long enough that the broker writes down how far it has come.
    WaitWritten,
    Restart,
    /// The connection was cut.
    Cut,
}

use Do::*;

/// Floor, the last delivered, how many are pending and how many in hand.
type Figures = Option<(u64, Option<u64>, u64, u64)>;

struct Row<'r> {
    name: &'r str,
    stream: Stream,
    ack_wait_ms: u64,
    ack_pending_max: i64,
    batch_max: usize,
    /// Each with the consumer's figures after it.
    steps: &'r [(Do<'r>, Figures)],
}

/// One row on one broker.
struct Run<'r, S: Stack> {
    stack: &'r S,
    row: &'r Row<'r>,
    input: S::Input,
    taken: Vec<Delivery<<S::Input as Transport>::Receipt>>,
    /// One less than the first sequence that the stream ever had.
    before: u64,
}

async fn check<S: Stack>(stack: &S, row: &Row<'_>) {
    let pipeline = PipelineConfig {
        ack_wait_ms: row.ack_wait_ms,
        ack_pending_max: row.ack_pending_max,
        batch_max: row.batch_max,
        ..Config::on(StackConfig::shifted(0)).pipeline
    };
    let input = opened(stack, row.stream, &pipeline).await;
    let mut run = Run { stack, row, input, taken: Vec::new(), before: 0 };
    run.count_anew().await;
    for (step, (act, figures)) in row.steps.iter().enumerate() {
        run.act(*act).await;
        let told = tokio::time::timeout(S::PATIENCE, run.figures_are(*figures)).await;
        if told.is_err() {
            let found = run.figures().await;
            panic!("{}: step {step}, {act:?}: {found:?}, not {figures:?}", row.name);
        }
    }
}

/// An input that is open. A server that still removes a stream of that name is given a while.
async fn opened<S: Stack>(stack: &S, stream: Stream, pipeline: &PipelineConfig) -> S::Input {
    let mut input = stack.input(stream, pipeline);
    let opening = async {
        while input.reopen().await.is_err() {
            // Polled: the server tells nobody.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opening).await.unwrap();
    input
}

impl<S: Stack> Run<'_, S> {
    async fn count_anew(&mut self) {
        let progress = self.stack.streams().progress(self.row.stream).await.unwrap();
        self.before = progress.map_or(0, |progress| progress.floor);
    }

    async fn figures(&self) -> Figures {
        let progress = self.stack.streams().progress(self.row.stream).await.unwrap()?;
        let Progress { floor, delivered, pending, in_hand } = progress;
        Some((floor - self.before, delivered.map(|seq| seq - self.before), pending, in_hand))
    }

    async fn figures_are(&self, expected: Figures) {
        while self.figures().await != expected {
            // Polled: the server tells nobody.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn receipts(&self, numbers: &[usize]) -> Vec<<S::Input as Transport>::Receipt> {
        numbers.iter().map(|number| self.taken[*number].receipt.clone()).collect()
    }

    async fn act(&mut self, act: Do<'_>) {
        let (streams, stream) = (self.stack.streams(), self.row.stream);
        match act {
            Publish(ids) => {
                for id in ids {
                    let subject = stream.subjects().as_str().replace('*', id);
                    streams.publish(&Outgoing::new(subject, "x")).await.unwrap();
                }
            }
            Take(expected) => {
                let came = self.take(expected.len()).await;
                assert_eq!(came, expected, "{}", self.row.name);
            }
            TakeAll(expected) => {
                let mut came = self.take(expected.len()).await;
                came.sort_unstable();
                assert_eq!(came, expected, "{}", self.row.name);
            }
            Acknowledge(numbers) => self.input.acknowledge(&self.receipts(numbers)).await.unwrap(),
            Postpone(postponed) => {
                let receipt = |(number, ms): &(usize, u64)| {
                    (self.taken[*number].receipt.clone(), Duration::from_millis(*ms))
                };
                let receipts: Vec<_> = postponed.iter().map(receipt).collect();
                self.input.postpone(&receipts).await.unwrap();
            }
            Keep(numbers, times, before_ms) => {
                for _ in 0..times {
                    // The work takes its time.
                    tokio::time::sleep(Duration::from_millis(before_ms)).await;
                    self.input.keep(&self.receipts(numbers)).await.unwrap();
                }
            }
            GiveBack(numbers) => {
                let receipts = self.receipts(numbers);
                self.input.give_back(&receipts).await.unwrap();
            }
            Close => self.input.close(),
            Reopen => {
                self.input.reopen().await.unwrap();
                if !self.row.stream.is_derived() {
                    return;
                }
                self.count_anew().await;
            }
            // That nothing is heard of a delivery for so long is what is tested.
            WaitOut => tokio::time::sleep(Duration::from_millis(self.row.ack_wait_ms * 3 / 2)).await,
            PurgeBelow(seq) => {
                streams.purge_below(stream, self.before + seq).await.unwrap();
            }
            // It tells nobody when it does.
            WaitWritten => tokio::time::sleep(Duration::from_millis(300)).await,
            Restart => self.stack.restart().await,
            Cut => {
                let taking = tokio::time::timeout(Duration::from_secs(30), self.input.take(1));
                let taken = taking.await.unwrap().map(|batch| batch.len());
                assert!(matches!(taken, Err(BrokerError::Unavailable(_))), "{}: {taken:?}", self.row.name);
            }
            Lose => self.stack.lose(stream).await,
            LoseConsumer => self.stack.lose_consumer(stream).await,
            Ended => {
                let taking = tokio::time::timeout(Duration::from_secs(30), self.input.take(1));
                let taken = taking.await.unwrap().map(|batch| batch.len());
                assert!(taken.is_err(), "{}: {taken:?}", self.row.name);
                assert_eq!(self.input.take(1).await.map(|batch| batch.len()), Err(BrokerError::Missing));
            }
        }
    }

    /// Takes so many deliveries: the sequence of each, and how often it was delivered.
    async fn take(&mut self, count: usize) -> Vec<(u64, u64)> {
        let mut came = Vec::new();
        let taking = async {
            while came.len() < count {
                for delivery in self.input.take(count - came.len()).await.unwrap() {
                    came.push((delivery.seq - self.before, delivery.attempt));
                    self.taken.push(delivery);
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), taking).await.is_ok();
        assert!(in_time, "{}: only {came:?} of {count} came", self.row.name);
        came
    }
}

#[tokio::test(start_paused = true)]
async fn streams_in_memory_deliver_by_the_rows() {
    for row in ROWS {
        check(&MemoryStreams::default(), row).await;
    }
}

/// The rows that the streams in memory are held to say what the server does.
#[tokio::test]
async fn a_server_delivers_by_the_rows() {
    let server = Server::start().await;
    for row in ROWS {
        check(&server, row).await;
        server.lose_all().await;
    }
}
