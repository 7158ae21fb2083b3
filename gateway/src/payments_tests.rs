use super::*;
use crate::memory_ledger::MemoryLedger;
use domain::Tenant;
use runtime::broker::MemoryStreams;
use runtime::config::{Config, GatewayConfig, StackConfig};
use runtime::telemetry::{Metrics, Traces};
use wire::Role;

/// What payments on memory work with, where so many requests may be in flight; one may wait.
pub(crate) async fn parts<'p>(
    config: &'p mut Config,
    metrics: &'p Metrics,
    in_flight_max: usize,
) -> BorderParts<'p, MemoryStreams, MemoryLedger> {
    config.gateway = GatewayConfig {
        requests_per_second_max: 1_000,
        in_flight_max,
        waiters_max: 1,
        ..GatewayConfig::default()
    };
    let (streams, ledger) = (MemoryStreams::default(), MemoryLedger::default());
    streams.declare_all(&config.pipeline).await.unwrap();
    BorderParts {
        streams,
        look_ups: ledger.clone(),
        reads: ledger,
        config,
        fresh_id: Arc::new(|| "fresh".to_owned()),
        metrics,
        traces: Traces::inert(),
        drain: Drain::default(),
    }
}

/// Payments on memory, with so many requests in flight at most; one request may wait.
pub(crate) async fn payments(in_flight_max: usize) -> Payments<MemoryStreams, MemoryLedger> {
    let mut config = Config::on(StackConfig::shifted(0));
    let metrics = Metrics::new(Role::Gateway, true).unwrap();
    let (payments, mut tasks) = Payments::start(parts(&mut config, &metrics, in_flight_max).await);
    tasks.detach_all();
    payments
}

fn caller(tenant: &str) -> Caller {
    Caller { tenant: Tenant::parse(tenant).unwrap() }
}

fn request(id: Option<&str>, amount: &str) -> PaymentRequest {
    let body = serde_json::json!({ "id": id, "source_account": "S", "destination_account": "D", "amount": amount, "currency": "USD" });
    PaymentRequest::of_json(body.to_string().as_bytes(), None).unwrap()
}

#[tokio::test]
async fn a_request_is_accepted_once_for_its_caller() {
    let payments = payments(8).await;
    // Who asks, for which id and amount; the id that is told, and whether it was told before.
    let rows = [
        ("default", Some("P"), "1", Ok(("P", false))),
        ("default", Some("P"), "1.00", Ok(("P", true))),
        ("default", Some("P"), "2", Err(Code::IdempotencyMismatch)),
        ("acme", Some("P"), "2", Ok(("P", false))),
        ("acme", Some("P"), "2", Ok(("P", true))),
        ("acme", Some("P"), "1", Err(Code::IdempotencyMismatch)),
        ("default", Some("a b"), "1", Err(Code::InvalidId)),
        ("default", None, "1", Ok(("fresh", false))),
    ];
    for (tenant, id, amount, expected) in rows {
        let answer = payments.submit(&caller(tenant), request(id, amount), None).await;
        let found = answer
            .map(|submitted| (submitted.view.id().to_owned(), submitted.is_replayed))
            .map_err(|problem| problem.code);
        assert_eq!(
            found,
            expected.map(|(id, is_replayed)| (id.to_owned(), is_replayed)),
            "{tenant}, {id:?}, {amount}"
        );
    }
    for (tenant, is_there) in [("default", true), ("acme", true), ("other", false)] {
        let found = payments.present(&caller(tenant).payment(PaymentId::parse("P").unwrap())).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{tenant}");
    }
}

/// Those whose ids must be looked up are turned away by name, and ids of ours still get in.
#[tokio::test]
async fn who_finds_no_room_is_told_which_payment_to_retry() {
    let payments = payments(4).await;
    let waiting: Vec<_> = std::iter::from_fn(|| payments.admission.enter_for_the_ledger().ok()).collect();
    for (id, expected) in [(Some("P"), Err((Code::Overloaded, Some("P".to_owned())))), (None, Ok(false))] {
        let answer = payments.submit(&Caller::default(), request(id, "1"), None).await;
        assert_eq!(
            answer.map(|submitted| submitted.is_replayed).map_err(|problem| (problem.code, problem.id)),
            expected,
            "{id:?}"
        );
    }
    drop(waiting);
    assert_eq!(
        payments
            .submit(&Caller::default(), request(Some("P"), "1"), None)
            .await
            .map(|submitted| submitted.is_replayed),
        Ok(false)
    );
}
