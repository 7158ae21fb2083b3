use super::*;
use crate::broker::{MemoryStreams, Streams};
use crate::config::{self, Config, Flags, PipelineConfig, StackConfig};
use crate::telemetry::{Metrics, PublishMetrics};
use devstack::testing::TestNats;
use domain::{PaymentKey, TraceContext};
use wire::{Hop, Role, Stream, Subject};

/// That of a payment whose way is seen.
const TRACE: Option<TraceContext> = Some(TraceContext { trace_id: 7, span_id: 7, is_sampled: true });

fn subject(id: &str) -> Subject {
    Subject::of(Hop::Accepted, 0, &PaymentKey::from_token(id).unwrap())
}

/// An accepted payment of so many bytes, and what its subject must hold.
fn single((id, expected_last, bytes): (&str, Option<u64>, usize)) -> Outgoing {
    Outgoing { expected_last, ..Outgoing::new(subject(id).into_string(), vec![b'x'; bytes]) }
}

async fn connected(nats: &TestNats, metrics: Option<PublishMetrics>) -> Broker {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&config::load(&flags).unwrap().nats, "test", metrics).await.unwrap();
    broker.connected().await;
    broker
}

/// What is sent in one pipeline, each with its condition and size, and the answer to each.
type Sent<'r> = &'r [((&'r str, Option<u64>, usize), Result<(), BrokerError>)];

struct Row<'r> {
    messages_max: i64,
    bytes_max: i64,
    sent: &'r [Sent<'r>],
    /// What the intake holds then: the payments, and how large each is.
    held: &'r [(&'r str, usize)],
}

async fn check(streams: &impl Streams, row: &Row<'_>) {
    let pipeline = PipelineConfig {
        accepted_messages_max: row.messages_max,
        accepted_bytes_max: row.bytes_max,
        ..Config::on(StackConfig::shifted(0)).pipeline
    };
    streams.declare_all(&pipeline).await.unwrap();
    for sent in row.sent {
        let messages: Vec<Outgoing> = sent.iter().map(|(message, _)| single(*message)).collect();
        let expected: Vec<Result<(), BrokerError>> = sent.iter().map(|(_, answer)| answer.clone()).collect();
        assert_eq!(streams.publish_singles(&messages).await.unwrap(), expected, "{sent:?}");
    }
    let bounds = streams.bounds(Stream::Accepted).await.unwrap().unwrap();
    assert_eq!(bounds.messages, row.held.len() as u64);
    for (id, bytes) in row.held {
        let stored = streams.last(Stream::Accepted, &subject(id)).await.unwrap();
        assert_eq!(stored.map(|stored| stored.payload.len()), Some(*bytes), "{id} of {:?}", row.sent);
    }
}

/// The server and the streams in memory agree on what a single may replace, in a full intake, too.
#[tokio::test]
async fn a_single_takes_the_place_that_it_expects_even_in_a_full_intake() {
    use BrokerError::{Conflict, Full};
    let rows = [
        Row {
            messages_max: 3,
            bytes_max: 1 << 20,
            sent: &[
                &[
                    (("A", Some(0), 10), Ok(())),
                    (("B", Some(0), 10), Ok(())),
                    (("C", Some(0), 10), Ok(())),
                    (("D", Some(0), 10), Err(Full)),
                    (("A", Some(0), 11), Err(Conflict)),
                ],
                // Larger copies, too; each answer stands for its own message.
                &[
                    (("A", Some(1), 20), Ok(())),
                    (("B", Some(1), 20), Err(Conflict)),
                    (("D", Some(0), 20), Err(Full)),
                    (("D", Some(7), 20), Err(Conflict)),
                    (("C", Some(3), 20), Ok(())),
                    (("B", None, 30), Ok(())),
                ],
                // What stood still until others had come.
                &[(("A", Some(1), 40), Err(Conflict)), (("C", Some(3), 40), Err(Conflict))],
            ],
            held: &[("A", 20), ("B", 30), ("C", 20)],
        },
        // By bytes only a copy that is no larger finds its place.
        Row {
            messages_max: -1,
            bytes_max: 3_000,
            sent: &[
                &[(("A", Some(0), 1_300), Ok(())), (("B", Some(0), 1_300), Ok(()))],
                &[
                    (("C", Some(0), 450), Err(Full)),
                    (("A", Some(1), 1_200), Ok(())),
                    (("B", Some(2), 1_301), Err(Full)),
                    (("B", Some(1), 1_200), Err(Conflict)),
                    (("B", Some(2), 1_300), Ok(())),
                ],
            ],
            held: &[("A", 1_200), ("B", 1_300)],
        },
    ];
    for row in &rows {
        check(&MemoryStreams::default(), row).await;
        check(&connected(&TestNats::start().await, None).await, row).await;
    }
}

/// Or a payment that is lost while the intake is full of lost ones could never be driven again.
#[tokio::test]
async fn any_copy_of_a_payment_finds_its_place_in_an_intake_full_by_bytes() {
    let nats = TestNats::start().await;
    check_copies(&MemoryStreams::default()).await;
    check_copies(&connected(&nats, None).await).await;
}

async fn check_copies(streams: &impl Streams) {
    let pipeline =
        PipelineConfig { accepted_bytes_max: 6_000, ..Config::on(StackConfig::shifted(0)).pipeline };
    streams.declare_all(&pipeline).await.unwrap();
    let first = |id| single((id, Some(0), 1_200));
    let traced = Outgoing { headers: Headers { trace: TRACE, ..Headers::default() }, ..first("TRACED") };
    streams.publish_batch(&["BATCHED", "TOO"].map(first)).await.unwrap();
    let answers = streams.publish_singles(&[first("A"), traced, first("MORE")]).await.unwrap();
    assert_eq!(answers, [Ok(()), Ok(()), Err(BrokerError::Full)]);
    for times in [1, 2, 9, 10, 99, 100, 999] {
        for id in ["A", "BATCHED", "TRACED"] {
            let stored = streams.last(Stream::Accepted, &subject(id)).await.unwrap().unwrap();
            let trace = stored.headers.trace;
            assert_eq!(trace.is_some(), id == "TRACED");
            let headers = Headers { trace, ..Headers::redriven(times, stored.accepted_at()) };
            let copy = Outgoing { headers, ..single((id, Some(stored.seq), 1_200)) };
            let answers = streams.publish_singles(&[copy]).await.unwrap();
            assert_eq!(answers, [Ok(())], "{id} for the {times}. time");
        }
    }
}

/// Whichever copy of a payment it is and wherever it lies: but for its trace, which stays, it has headers of
/// one size.
#[test]
fn the_headers_of_all_copies_take_as_much() {
    let digits = (0..12).map(|power| 10_u64.pow(power));
    let sequences: Vec<u64> = digits.flat_map(|least| [least, 10 * least - 1]).chain([0]).collect();
    let at = domain::Timestamp::from_micros(1_795_309_323_456_789);
    let mut sizes = std::collections::BTreeSet::new();
    for times in 0..1_000 {
        let copy = if times == 0 { Headers::default() } else { Headers::redriven(times, at) };
        for (sequence, trace) in sequences.iter().flat_map(|sequence| [(sequence, None), (sequence, TRACE)]) {
            let headers = Headers { trace, ..copy.clone() };
            let message = Outgoing { headers, ..single(("P", Some(*sequence), 1)) };
            let own = message.headers.pairs().filter(|(name, _)| *name != wire::header::TRACEPARENT);
            let own: usize = own.map(|(name, value)| name.len() + value.len() + HEADER_LINE_BYTES).sum();
            let bytes = |(name, value): (HeaderName, String)| {
                name.to_string().len() + value.len() + HEADER_LINE_BYTES
            };
            let condition: usize = message.condition().into_iter().flatten().map(bytes).sum();
            sizes.insert(own + condition);
        }
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}

/// More than one pipeline: all answers come in order, and each message is recorded as a single.
#[tokio::test]
async fn singles_are_answered_in_order_and_recorded_each() {
    let nats = TestNats::start().await;
    let metrics = Metrics::new(Role::Janitor, true).unwrap();
    let broker = connected(&nats, Some(PublishMetrics::new(&metrics))).await;
    broker.declare_all(&Config::on(StackConfig::shifted(0)).pipeline).await.unwrap();
    let ids: Vec<String> = (0..3 * PIPELINE_MESSAGES_MAX).map(|number| format!("P{number}")).collect();
    let messages: Vec<Outgoing> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| single((id, Some(u64::from(number % 5 == 0)), 100)))
        .collect();
    let answers = broker.publish_singles(&messages).await.unwrap();
    let expected: Vec<Result<(), BrokerError>> = (0..ids.len())
        .map(|number| if number % 5 == 0 { Err(BrokerError::Conflict) } else { Ok(()) })
        .collect();
    assert_eq!(answers, expected);
    let stored = expected.iter().filter(|answer| answer.is_ok()).count();
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let line = format!(r#"publish_batch_size_count{{form="single",hop="accepted"}} {stored}"#);
    assert!(text.contains(&line), "{line} in {text}");
    // A broker that is away is no answer to anything.
    nats.kill().await;
    let answers = broker.publish_singles(&messages).await;
    let is_away = |answer: &Result<(), BrokerError>| {
        matches!(answer, Err(BrokerError::Unavailable(_) | BrokerError::Unknown(_)))
    };
    match answers {
        Ok(answers) => assert!(answers.len() == ids.len() && answers.iter().all(is_away), "{answers:?}"),
        Err(error) => assert!(is_away(&Err(error.clone())), "{error:?}"),
    }
}

#[test]
fn a_pipeline_is_bounded_by_number_and_by_bytes() {
    let large = PIPELINE_BYTES_MAX / 4;
    let rows: [(Vec<usize>, &[usize]); 7] = [
        (vec![], &[]),
        (vec![1], &[1]),
        (vec![1; 64], &[64]),
        (vec![1; 130], &[64, 64, 2]),
        (vec![large; 4], &[3, 1]),
        (vec![PIPELINE_BYTES_MAX, 1, PIPELINE_BYTES_MAX], &[1, 1, 1]),
        (vec![1, large, large, large, large, 1], &[4, 2]),
    ];
    for (sizes, expected) in rows {
        let messages: Vec<Outgoing> = sizes.iter().map(|bytes| single(("P", None, *bytes))).collect();
        let parts: Vec<usize> = pipelines(&messages).map(<[Outgoing]>::len).collect();
        assert_eq!(parts, expected, "{sizes:?}");
    }
}
