use super::*;
use crate::broker::Outgoing;
use crate::config::{self, Flags};
use devstack::testing::TestNats;
use domain::PaymentKey;
use wire::{Hop, Subject};

#[tokio::test(flavor = "multi_thread")]
async fn the_intake_is_shown_from_where_one_likes_and_says_what_was_delivered_of_it() {
    let nats = TestNats::start().await;
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let config = config::load(&flags).unwrap();
    let broker = Broker::connect(&config.nats, "test", None).await.unwrap();
    broker.connected().await;
    let began = crate::clock::now();
    let mut nobody = |stored: Stored| panic!("{stored:?} is shown");
    broker.accepted_since(Since::Sequence(0), u64::MAX, &mut nobody).await.unwrap();
    assert_eq!(broker.progress(Stream::Accepted).await.unwrap(), None, "nothing is declared");

    broker.declare_all(&config.pipeline).await.unwrap();
    for id in ["A", "B", "C", "D", "E"] {
        let subject = Subject::of(Hop::Accepted, 0, &PaymentKey::from_token(id).unwrap());
        broker.publish(&Outgoing::new(subject.into_string(), id)).await.unwrap();
    }
    let delivered = async || broker.progress(Stream::Accepted).await.unwrap().unwrap().delivered;
    assert_eq!(delivered().await, None, "the consumer was just made");
    let consumer = broker.consumer(Stream::Accepted).await.unwrap();
    // Nothing is acknowledged of it.
    let taken = consumer.fetch().max_messages(2).messages().await.unwrap().count().await;
    assert_eq!((taken, delivered().await), (2, Some(2)));
    assert_eq!(broker.purge_below(Stream::Accepted, 0).await, Ok(0), "nothing has a lower sequence");
    assert_eq!(broker.purge_below(Stream::Accepted, 3).await, Ok(2));
    assert_eq!(delivered().await, Some(2), "a purge takes nothing from what is known");

    let hour = 3_600_000_000;
    let later = Timestamp::from_micros(began.micros() + hour);
    let earlier = Timestamp::from_micros(began.micros() - hour);
    let rows: [(Since, u64, &[&str]); 9] = [
        (Since::Sequence(0), u64::MAX, &["C", "D", "E"]),
        (Since::Sequence(4), u64::MAX, &["D", "E"]),
        (Since::Sequence(4), 4, &["D"]),
        (Since::Sequence(6), u64::MAX, &[]),
        (Since::Sequence(4), 3, &[]),
        (Since::Sequence(0), 2, &[]),
        (Since::Instant(earlier), u64::MAX, &["C", "D", "E"]),
        (Since::Instant(earlier), 3, &["C"]),
        (Since::Instant(later), u64::MAX, &[]),
    ];
    for (since, last, expected) in rows {
        let mut shown = Vec::new();
        let mut visit = |stored: Stored| shown.push(String::from_utf8(stored.payload.to_vec()).unwrap());
        broker.accepted_since(since, last, &mut visit).await.unwrap();
        assert_eq!(shown, expected, "{since:?} to {last}");
    }
    broker.purge_below(Stream::Accepted, 6).await.unwrap();
    broker.accepted_since(Since::Sequence(0), u64::MAX, &mut nobody).await.unwrap();
    assert_eq!(delivered().await, Some(5), "what is gone will not be delivered");
}
