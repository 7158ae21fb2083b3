use super::*;
use devstack::testing::{TestNats, TestPostgres};
use runtime::config::{self, Flags};
use std::time::Duration;
use store::StoreOptions;

/// An intake on servers of its own.
async fn intake(nats: &TestNats) -> Intake {
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
    let broker = Broker::connect(&config.nats, "test").await.unwrap();
    while broker.declare_all(&config.pipeline).await.is_err() {
        tokio::task::yield_now().await;
    }
    Intake { broker, store: Store::connect_lazily(&options).unwrap(), pipeline: config.pipeline }
}

fn payment(id: &str, amount: &str) -> Payment {
    serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": id, "source_account": "S", "destination_account": "D", "amount": {"currency": "USD", "value": amount}
    }))
    .unwrap()
}

/// Accepts these payments as one batch, and answers in their order.
async fn accept(intake: &Intake, payments: &[(&str, &str)]) -> Vec<Acceptance> {
    let (submissions, answers): (Vec<Submission>, Vec<_>) = payments
        .iter()
        .map(|(id, amount)| {
            let (answer, answered) = oneshot::channel();
            let payment = payment(id, amount);
            (Submission { fingerprint: payment.fingerprint(), payment, answer }, answered)
        })
        .unzip();
    intake.accept(Lane::Named, submissions).await;
    futures::future::join_all(answers).await.into_iter().map(Result::unwrap).collect()
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

/// A batch half of which is stored already costs at most two publishes: the refused one, and that of the rest.
#[tokio::test]
async fn a_batch_with_duplicates_costs_two_publishes() {
    let nats = TestNats::start().await;
    let intake = intake(&nats).await;
    let ids: Vec<String> = (0..512).map(|number| format!("P{number}")).collect();
    let rows = |range: std::ops::Range<usize>| ids[range].iter().map(|id| (id.as_str(), "1.00")).collect::<Vec<_>>();
    assert!(accept(&intake, &rows(0..256)).await.iter().all(|answer| *answer == Acceptance::Accepted));
    let before = received(&nats).await;
    let answers = accept(&intake, &rows(0..512)).await;
    let sent = received(&nats).await - before;
    let expected = |place: usize| if place < 256 { Acceptance::Replayed } else { Acceptance::Accepted };
    assert!(answers.iter().enumerate().all(|(place, answer)| *answer == expected(place)), "{answers:?}");
    // 512 that are refused together, one read of what is stored, 256 that are stored.
    assert_eq!(sent, 512 + 1 + 256);
    assert_eq!(intake.broker.bounds(Stream::Accepted).await.unwrap().map(|bounds| bounds.messages), Some(512));
}

/// Within one batch and over batches: the first content under an id stands, and each request is told how it compares.
#[tokio::test]
async fn the_first_content_under_an_id_stands() {
    use Acceptance::{Accepted, Mismatch, Replayed};
    let nats = TestNats::start().await;
    let intake = intake(&nats).await;
    let rows: [(&[(&str, &str)], &[Acceptance]); 4] = [
        (&[("A", "1"), ("A", "1.00"), ("A", "2"), ("B", "1")], &[Accepted, Replayed, Mismatch, Accepted]),
        (&[("A", "2"), ("A", "1"), ("C", "1")], &[Mismatch, Replayed, Accepted]),
        (&[("A", "1"), ("B", "1"), ("C", "1")], &[Replayed, Replayed, Replayed]),
        (&[("B", "9")], &[Mismatch]),
    ];
    for (payments, expected) in rows {
        assert_eq!(accept(&intake, payments).await, expected, "{payments:?}");
    }
}

/// A full intake refuses a whole batch as overload; what is stored already is still answered.
#[tokio::test]
async fn a_full_intake_is_overload() {
    let nats = TestNats::start().await;
    let mut intake = intake(&nats).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream("PAY_ACCEPTED").await.unwrap();
    intake.pipeline.accepted_messages_max = 2;
    intake.broker.declare_all(&intake.pipeline).await.unwrap();
    assert_eq!(accept(&intake, &[("A", "1"), ("B", "1")]).await, [Acceptance::Accepted; 2]);
    assert_eq!(accept(&intake, &[("C", "1"), ("D", "1")]).await, [Acceptance::Failed(Code::Overloaded); 2]);
    assert_eq!(accept(&intake, &[("C", "1")]).await, [Acceptance::Failed(Code::Overloaded)]);
    assert_eq!(accept(&intake, &[("A", "1")]).await, [Acceptance::Replayed]);
}
