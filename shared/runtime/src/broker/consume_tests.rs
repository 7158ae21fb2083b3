use super::*;
use crate::config::{Config, Flags, StackConfig, load};
use crate::stage::{Fault, Input, Verdict};
use devstack::testing::TestNats;
use domain::StageName;
use wire::message::{PaymentAccepted, PaymentScreened};

/// Names the input, and judges nothing.
struct Nothing;

impl Stage for Nothing {
    const NAME: StageName = StageName::Risk;
    type In = PaymentAccepted;
    type Out = PaymentScreened;

    async fn advance(
        &self,
        _: &[Input<PaymentAccepted>],
        _: Timestamp,
    ) -> Result<Vec<Verdict<PaymentScreened>>, Fault> {
        Ok(Vec::new())
    }
}

/// The intake with so many messages, and inputs on it whose deliveries come again after this.
async fn intake(nats: &TestNats, messages: usize, ack_wait: Duration) -> [JetStreamTransport; 2] {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&load(&flags).unwrap().nats, "test", None).await.unwrap();
    broker.connected().await;
    let mut pipeline = Config::on(StackConfig::shifted(0)).pipeline;
    pipeline.ack_wait_ms = u64::try_from(ack_wait.as_millis()).unwrap();
    broker.declare_all(&pipeline).await.unwrap();
    for number in 0..messages {
        broker.publish(&Outgoing::new(format!("pay.accepted.0.P{number}"), "{}")).await.unwrap();
    }
    [(); 2].map(|()| JetStreamTransport::new::<Nothing>(broker.clone(), 0, pipeline.clone()))
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
    const ACK_WAIT: Duration = Duration::from_secs(1);
    let nats = TestNats::start().await;
    let [mut input, _] = intake(&nats, 50, ACK_WAIT).await;
    input.reopen().await.unwrap();
    let first = input.take(1).await.unwrap();
    while input.broker.progress(Stream::Accepted).await.unwrap().unwrap().in_hand < 50 {
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

/// Nothing comes again by itself within this test: what one input gives back is the other's at once.
#[tokio::test]
async fn what_is_given_back_goes_to_another_input_at_once() {
    let nats = TestNats::start().await;
    let [mut leaving, mut staying] = intake(&nats, 50, Duration::from_secs(3_600)).await;
    leaving.reopen().await.unwrap();
    let in_hand: Vec<Receipt> =
        leaving.take(10).await.unwrap().iter().map(|delivery| delivery.receipt.clone()).collect();
    leaving.give_back(&in_hand).await.unwrap();
    staying.reopen().await.unwrap();
    attempts(&mut staying, 50, 50).await;
}

/// Another release has given the consumer another time, after this process had started.
#[tokio::test]
async fn deliveries_are_kept_by_the_time_that_the_consumer_has() {
    let nats = TestNats::start().await;
    let [mut before, _] = intake(&nats, 0, Duration::from_secs(30)).await;
    let [mut after, _] = intake(&nats, 0, Duration::from_secs(4)).await;
    for input in [&mut after, &mut before] {
        input.reopen().await.unwrap();
        assert_eq!(input.ack_wait(), Duration::from_secs(4));
    }
}
