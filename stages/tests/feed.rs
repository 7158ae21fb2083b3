//! `GET /events` on real servers: what happens to all payments, as anyone may watch it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::listener::Listener;
use common::{System, payment, until};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use wire::Stream;

const WHOLE: [(&str, &str); 5] = [
    ("accepted", "PENDING"),
    ("screened", "PENDING"),
    ("quoted", "PENDING"),
    ("reserved", "PENDING"),
    ("finished", "CAPTURED"),
];

async fn open(system: &System) -> Listener {
    Listener::open(system.config.gateway.ports[0], "/events", &[]).await.unwrap()
}

/// One who has heard what has ended before.
async fn listen(system: &System) -> Listener {
    let mut events = open(system).await;
    events.until_comment("from here on").await;
    events
}

/// Events until these payments have all ended, by payment.
async fn until_ended(events: &mut Listener, ids: &[&str]) -> BTreeMap<String, Vec<Value>> {
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut open: BTreeSet<&str> = ids.iter().copied().collect();
    while !open.is_empty() {
        let event = events.next().await.expect("the stream goes on").data;
        let id = event["id"].as_str().unwrap().to_owned();
        if event["status"] != "PENDING" {
            open.remove(id.as_str());
        }
        told.entry(id).or_default().push(event);
    }
    told
}

fn stages_of(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event["stage"].as_str().unwrap(), event["status"].as_str().unwrap())).collect()
}

/// The feed's consumers, over all streams.
async fn readers(system: &System) -> usize {
    let (jetstream, mut count) = (system.jetstream().await, 0);
    for stream in Stream::all(system.config.pipeline.shards) {
        // One that vanished with its server has none.
        let Ok(handle) = jetstream.get_stream(stream.name()).await else { continue };
        let names: Vec<_> = handle.consumer_names().collect().await;
        count += names.into_iter().flatten().filter(|name| name.starts_with("follower-")).count();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_of_every_payment_is_told_to_all_who_listen() {
    let mut system = System::start(&["risk.amount_max.USD=5000"]).await;
    system.open(&[("S", "USD", "10000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let (mut first, mut second) = (listen(&system).await, listen(&system).await);
    assert_eq!(readers(&system).await, 6, "one of each stream");
    for (id, amount) in [("P", "1"), ("too-large", "5000.01"), ("Q", "2")] {
        client.post("/payments", &payment(id, "S", "D", "USD", amount)).await;
    }
    let ids = ["P", "Q", "too-large"];
    let (told, also_told) = (until_ended(&mut first, &ids).await, until_ended(&mut second, &ids).await);
    assert_eq!(told, also_told);
    assert_eq!((stages_of(&told["P"]), stages_of(&told["Q"])), (WHOLE.to_vec(), WHOLE.to_vec()));
    assert_eq!(stages_of(&told["too-large"]), [("accepted", "PENDING"), ("finished", "FAILED")]);
    assert_eq!(told["too-large"][1]["reason"], json!("risk_rejected"));
    // Each with the moment that its status shows.
    let timeline = system.ended("P").await["timeline"].clone();
    for (event, moment) in told["P"].iter().zip(timeline.as_array().unwrap()) {
        assert_eq!((&event["stage"], &event["at"]), (&moment["stage"], &moment["at"]));
    }

    // Who comes later hears of the newest ends.
    let mut third = open(&system).await;
    let ends = third.until_comment("from here on").await;
    let ends: BTreeSet<&str> = ends.iter().map(|event| event.data["id"].as_str().unwrap()).collect();
    assert_eq!(ends, ids.into_iter().collect());

    // The last to leave takes everything with it; whoever comes then finds what has ended before.
    drop((first, second, third));
    until("the readers are gone", || async { readers(&system).await == 0 }).await;
    let mut fourth = open(&system).await;
    assert_eq!(fourth.until_comment("from here on").await.len(), ids.len());
    system.stop().await;
    assert_eq!(fourth.next().await, None, "the drain ends it");
    assert_eq!(readers(&system).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_the_broker_was_away() {
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "10000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let mut events = listen(&system).await;
    client.post("/payments", &payment("before", "S", "D", "USD", "1")).await;
    assert_eq!(stages_of(&until_ended(&mut events, &["before"]).await["before"]), WHOLE);
    system.nats.restart().await;
    until("the feed follows again", || async { readers(&system).await == 6 }).await;
    until("a payment is accepted", || async {
        client.post("/payments", &payment("after", "S", "D", "USD", "1")).await.status == 202
    })
    .await;
    assert_eq!(stages_of(&until_ended(&mut events, &["after"]).await["after"]), WHOLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_sampled_and_whoever_is_told_of_is_told_of_to_the_end() {
    const PAYMENTS: usize = 2_000;
    let system = System::start(&[]).await;
    system.open(&[("S", "USD", "10000000"), ("D", "USD", "0")]).await;
    let mut events = listen(&system).await;
    let client = system.client();
    let posting = futures::stream::iter(0..PAYMENTS).for_each_concurrent(32, |number| {
        let client = client.clone();
        async move {
            let body = payment(&format!("P{number}"), "S", "D", "USD", "0.01");
            assert_eq!(client.post("/payments", &body).await.status, 202);
        }
    });
    let listening = async {
        let (mut told, mut times) = (BTreeMap::<String, Vec<Value>>::new(), Vec::<Instant>::new());
        // Nothing for so long, which is more than a round of looking up: all is told.
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(5), events.next()).await {
            let event = next.expect("the stream goes on").data;
            times.push(Instant::now());
            told.entry(event["id"].as_str().unwrap().to_owned()).or_default().push(event);
        }
        (told, times)
    };
    let ((), (told, times)) = tokio::join!(posting, listening);
    assert!((20..PAYMENTS / 4).contains(&told.len()), "{} of {PAYMENTS}", told.len());
    for (id, events) in &told {
        assert_eq!(stages_of(events), WHOLE, "{id}");
    }
    // A delay on the way may push what was sent in two seconds into one, but not for long.
    let seconds = times.last().unwrap().duration_since(times[0]).as_secs() as usize + 2;
    assert!(times.len() <= seconds * 50, "{} events in {seconds} seconds", times.len());
}
