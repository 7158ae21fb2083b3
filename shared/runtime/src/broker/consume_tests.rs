use super::*;
use crate::clock::Clock;
use crate::config::{Config, Flags, StackConfig, load};
use crate::drain::Drain;
use crate::harness::{Harness, StageTelemetry};
use crate::memory::Memory;
use crate::stage::{Fault, Input, Verdict};
use crate::telemetry::{Metrics, StageMetrics, Traces};
use devstack::testing::TestNats;
use domain::facts::Screening;
use domain::{Facts, StageName};
use std::sync::Arc;
use wire::message::{PaymentAccepted, PaymentScreened};
use wire::{Role, envelope};

/// Takes its time over each batch, and passes nothing on.
struct Slow(Duration);

impl Stage for Slow {
    const NAME: StageName = StageName::Risk;
    type In = PaymentAccepted;
    type Out = PaymentScreened;

    async fn advance(
        &self,
        batch: &[Input<PaymentAccepted>],
        _: Timestamp,
    ) -> Result<Vec<Verdict<PaymentScreened>>, Fault> {
        // What is tested is what becomes of deliveries meanwhile.
        tokio::time::sleep(self.0).await;
        let screened = |input: &Input<PaymentAccepted>| {
            let PaymentAccepted { payment, fingerprint } = input.message.clone();
            let facts =
                Facts { payment, fingerprint, accepted_seq: input.seq, accepted_at: input.accepted_at };
            let screening = Screening { score: 0, at: input.accepted_at };
            Verdict::Forward(PaymentScreened { facts, screening })
        };
        Ok(batch.iter().map(screened).collect())
    }
}

/// The settings of inputs whose deliveries come again after this.
fn pipeline(ack_wait: Duration) -> PipelineConfig {
    let mut pipeline = Config::on(StackConfig::shifted(0)).pipeline;
    pipeline.ack_wait_ms = u64::try_from(ack_wait.as_millis()).unwrap();
    pipeline
}

/// The intake with so many payments, and two inputs on it.
async fn intake(nats: &TestNats, payments: usize, pipeline: &PipelineConfig) -> [JetStreamTransport; 2] {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&load(&flags).unwrap().nats, "test", None).await.unwrap();
    broker.connected().await;
    broker.declare_all(pipeline).await.unwrap();
    let accepted = |number: usize| {
        let payment: domain::Payment = serde_json::from_value(serde_json::json!({
            "tenant": "default", "id": format!("P{number}"), "source_account": "A", "destination_account": "B",
            "amount": { "currency": "USD", "value": "1.00" }
        }))
        .unwrap();
        let fingerprint = payment.fingerprint();
        let payload = envelope::encode(&PaymentAccepted { payment, fingerprint }).unwrap();
        Outgoing::new(format!("pay.accepted.0.P{number}"), payload)
    };
    for part in (0..payments).map(accepted).collect::<Vec<_>>().chunks(500) {
        broker.publish_batch(part).await.unwrap();
    }
    [(); 2].map(|()| JetStreamTransport::new::<Slow>(broker.clone(), 0, pipeline.clone()))
}

/// Takes from an input until it has had so many deliveries, `max` at a time; how often each had been delivered.
async fn attempts(input: &mut JetStreamTransport, count: usize, max: usize) -> Vec<u64> {
    let mut attempts = Vec::new();
    let taking = async {
        while attempts.len() < count {
            match input.take(max).await {
                Ok(batch) => attempts.extend(batch.iter().map(|delivery| delivery.attempt)),
                Err(_) => input.reopen().await.unwrap(),
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), taking).await.is_ok();
    assert!(in_time, "only {} deliveries of {count} came", attempts.len());
    attempts
}

/// A batch takes far longer than deliveries are waited for. Those that were fetched ahead of it are kept like
/// those in hand: none comes again, and all are taken afterwards.
#[tokio::test]
async fn what_was_fetched_ahead_is_kept_while_a_batch_takes_long() {
    const ACK_WAIT: Duration = Duration::from_secs(2);
    let nats = TestNats::start().await;
    let [mut input, _] = intake(&nats, 50, &pipeline(ACK_WAIT)).await;
    input.reopen().await.unwrap();
    let first = input.take(1).await.unwrap();
    while first.len() + input.ahead().len() < 50 {
        tokio::task::yield_now().await;
    }
    let in_hand: Vec<Receipt> = first.iter().map(|delivery| delivery.receipt.clone()).collect();
    for _ in 0..12 {
        // The batch takes three times as long as a delivery is waited for.
        tokio::time::sleep(ACK_WAIT / 4).await;
        input.keep(&in_hand).await.unwrap();
    }
    input.acknowledge(&in_hand).await.unwrap();
    assert_eq!(attempts(&mut input, 49, 20).await, [1; 49]);
}

/// A backlog that fills everything that is fetched ahead, and batches that take a good part of the time that a
/// delivery is waited for, or more: each message is delivered once.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_stage_with_a_backlog_has_each_delivery_once() {
    const ACK_WAIT: Duration = Duration::from_secs(2);
    for (payments, batch_max, batch_takes) in [(400, 100, ACK_WAIT * 7 / 10), (200, 100, ACK_WAIT * 3 / 2)] {
        let nats = TestNats::start().await;
        let pipeline = PipelineConfig { batch_max, ..pipeline(ACK_WAIT) };
        let [input, _] = intake(&nats, payments, &pipeline).await;
        let (broker, drain) = (input.broker.clone(), Drain::default());
        let metrics = StageMetrics::new(&Metrics::new(Role::Risk, true).unwrap(), StageName::Risk);
        let telemetry = StageTelemetry { metrics, traces: Traces::inert() };
        let letters = Memory { script: Arc::default(), drain: drain.clone() };
        let (stage, clock) = (Slow(batch_takes), Clock::wall());
        let harness = Harness::new(stage, input, letters, pipeline, telemetry, clock, drain.clone());
        let working = tokio::spawn(harness.run());
        let last = broker.bounds(Stream::Accepted).await.unwrap().unwrap().last;
        while broker.progress(Stream::Accepted).await.unwrap().unwrap().floor < last {
            assert!(!working.is_finished(), "it works until it is told to stop");
            // Polled: the stage takes seconds.
            tokio::time::sleep(ACK_WAIT / 10).await;
        }
        drain.begin();
        working.await.unwrap();
        let consumer = broker.consumer_info(Stream::Accepted).await.unwrap().unwrap();
        let deliveries = consumer.delivered.consumer_sequence;
        assert_eq!(deliveries, payments as u64, "batches that take {batch_takes:?}");
    }
}

/// Nothing comes again by itself within this test: what one input gives back is the other's at once.
#[tokio::test]
async fn what_is_given_back_goes_to_another_input_at_once() {
    let nats = TestNats::start().await;
    let [mut leaving, mut staying] = intake(&nats, 50, &pipeline(Duration::from_secs(3_600))).await;
    leaving.reopen().await.unwrap();
    let in_hand: Vec<Receipt> =
        leaving.take(10).await.unwrap().iter().map(|delivery| delivery.receipt.clone()).collect();
    while in_hand.len() + leaving.ahead().len() < 50 {
        tokio::task::yield_now().await;
    }
    leaving.give_back(&in_hand).await.unwrap();
    staying.reopen().await.unwrap();
    attempts(&mut staying, 50, 50).await;
}

/// Another release has given the consumer another time, after this process had started.
#[tokio::test]
async fn deliveries_are_kept_by_the_time_that_the_consumer_has() {
    let nats = TestNats::start().await;
    let [mut before, _] = intake(&nats, 0, &pipeline(Duration::from_secs(30))).await;
    let [mut after, _] = intake(&nats, 0, &pipeline(Duration::from_secs(4))).await;
    for input in [&mut after, &mut before] {
        input.reopen().await.unwrap();
        assert_eq!(input.ack_wait(), Duration::from_secs(4));
    }
}
