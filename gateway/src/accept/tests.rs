use super::worker::SINGLES_MAX;
use super::*;
use crate::memory_ledger::MemoryLedger;
use devstack::testing::{TestNats, TestPostgres};
use runtime::broker::{Broker, MemoryStreams};
use runtime::config::{self, Flags};
use std::time::Duration;
use store::{Store, StoreOptions};
use wire::message::PaymentAccepted;
use wire::{HopMessage, Stream, Subject};

/// A worker on servers of its own.
async fn worker(nats: &TestNats) -> Worker<Broker, Store> {
    let owner_url = TestPostgres::shared().await.fresh_database().await;
    store::migrate(&owner_url).await.unwrap();
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let config = config::load(&flags).unwrap();
    let options = StoreOptions {
        url: owner_url.replace("kilat_owner", "kilat_app"),
        application_name: "test".into(),
        connections_max: 2,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
        lock_timeout: Duration::from_secs(10),
        plans: store::Plans::ByKey,
    };
    let streams = Broker::connect(&config.nats, "test", None).await.unwrap();
    while streams.declare_all(&config.pipeline).await.is_err() {
        tokio::task::yield_now().await;
    }
    Worker {
        streams,
        ledger: Store::connect_lazily(&options).unwrap(),
        pipeline: config.pipeline,
        traces: Traces::inert(),
        failures: LineBudget::new(),
    }
}

fn payment(id: &str, amount: &str) -> Payment {
    serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": id, "source_account": "S", "destination_account": "D", "amount": {"currency": "USD", "value": amount}
    }))
    .unwrap()
}

/// A submission whose answer nobody waits for.
pub(super) fn submission(id: &str) -> Submission {
    let payment = payment(id, "1");
    Submission { fingerprint: payment.fingerprint(), payment, trace: None, answer: oneshot::channel().0 }
}

const fn failed(code: Code) -> Acceptance {
    Acceptance::Failed(Unaccepted::Failed(code))
}

/// Accepts these payments as one batch, and answers in their order.
async fn accept<B: Streams, L: BorderLedger>(
    worker: &Worker<B, L>,
    payments: &[(&str, &str)],
) -> Vec<Acceptance> {
    accept_of(worker, IdOrigin::Client, payments).await
}

async fn accept_of<B: Streams, L: BorderLedger>(
    worker: &Worker<B, L>,
    origin: IdOrigin,
    payments: &[(&str, &str)],
) -> Vec<Acceptance> {
    let (submissions, answers): (Vec<Submission>, Vec<_>) = payments
        .iter()
        .map(|(id, amount)| {
            let (answer, answered) = oneshot::channel();
            let payment = payment(id, amount);
            (Submission { fingerprint: payment.fingerprint(), payment, trace: None, answer }, answered)
        })
        .unzip();
    worker.accept(origin, submissions).await;
    futures::future::join_all(answers).await.into_iter().map(|answer| answer.unwrap()).collect()
}

/// Messages that the server has received so far.
async fn received(nats: &TestNats) -> u64 {
    let address = nats.monitor_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let page = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /varz HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    });
    let page = page.await.unwrap();
    let varz: serde_json::Value = serde_json::from_str(page.split_once("\r\n\r\n").unwrap().1).unwrap();
    varz["in_msgs"].as_u64().unwrap()
}

/// A batch half of which is stored already costs at most two publishes: the refused one, and that of the
/// rest.
#[tokio::test]
async fn a_batch_with_duplicates_costs_two_publishes() {
    let nats = TestNats::start().await;
    let worker = worker(&nats).await;
    let ids: Vec<String> = (0..512).map(|number| format!("P{number}")).collect();
    let rows =
        |range: std::ops::Range<usize>| ids[range].iter().map(|id| (id.as_str(), "1.00")).collect::<Vec<_>>();
    assert!(accept(&worker, &rows(0..256)).await.iter().all(|answer| *answer == Acceptance::Accepted));
    let before = received(&nats).await;
    let answers = accept(&worker, &rows(0..512)).await;
    let sent = received(&nats).await - before;
    let expected = |place: usize| if place < 256 { Acceptance::Replayed } else { Acceptance::Accepted };
    assert!(answers.iter().enumerate().all(|(place, answer)| *answer == expected(place)), "{answers:?}");
    // 512 that are refused together, one read of what is stored, 256 that are stored.
    assert_eq!(sent, 512 + 1 + 256);
    assert_eq!(
        worker.streams.bounds(Stream::Accepted).await.unwrap().map(|bounds| bounds.messages),
        Some(512)
    );
}

/// Within one batch and over batches: the first content under an id stands, and each request is told how it
/// compares.
#[tokio::test]
async fn the_first_content_under_an_id_stands() {
    use Acceptance::{Accepted, Mismatch, Replayed};
    let nats = TestNats::start().await;
    let worker = worker(&nats).await;
    let rows: [(&[(&str, &str)], &[Acceptance]); 4] = [
        (&[("A", "1"), ("A", "1.00"), ("A", "2"), ("B", "1")], &[Accepted, Replayed, Mismatch, Accepted]),
        (&[("A", "2"), ("A", "1"), ("C", "1")], &[Mismatch, Replayed, Accepted]),
        (&[("A", "1"), ("B", "1"), ("C", "1")], &[Replayed, Replayed, Replayed]),
        (&[("B", "9")], &[Mismatch]),
    ];
    for (payments, expected) in rows {
        assert_eq!(accept(&worker, payments).await, expected, "{payments:?}");
    }
}

/// A full intake refuses as overload what it has no room for: of a few those, of many all. What is stored already
/// is still answered.
#[tokio::test]
async fn a_full_intake_is_overload() {
    let nats = TestNats::start().await;
    let mut worker = worker(&nats).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream("PAY_ACCEPTED").await.unwrap();
    worker.pipeline.accepted_messages_max = 3;
    worker.streams.declare_all(&worker.pipeline).await.unwrap();
    assert_eq!(accept(&worker, &[("A", "1"), ("B", "1")]).await, [const { Acceptance::Accepted }; 2]);
    let full = const { Acceptance::Failed(Unaccepted::TurnedAway(Shed::Intake)) };
    let many: Vec<String> = (0..=SINGLES_MAX).map(|number| format!("P{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|id| (id.as_str(), "1")).collect();
    assert_eq!(accept(&worker, &many).await, vec![full.clone(); many.len()]);
    let told = [Acceptance::Replayed, Acceptance::Accepted, full.clone()];
    assert_eq!(accept(&worker, &[("A", "1"), ("C", "1"), ("D", "1")]).await, told);
    assert_eq!(accept(&worker, &[("D", "1")]).await, [full]);
    assert_eq!(accept(&worker, &[("A", "1")]).await, [Acceptance::Replayed]);
}

/// A worker on memory.
async fn worker_in_memory() -> Worker<MemoryStreams, MemoryLedger> {
    let (streams, pipeline) = (MemoryStreams::default(), PipelineConfig::default());
    streams.declare_all(&pipeline).await.unwrap();
    Worker {
        streams,
        ledger: MemoryLedger::default(),
        pipeline,
        traces: Traces::inert(),
        failures: LineBudget::new(),
    }
}

/// What comes first is stored first, also where some of it is stored already, and is answered first.
#[tokio::test]
async fn a_batch_is_stored_in_the_order_of_its_requests() {
    let worker = worker_in_memory().await;
    let ids: Vec<String> = (0..64).map(|number| format!("P{}", number * 37 % 64)).collect();
    let payments: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "1")).collect();
    accept(&worker, &payments[20..30]).await;
    let twice = [&payments[..40], &payments].concat();
    accept(&worker, &twice).await;
    let stored = worker.streams.messages(Stream::Accepted);
    let stored: Vec<&str> = stored.iter().map(|message| Subject::payment_token(&message.subject)).collect();
    let expected = [&ids[20..30], &ids[..20], &ids[30..]].concat();
    assert_eq!(stored, expected);
}

/// What was published without an answer is read back: what is found is told, what is not may yet arrive.
#[tokio::test]
async fn a_lost_answer_is_read_back() {
    use Acceptance::{Accepted, Mismatch};
    const UNKNOWN: Acceptance = failed(Code::AcceptanceUnknown);
    let rows: [(&[(&str, &str)], bool, usize, &[Acceptance]); 5] = [
        // Payments, whether they are stored, calls until the broker is away.
        (&[("B", "1"), ("C", "1")], true, usize::MAX, &[Accepted, Accepted]),
        // Of a few, each has an answer of its own.
        (&[("B", "1"), ("C", "1")], false, usize::MAX, &[UNKNOWN, Accepted]),
        (&[("A", "2"), ("B", "1")], false, usize::MAX, &[Mismatch, Accepted]),
        (&[("B", "1"), ("B", "2")], true, usize::MAX, &[Accepted, Mismatch]),
        (&[("B", "1"), ("C", "1")], true, 1, &[UNKNOWN, UNKNOWN]),
    ];
    for (payments, is_stored, calls, expected) in rows {
        let worker = worker_in_memory().await;
        assert_eq!(accept(&worker, &[("A", "1")]).await, [Accepted]);
        worker.streams.lose_next_answer(is_stored);
        worker.streams.begin_outage_after(calls);
        assert_eq!(
            accept(&worker, payments).await,
            expected,
            "{payments:?}, stored: {is_stored}, away after {calls}"
        );
    }
}

/// Many have one answer together.
#[tokio::test]
async fn a_lost_answer_to_many_is_read_back_for_each() {
    let ids: Vec<String> = (0..=SINGLES_MAX).map(|number| format!("P{number}")).collect();
    let payments: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "1")).collect();
    for (is_stored, expected) in [(true, Acceptance::Accepted), (false, failed(Code::AcceptanceUnknown))] {
        let worker = worker_in_memory().await;
        worker.streams.lose_next_answer(is_stored);
        assert_eq!(accept(&worker, &payments).await, vec![expected; ids.len()], "stored: {is_stored}");
    }
}

/// What the ledger knows needs no intake; what it cannot be asked about is not stored, unless the id is ours.
#[tokio::test]
async fn the_ledger_is_asked_first_about_ids_of_clients() {
    use Acceptance::{Accepted, Mismatch, Replayed};
    const UNAVAILABLE: Acceptance = failed(Code::Unavailable);
    let worker = worker_in_memory().await;
    let dead = PaymentAccepted { payment: payment("A", "1"), fingerprint: payment("A", "1").fingerprint() };
    worker.ledger.bury(dead.payment.key(), &HopMessage::from(dead).encode().unwrap());
    worker.ledger.bury(payment("B", "1").key(), b"not a message");
    assert_eq!(
        accept(&worker, &[("A", "1"), ("A", "2"), ("B", "1"), ("C", "1")]).await,
        [Replayed, Mismatch, Mismatch, Accepted]
    );

    worker.ledger.fall_silent();
    let rows = [
        (IdOrigin::Client, "C", UNAVAILABLE),
        (IdOrigin::Client, "D", UNAVAILABLE),
        (IdOrigin::Gateway, "E", Accepted),
    ];
    for (origin, id, expected) in rows {
        assert_eq!(accept_of(&worker, origin, &[(id, "1")]).await, [expected], "{id}");
    }
}

/// An intake that has vanished is declared again; one that is away is told of.
#[tokio::test]
async fn an_intake_that_is_missing_is_declared_and_one_that_is_away_is_not_waited_for() {
    let worker = worker_in_memory().await;
    worker.streams.lose(Stream::Accepted);
    assert_eq!(accept(&worker, &[("A", "1")]).await, [Acceptance::Accepted]);
    worker.streams.begin_outage_after(0);
    assert_eq!(accept(&worker, &[("B", "1")]).await, [failed(Code::Unavailable)]);
    worker.streams.end_outage();
    assert_eq!(
        accept(&worker, &[("A", "1"), ("B", "1")]).await,
        [Acceptance::Replayed, Acceptance::Accepted]
    );
}

/// A lane of ours that is full is no full intake.
#[tokio::test]
async fn a_full_lane_turns_away_for_want_of_places() {
    let Worker { streams, ledger, pipeline, traces, .. } = worker_in_memory().await;
    let (acceptor, mut tasks) = Acceptor::start(streams, ledger, pipeline, 1, traces);
    let request = |id| Request { payment: payment(id, "1"), origin: IdOrigin::Client, trace: None };
    let accept = |id| acceptor.accept(request(id));
    let answers = tokio::join!(accept("A"), accept("B"));
    let full = Acceptance::Failed(Unaccepted::TurnedAway(Shed::InFlight));
    assert_eq!(answers, (Acceptance::Accepted, full));
    tasks.detach_all();
}
