use super::*;
use crate::config::{Config, StackConfig};
use domain::PaymentKey;
use wire::Hop;
use wire::header::Headers;

const DERIVED: Stream = Stream::Screened(0);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn subject(hop: Hop, id: &str) -> Subject {
    Subject::of(hop, 0, &PaymentKey::from_token(id).unwrap())
}

fn message(hop: Hop, id: &str, bytes: usize) -> Outgoing {
    Outgoing::new(subject(hop, id).into_string(), vec![b'x'; bytes])
}

/// Four messages or a hundred bytes in each stream.
fn pipeline() -> PipelineConfig {
    PipelineConfig {
        stream_messages_max: 4,
        stream_bytes_max: 100,
        accepted_messages_max: 4,
        accepted_bytes_max: 100,
        keep_messages: 0,
        ..Config::on(StackConfig::shifted(0)).pipeline
    }
}

async fn declared() -> MemoryStreams {
    let streams = MemoryStreams::default();
    streams.declare_all(&pipeline()).await.unwrap();
    streams
}

/// The ids and sizes of what a stream holds, in order.
fn held(streams: &MemoryStreams, stream: Stream) -> Vec<(String, usize)> {
    let text =
        |message: Outgoing| (Subject::payment_token(&message.subject).to_owned(), message.payload.len());
    streams.messages(stream).into_iter().map(text).collect()
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    use Hop::{Accepted, Finished, Screened};
    // What the stream holds, the batch, how it ends, and what the stream holds then.
    type Held<'r> = &'r [(&'r str, usize)];
    let rows: [(Hop, Held<'_>, Held<'_>, Result<(), BrokerError>, Held<'_>); 11] = [
        (Screened, &[], &[], Ok(()), &[]),
        (
            Screened,
            &[("A", 1), ("B", 1)],
            &[("A", 2), ("C", 2)],
            Ok(()),
            &[("A", 1), ("B", 1), ("A", 2), ("C", 2)],
        ),
        (
            Screened,
            &[("A", 1), ("B", 1)],
            &[("C", 2), ("D", 2), ("E", 2)],
            Err(BrokerError::Full),
            &[("A", 1), ("B", 1)],
        ),
        (Screened, &[("A", 60)], &[("B", 40)], Ok(()), &[("A", 60), ("B", 40)]),
        (Screened, &[("A", 60)], &[("B", 20), ("C", 21)], Err(BrokerError::Full), &[("A", 60)]),
        (Accepted, &[("A", 1), ("B", 1)], &[("A", 2)], Ok(()), &[("B", 1), ("A", 2)]),
        // Only a single publish replaces a copy in a stream that is full, and by bytes only by no more.
        (
            Accepted,
            &[("A", 1), ("B", 1), ("C", 1), ("D", 1)],
            &[("A", 2)],
            Ok(()),
            &[("B", 1), ("C", 1), ("D", 1), ("A", 2)],
        ),
        (
            Accepted,
            &[("A", 1), ("B", 1), ("C", 1)],
            &[("A", 2), ("B", 2)],
            Err(BrokerError::Full),
            &[("A", 1), ("B", 1), ("C", 1)],
        ),
        (Accepted, &[("A", 50), ("B", 50)], &[("A", 51)], Err(BrokerError::Full), &[("A", 50), ("B", 50)]),
        (Accepted, &[("A", 50), ("B", 50)], &[("A", 50)], Ok(()), &[("B", 50), ("A", 50)]),
        (
            Finished,
            &[("A", 1), ("B", 1), ("C", 1)],
            &[("D", 1), ("E", 1)],
            Ok(()),
            &[("B", 1), ("C", 1), ("D", 1), ("E", 1)],
        ),
    ];
    for (hop, before, batch, expected, after) in rows {
        let streams = declared().await;
        let messages =
            |row: Held<'_>| row.iter().map(|(id, bytes)| message(hop, id, *bytes)).collect::<Vec<_>>();
        streams.publish_batch(&messages(before)).await.unwrap();
        assert_eq!(
            streams.publish_batch(&messages(batch)).await,
            expected,
            "{hop:?}: {batch:?} on {before:?}"
        );
        let after: Vec<(String, usize)> =
            after.iter().map(|(id, bytes)| ((*id).to_owned(), *bytes)).collect();
        assert_eq!(held(&streams, Stream::of(hop, 0)), after, "{batch:?} on {before:?}");
    }
}

#[tokio::test]
async fn what_is_stored_already_is_not_stored_again_by_who_asks_for_its_absence() {
    let streams = MemoryStreams::default();
    // A condition takes more than a hundred bytes.
    streams.declare_all(&PipelineConfig { accepted_bytes_max: 1_000, ..pipeline() }).await.unwrap();
    let absent = |id| Outgoing { expected_last: Some(0), ..message(Hop::Accepted, id, 1) };
    let rows = [
        (vec![absent("A")], Ok(())),
        (vec![absent("B"), absent("A")], Err(BrokerError::Conflict)),
        (vec![absent("B"), absent("C"), absent("B")], Err(BrokerError::Conflict)),
        (vec![absent("B"), message(Hop::Accepted, "A", 1)], Ok(())),
    ];
    for (batch, expected) in rows {
        assert_eq!(streams.publish_batch(&batch).await, expected, "{batch:?}");
    }
    assert_eq!(held(&streams, Stream::Accepted), [("B".to_owned(), 1), ("A".to_owned(), 1)]);
}

#[tokio::test]
async fn what_no_stream_takes_is_refused() {
    let streams = declared().await;
    let unknown = Outgoing::new("pay.unknown.0.A".to_owned(), "x");
    assert_eq!(streams.publish(&unknown).await, Err(BrokerError::Missing));
    let rows = [
        vec![message(Hop::Screened, "A", 300_000)],
        vec![message(Hop::Screened, "A", 1), message(Hop::Quoted, "A", 1)],
    ];
    for batch in rows {
        assert!(matches!(streams.publish_batch(&batch).await, Err(BrokerError::Refused(_))));
        assert_eq!(held(&streams, DERIVED), []);
    }
}

#[tokio::test]
async fn the_intake_is_read_from_a_sequence_and_since_an_instant() {
    let streams = declared().await;
    for (second, id) in [(1, "A"), (2, "B"), (3, "C")] {
        streams.set_now(at(second));
        streams.publish(&message(Hop::Accepted, id, 1)).await.unwrap();
    }
    let mut again = message(Hop::Accepted, "A", 1);
    again.headers = Headers::redriven(2, at(1));
    streams.publish(&again).await.unwrap();
    let heads = streams.accepted_heads(3, 9).await.unwrap();
    let texts: Vec<_> = heads
        .iter()
        .map(|head| (head.seq, head.subject.as_str(), head.stored_at, head.accepted_at, head.redrives))
        .collect();
    assert_eq!(texts, [(3, "pay.accepted.0.C", at(3), at(3), 0), (4, "pay.accepted.0.A", at(3), at(1), 2)]);
    assert_eq!(streams.accepted_heads(0, 1).await.unwrap()[0].seq, 2);
    let rows: [(Since, u64, &[u64]); 5] = [
        (Since::Instant(at(3)), 3, &[3]),
        (Since::Instant(at(4)), 9, &[]),
        (Since::Sequence(3), 9, &[3, 4]),
        (Since::Sequence(0), 2, &[2]),
        (Since::Sequence(5), 9, &[]),
    ];
    for (since, last, expected) in rows {
        let mut seen = Vec::new();
        streams.accepted_since(since, last, &mut |stored| seen.push(stored.seq)).await.unwrap();
        assert_eq!(seen, expected, "{since:?} to {last}");
    }
    let last = streams.last(Stream::Accepted, &subject(Hop::Accepted, "A")).await.unwrap().unwrap();
    assert_eq!((last.seq, last.accepted_at()), (4, at(1)));
    let wanted = ["A", "X", "B"].map(|id| subject(Hop::Accepted, id));
    let found = streams.last_of_each(Stream::Accepted, &wanted).await.unwrap();
    assert_eq!(found.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(streams.purge_below(Stream::Accepted, 4).await, Ok(2));
    let bounds = streams.bounds(Stream::Accepted).await.unwrap().unwrap();
    assert_eq!((bounds.first, bounds.last, bounds.messages, bounds.messages_max), (4, 4, 1, Some(4)));
}

#[tokio::test]
async fn progress_is_what_the_test_says_and_what_is_acknowledged_is_trimmed() {
    let streams = declared().await;
    streams.publish_batch(&["A", "B", "C"].map(|id| message(Hop::Screened, id, 10))).await.unwrap();
    let first = streams.bounds(DERIVED).await.unwrap().unwrap().first;
    assert_eq!(
        streams.progress(DERIVED).await,
        Ok(Some(Progress { floor: first - 1, delivered: None, pending: 3, in_hand: 0 }))
    );
    streams.acknowledge(DERIVED, first + 1);
    let progress = Progress { floor: first + 1, delivered: Some(first + 1), pending: 1, in_hand: 0 };
    assert_eq!(streams.trim(DERIVED, &pipeline()).await, Ok(Some(progress)));
    assert_eq!(held(&streams, DERIVED), [("C".to_owned(), 10)]);
    assert_eq!(streams.trim(Stream::Accepted, &pipeline()).await, Ok(None));
    assert_eq!(streams.progress(Stream::Finished).await, Ok(None), "nobody consumes it");
}

#[tokio::test]
async fn a_stream_that_vanished_holds_nothing_and_counts_on_from_elsewhere() {
    let streams = declared().await;
    let message = message(Hop::Screened, "A", 1);
    streams.publish(&message).await.unwrap();
    let last = streams.bounds(DERIVED).await.unwrap().unwrap().last;
    for stream in [DERIVED, Stream::Accepted] {
        streams.lose(stream);
        assert_eq!((streams.bounds(stream).await, streams.progress(stream).await), (Ok(None), Ok(None)));
    }
    assert_eq!(streams.publish(&message).await, Err(BrokerError::Missing));
    assert_eq!(streams.last_of_each(DERIVED, &[subject(Hop::Screened, "A")]).await, Ok(Vec::new()));
    assert!(matches!(
        streams.last(Stream::Accepted, &subject(Hop::Accepted, "A")).await,
        Err(BrokerError::Unavailable(_))
    ));
    assert_eq!(streams.accepted_heads(1, 9).await, Err(BrokerError::Missing));
    let mut unexpected = |stored: Stored| panic!("{stored:?} is shown");
    assert_eq!(streams.accepted_since(Since::Instant(at(0)), 9, &mut unexpected).await, Ok(()));
    streams.declare_all(&pipeline()).await.unwrap();
    assert!(streams.bounds(DERIVED).await.unwrap().unwrap().first > last);
    assert_eq!(streams.bounds(Stream::Accepted).await.unwrap().unwrap().last, 0, "as a new disk would");
}

#[tokio::test]
async fn an_outage_begins_after_so_many_calls() {
    let streams = declared().await;
    let clone = streams.clone();
    streams.begin_outage_after(1);
    clone.publish(&message(Hop::Accepted, "A", 1)).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(
            clone.publish(&message(Hop::Accepted, "B", 1)).await,
            Err(BrokerError::Unavailable(_))
        ));
        assert!(matches!(clone.declare_all(&pipeline()).await, Err(BrokerError::Unavailable(_))));
    }
    streams.end_outage();
    assert_eq!(clone.publish(&message(Hop::Accepted, "B", 1)).await, Ok(()));
}
