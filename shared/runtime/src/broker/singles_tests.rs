use super::*;
use crate::broker::{MemoryStreams, Streams};
use crate::config::{self, Config, Flags, PipelineConfig, StackConfig};
use devstack::testing::TestNats;
use domain::{PaymentKey, TraceContext};
use wire::header::Headers;
use wire::limits::MESSAGE_BYTES_MAX;
use wire::{Hop, Stream, Subject};

const QUOTED: Stream = Stream::Quoted(0);

/// A message of so many bytes in a stream that exists; without bytes in one that does not.
fn message((id, bytes): (&str, usize)) -> Outgoing {
    let shard = if bytes == 0 { 7 } else { 0 };
    let subject = Subject::of(Hop::Quoted, shard, &PaymentKey::from_token(id).unwrap());
    Outgoing::new(subject.into_string(), vec![b'x'; bytes])
}

async fn connected(nats: &TestNats) -> Broker {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&config::load(&flags).unwrap().nats, "test", None).await.unwrap();
    broker.connected().await;
    broker
}

const LARGE: usize = MESSAGE_BYTES_MAX as usize + 1;

/// Batches that are sent one after the other; of each why it is not stored whole, and what is stored of it.
type Row<'r> = &'r [(&'r [(&'r str, usize)], Option<&'static str>, &'r [usize])];

/// The server and the streams in memory agree.
#[tokio::test]
async fn each_message_of_a_batch_has_its_own_answer() {
    let rows: [Row<'_>; 4] = [
        &[(&[("A", 9), ("B", 9), ("A", 9)], None, &[0, 1, 2]), (&[("C", 9)], None, &[0])],
        // The stream takes six messages.
        &[
            (&[("A", 9), ("B", 9), ("C", 9), ("D", 9)], None, &[0, 1, 2, 3]),
            (&[("E", 9), ("F", 9), ("G", 9), ("H", 9)], Some("full"), &[0, 1]),
            (&[("G", 9), ("H", 9)], Some("full"), &[]),
        ],
        // What is objected to stops no other, and is told before what waits for room.
        &[
            (&[("A", 9), ("B", LARGE), ("C", 9)], Some("refused"), &[0, 2]),
            (
                &[("D", 9), ("E", 9), ("F", 9), ("G", 9), ("H", 9), ("B", LARGE)],
                Some("refused"),
                &[0, 1, 2, 3],
            ),
        ],
        &[(&[("A", 0), ("B", 0)], Some("missing"), &[]), (&[("A", 9), ("B", 9)], None, &[0, 1])],
    ];
    let pipeline = PipelineConfig { stream_messages_max: 6, ..Config::on(StackConfig::shifted(0)).pipeline };
    for (number, row) in rows.into_iter().enumerate() {
        let nats = TestNats::start().await;
        let (broker, memory) = (connected(&nats).await, MemoryStreams::default());
        broker.declare_all(&pipeline).await.unwrap();
        memory.declare_all(&pipeline).await.unwrap();
        let (mut answers, mut count) = (None, 0);
        for (batch, why, stored) in row {
            let batch: Vec<Outgoing> = batch.iter().copied().map(message).collect();
            count += stored.len() as u64;
            for (place, told) in [
                ("memory", memory.publish_each(&batch).await),
                ("server", broker.publish_each(&mut answers, &batch).await),
            ] {
                let (found_why, found) = match told {
                    Ok(()) => (None, (0..batch.len()).collect()),
                    Err(Unpublished { error, stored }) => (Some(error.kind()), stored),
                };
                assert_eq!((found_why, &*found), (*why, *stored), "row {number}, in {place}");
            }
        }
        let held = broker.bounds(QUOTED).await.unwrap().unwrap().messages;
        assert_eq!(held, count, "row {number}");
    }
}

/// The answers of a batch that was given up on come while the next one waits for its own.
#[tokio::test]
async fn late_answers_are_nobody_elses() {
    let nats = TestNats::start().await;
    let broker = connected(&nats).await;
    broker.declare_all(&Config::on(StackConfig::shifted(0)).pipeline).await.unwrap();
    let mut answers = Some(broker.answers().await.unwrap());
    let (given_up, next) = ([("A", 9), ("B", 0), ("C", 0)].map(message), [("D", 9), ("E", 9)].map(message));
    broker.send_each(answers.as_mut().unwrap(), &given_up, &mut Told::default()).await.unwrap();
    assert_eq!(broker.publish_each(&mut answers, &next).await, Ok(()));
    let held = broker.bounds(QUOTED).await.unwrap().unwrap().messages;
    assert_eq!(held, 3, "A, D and E");
}

#[tokio::test]
async fn headers_and_order_are_kept() {
    let nats = TestNats::start().await;
    let broker = connected(&nats).await;
    broker.declare_all(&Config::on(StackConfig::shifted(0)).pipeline).await.unwrap();
    let trace = Some(TraceContext { trace_id: 7, span_id: 7, is_sampled: true });
    let mut batch: Vec<Outgoing> = (0..300).map(|number| message((&format!("P{number}"), 9))).collect();
    batch[150].headers = Headers { trace, ..Headers::default() };
    broker.publish_each(&mut None, &batch).await.unwrap();
    let key =
        |number: usize| Subject::of(Hop::Quoted, 0, &PaymentKey::from_token(&format!("P{number}")).unwrap());
    let mut before = 0;
    for number in [0, 1, 149, 150, 151, 299] {
        let stored = broker.last(QUOTED, &key(number)).await.unwrap().unwrap();
        assert!(stored.seq > before, "P{number}");
        assert_eq!(stored.headers.trace, batch[number].headers.trace, "P{number}");
        before = stored.seq;
    }
}
