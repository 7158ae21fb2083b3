use super::*;
use crate::pipeline::testing::{
    ScriptedLedger, at, currency, euros, facts, held, payment, quote, rejection, screening,
};
use bytes::Bytes;
use domain::facts::RecordState;
use domain::{PaymentRecord, Refusal};
use host::LedgerLetters;
use runtime::broker::{BrokerError, BucketChange, MemoryStreams, Outgoing};
use runtime::config::StackConfig;
use runtime::transport::{Delivery, Unpublished};
use std::collections::HashSet;
use std::sync::Mutex;
use store::{Answer, DeadLetter, DeadLetterLedger, Settlement, StoreError};
use wire::header::Headers;
use wire::message::{PaymentAccepted, PaymentQuoted, PaymentRejected, PaymentReserved, PaymentScreened};
use wire::{HopMessage, Role};

/// Nobody is dead.
#[derive(Clone)]
struct NoLetters;

impl DeadLetterLedger for NoLetters {
    async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        panic!("{} is buried: {}", letter.id, letter.reason)
    }

    async fn open_dead_letters(&self) -> Result<HashSet<(String, String)>, StoreError> {
        Ok(HashSet::new())
    }
}

/// One message of a stream, and streams to publish to. The drain begins when it is acknowledged.
#[derive(Clone)]
struct OneMessage {
    stream: Stream,
    delivery: Arc<Mutex<Option<Delivery<u64>>>>,
    streams: MemoryStreams,
    drain: Drain,
}

impl Inputs for OneMessage {
    type Transport = OneMessage;

    fn input<S: Stage>(&self, shard: u16) -> OneMessage {
        OneMessage { stream: S::input(shard), ..self.clone() }
    }
}

impl Transport for OneMessage {
    type Receipt = u64;

    fn stream(&self) -> Stream {
        self.stream
    }

    async fn take(&mut self, _: usize) -> Result<Vec<Delivery<u64>>, BrokerError> {
        let delivery = self.delivery.lock().unwrap().take();
        match delivery {
            Some(delivery) => Ok(vec![delivery]),
            None => std::future::pending().await,
        }
    }

    fn close(&mut self) {}

    fn ack_wait(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn reopen(&mut self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        self.streams.publish_each(batch).await
    }

    async fn make_room(&self, _: Stream) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn postpone(&self, _: &[(u64, Duration)]) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn acknowledge(&self, _: &[u64]) -> Result<(), BrokerError> {
        self.drain.begin();
        Ok(())
    }

    async fn keep(&self, _: &[u64]) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn give_back(&mut self, _: &[u64]) -> Result<(), BrokerError> {
        Ok(())
    }
}

async fn workshop(streams: &MemoryStreams, drain: &Drain, shards: u16) -> Workshop<MemoryStreams> {
    let mut config = Config::on(StackConfig::shifted(0));
    config.pipeline.shards = shards;
    streams.declare_all(&config.pipeline).await.unwrap();
    let metrics = Metrics::new(Role::Risk, false).unwrap();
    let clock = Clock::new(|| at(9_000));
    Workshop::new(streams.clone(), Arc::new(config), metrics, Traces::inert(), clock, drain.clone())
}

fn delivery(message: HopMessage, shards: u16) -> Delivery<u64> {
    let (subject, payload) = (message.route(shards).1, message.encode().unwrap());
    Delivery {
        subject: subject.into_string(),
        payload: payload.into(),
        seq: 7,
        stored_at: at(1_000),
        headers: Headers::default(),
        attempt: 1,
        receipt: 7,
    }
}

/// The euro is worth 1.1 dollars.
fn rate() -> BucketEvent {
    let (key, value) = ("EUR.USD".to_owned(), Some(Bytes::from_static(b"1.1")));
    BucketEvent::Changed(BucketChange { key, value, at: at(1_000) })
}

/// Each stage judges the messages of its stream and tells what its ledger says, wherever streams are.
#[tokio::test(start_paused = true)]
async fn each_stage_is_made_for_its_stream() {
    let facts = facts(payment("P", "D", euros(500)));
    let (screening, quote, record) = (screening(), quote(euros(500)), held(facts.clone()));
    let RecordState::Reserved(reserved) = record.state.clone() else { panic!("{record:?}") };
    let captured = PaymentRecord {
        state: RecordState::Captured { reserved, finished_at: at(5_000) },
        ..*record.clone()
    };
    let accounts = ScriptedLedger::with_accounts(&[("D", currency("USD"))]);
    let rejection = rejection(StageName::Fx, Refusal::AmountTooSmall);
    let refused = PaymentRejected {
        facts: facts.clone(),
        screening: Some(screening.clone()),
        quote: None,
        rejection: rejection.clone(),
    };
    let failed = PaymentRecord {
        state: RecordState::Failed {
            screening: None,
            quote: None,
            reserved_at: None,
            rejection,
            finished_at: at(5_000),
        },
        ..*record.clone()
    };
    let accepted = PaymentAccepted { payment: facts.payment.clone(), fingerprint: facts.fingerprint };
    let (screened, quoted) = (
        PaymentScreened { facts: facts.clone(), screening: screening.clone() },
        PaymentQuoted { facts: facts.clone(), screening: screening.clone(), quote: quote.clone() },
    );
    let waits = PaymentReserved { facts, screening, quote, reserved_at: at(4_000) };
    let reserves = ScriptedLedger::answering(vec![Answer::Recorded(record)]);
    let settles = ScriptedLedger::settling(vec![Settlement::Recorded(Box::new(captured))]);
    let records = ScriptedLedger::answering(vec![Answer::Recorded(Box::new(failed))]);
    let rows: [(StageName, HopMessage, ScriptedLedger, &str); 5] = [
        (StageName::Risk, accepted.into(), ScriptedLedger::default(), "pay.screened.1.P"),
        (StageName::Fx, screened.into(), accounts, "pay.quoted.1.P"),
        (StageName::Reserve, quoted.into(), reserves, "pay.reserved.1.P"),
        (StageName::Settle, waits.into(), settles, "pay.finished.0.P"),
        (StageName::SettleRejected, HopMessage::Rejected(refused), records, "pay.finished.0.P"),
    ];
    for (stage, message, ledger, expected) in rows {
        let (streams, drain) = (MemoryStreams::default(), Drain::default());
        let workshop = workshop(&streams, &drain, 2).await;
        [rate(), BucketEvent::Complete].into_iter().for_each(|event| workshop.tell_rates(event));
        let (sender, delivery) = (message.route(2).0, delivery(message, 2));
        assert_eq!(
            (sender.consumer(), workshop.shards(stage)),
            (Some(stage), if sender == Stream::Accepted { 1 } else { 2 })
        );
        let inputs = OneMessage {
            stream: sender,
            delivery: Arc::new(Mutex::new(Some(delivery))),
            streams: streams.clone(),
            drain: drain.clone(),
        };
        let dead_letters = LedgerLetters::new(NoLetters);
        let running = workshop.stage(stage, sender.shard(), Bench { ledger, inputs, dead_letters });
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends with the drain");
        let told: Vec<String> = Stream::all(2)
            .into_iter()
            .flat_map(|stream| streams.messages(stream))
            .map(|message| message.subject)
            .collect();
        assert_eq!(told, [expected], "{stage}");
    }
}

/// Its own input, and no other; the intake not at all.
#[tokio::test(start_paused = true)]
async fn what_a_stage_has_acknowledged_is_trimmed() {
    for (stage, shard, expected) in [
        (StageName::Fx, 1, [8, 8, 0, 8]),
        (StageName::Reserve, 0, [8, 8, 8, 0]),
        (StageName::Risk, 0, [8; 4]),
    ] {
        let (streams, drain) = (MemoryStreams::default(), Drain::default());
        let mut workshop = workshop(&streams, &drain, 2).await;
        let config = Arc::make_mut(&mut workshop.config);
        config.pipeline.keep_messages = 0;
        let every = Duration::from_millis(config.pipeline.trim_every_ms);
        let all = [Stream::Accepted, Stream::Screened(0), Stream::Screened(1), Stream::Quoted(0)];
        for stream in all {
            for number in 0..8 {
                let subject = stream.subjects().as_str().replace('*', &format!("P{number}"));
                streams.publish(&Outgoing::new(subject, "x")).await.unwrap();
            }
            streams.acknowledge(stream, streams.bounds(stream).await.unwrap().unwrap().last);
        }
        let trimming = tokio::spawn(workshop.trimming(stage, shard));
        // Time is paused: it goes on when the trimming waits.
        tokio::time::sleep(every * 2).await;
        assert_eq!(all.map(|stream| streams.messages(stream).len()), expected, "{stage} {shard}");
        drain.begin();
        trimming.await.unwrap();
    }
}
