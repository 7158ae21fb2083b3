use super::*;
use crate::broker::Outgoing;
use crate::config::{Config, Flags, PipelineConfig, StackConfig, load};
use devstack::testing::TestNats;
use wire::StageName;

fn pipeline(change: impl FnOnce(&mut PipelineConfig)) -> PipelineConfig {
    let mut pipeline = Config::on(StackConfig::shifted(0)).pipeline;
    change(&mut pipeline);
    pipeline
}

/// A process that has just started.
async fn start(nats: &TestNats) -> Broker {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&load(&flags).unwrap().nats, "test", None).await.unwrap();
    broker.connected().await;
    broker
}

/// A stream's settings: bounds, and what is not ours to change.
async fn shown(broker: &Broker, stream: Stream) -> Value {
    let info = broker.asked(&format!("STREAM.INFO.{stream}"), &json!({})).await.unwrap().unwrap();
    let config = &info["config"];
    json!([config["max_msgs"], config["max_msgs_per_subject"], config["description"], config["storage"]])
}

/// The acknowledgement time of a stream's consumer, in milliseconds, and its description.
async fn shown_consumer(broker: &Broker, stream: Stream) -> Value {
    let name = format!("{stream}.{}", stream.consumer().unwrap());
    let info = broker.asked(&format!("CONSUMER.INFO.{name}"), &json!({})).await.unwrap().unwrap();
    json!([info["config"]["ack_wait"].as_u64().unwrap() / 1_000_000, info["config"]["description"]])
}

/// Sets what is not ours, as an operator does.
async fn describe(broker: &Broker, kind: &str, name: &str) {
    let mut info = broker.asked(&format!("{kind}.INFO.{name}"), &json!({})).await.unwrap().unwrap();
    info["config"]["description"] = json!("mine");
    let (subject, update) = match name.split_once('.') {
        None => (format!("STREAM.UPDATE.{name}"), info["config"].clone()),
        Some((stream, _)) => (
            format!("CONSUMER.CREATE.{name}"),
            json!({ "stream_name": stream, "config": info["config"], "action": "update" }),
        ),
    };
    broker.asked(&subject, &update).await.unwrap().unwrap();
}

#[test]
fn only_what_differs_is_different() {
    // What the server has, what is wanted, and the difference.
    let rows = [
        (json!({}), json!({}), None),
        (json!({ "max_msgs": -1 }), json!({ "max_msgs": 0 }), None),
        (json!({ "max_msgs": -1 }), json!({}), None),
        (json!({ "max_msgs": 5, "description": "mine" }), json!({ "max_msgs": 5 }), None),
        (json!({ "max_msgs": -1 }), json!({ "max_msgs": 5 }), Some("max_msgs from none to 5")),
        (json!({ "max_msgs": 5 }), json!({ "max_msgs": -1 }), Some("max_msgs from 5 to none")),
        (
            json!({ "allow_direct": false }),
            json!({ "allow_direct": true }),
            Some("allow_direct from none to true"),
        ),
        (json!({ "max_age": 1_500_000_000 }), json!({ "max_age": 0 }), Some("max_age from 1.5s to none")),
        (json!({ "discard": "old" }), json!({ "discard": "new" }), Some("discard from \"old\" to \"new\"")),
        // Neither storage nor where it begins to count is among what is changed.
        (json!({ "storage": "file", "first_seq": 7 }), json!({ "storage": "memory", "first_seq": 9 }), None),
    ];
    for (is, wanted, expected) in rows {
        let found = differences(&is, &wanted, &STREAM_FIELDS);
        let told: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{is} and {wanted}");
    }
}

/// Two releases with other settings, in turn: whoever starts gives the streams its own, and from then on
/// neither changes them back, however often it declares them. What is stored and what others have set stays.
#[tokio::test]
async fn a_process_gives_existing_streams_its_settings_once_when_it_starts() {
    let nats = TestNats::start().await;
    let before = pipeline(|pipeline| pipeline.ack_wait_ms = 30_000);
    // Fewer than are stored: the bound holds for what comes.
    let after = pipeline(|pipeline| {
        (pipeline.accepted_messages_max, pipeline.stream_messages_max) = (5, 500);
        pipeline.ack_wait_ms = 4_000;
    });
    let old = start(&nats).await;
    old.declare_all(&before).await.unwrap();
    for number in 0..10 {
        let subject = format!("pay.accepted.0.P{number}");
        old.publish(&Outgoing::new(subject, "{}")).await.unwrap();
    }
    describe(&old, "STREAM", "PAY_ACCEPTED").await;
    describe(&old, "CONSUMER", "PAY_ACCEPTED.risk").await;
    let bounds = old.bounds(Stream::Accepted).await.unwrap().unwrap();
    let first_of_derived = old.bounds(Stream::Screened(0)).await.unwrap().unwrap().first;

    let [of_old, of_new] = [
        (json!([-1, 1, "mine", "file"]), json!([65_536, -1, null, "memory"]), json!([30_000, "mine"])),
        (json!([5, 1, "mine", "file"]), json!([500, -1, null, "memory"]), json!([4_000, "mine"])),
    ];
    let new = start(&nats).await;
    let again = start(&nats).await;
    for (about, broker, pipeline, expected) in [
        ("as declared", &old, &before, &of_old),
        ("another release starts", &new, &after, &of_new),
        ("the first declares again", &old, &before, &of_new),
        ("and the other", &new, &after, &of_new),
        ("the first starts again", &again, &before, &of_old),
        ("the other goes on", &new, &after, &of_old),
    ] {
        broker.declare_all(pipeline).await.unwrap();
        let found = (
            shown(broker, Stream::Accepted).await,
            shown(broker, Stream::Screened(0)).await,
            shown_consumer(broker, Stream::Accepted).await,
        );
        assert_eq!(found, *expected, "{about}");
        let kept = broker.bounds(Stream::Accepted).await.unwrap().unwrap();
        assert_eq!((kept.first, kept.last, kept.messages), (bounds.first, bounds.last, 10), "{about}");
        let first = broker.bounds(Stream::Screened(0)).await.unwrap().unwrap().first;
        assert_eq!(first, first_of_derived, "{about}");
    }
}

/// What cannot be changed, and what the server does not have, stops nobody.
#[tokio::test]
async fn a_refused_setting_stays_as_it_is() {
    let nats = TestNats::start().await;
    let operator = start(&nats).await;
    let on_disk = json!({ "name": "PAY_FINISHED", "subjects": ["pay.finished.0.*"], "storage": "file" });
    operator.asked("STREAM.CREATE.PAY_FINISHED", &on_disk).await.unwrap().unwrap();
    start(&nats).await.declare_all(&pipeline(|_| ())).await.unwrap();
    assert_eq!(shown(&operator, Stream::Finished).await, json!([65_536, -1, null, "file"]));

    // Beside one that it refuses it takes another.
    let more_than_there_is = pipeline(|pipeline| {
        (pipeline.accepted_bytes_max, pipeline.accepted_messages_max) = (i64::MAX, 7);
    });
    start(&nats).await.declare_all(&more_than_there_is).await.unwrap();
    assert_eq!(shown(&operator, Stream::Accepted).await, json!([7, 1, null, "file"]));
    let bounds = operator.bounds(Stream::Accepted).await.unwrap().unwrap();
    assert_eq!(bounds.bytes_max, u64::try_from(pipeline(|_| ()).accepted_bytes_max).ok());
    operator.publish(&Outgoing::new("pay.accepted.0.P".to_owned(), "{}")).await.unwrap();
}

#[tokio::test]
async fn a_stream_and_its_consumer_are_made_again_with_our_settings() {
    let nats = TestNats::start().await;
    let (first, second) = (start(&nats).await, start(&nats).await);
    first.declare_all(&pipeline(|_| ())).await.unwrap();
    second.declare_all(&pipeline(|_| ())).await.unwrap();
    for removed in ["STREAM.DELETE.PAY_SCREENED_0", "CONSUMER.DELETE.PAY_QUOTED_0.reserve"] {
        first.asked(removed, &json!({})).await.unwrap().unwrap();
    }
    second.declare_all(&pipeline(|pipeline| pipeline.ack_wait_ms = 1_000)).await.unwrap();
    for (stream, stage) in [(Stream::Screened(0), StageName::Fx), (Stream::Quoted(0), StageName::Reserve)] {
        let consumer = second.consumer(stream).await.unwrap();
        assert_eq!(consumer.cached_info().config.ack_wait, Duration::from_secs(1), "{stage}");
    }
}
