use super::*;
use crate::config::{self, Flags};
use crate::telemetry::Metrics;
use devstack::testing::TestNats;
use tokio::task::JoinHandle;
use wire::Role;

/// Answers with the tenant that asks and what it asked.
struct Echo;

impl ServiceHandler for Echo {
    async fn answer(&self, _: Endpoint, calls: Vec<Call>) -> Vec<Result<Reply, Problem>> {
        let echo =
            |call: Call| format!("{} asks {}", call.caller.tenant, String::from_utf8_lossy(&call.body));
        calls.into_iter().map(|call| Ok(Reply { body: echo(call).into(), replayed: false })).collect()
    }
}

/// A broker on which [`Echo`] answers `risk.score`, until the task is ended.
async fn echoing(
    nats: &TestNats,
    metrics: &Metrics,
    traces: &Traces,
) -> (Broker, JoinHandle<Result<(), BrokerError>>) {
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&config::load(&flags).unwrap().nats, "test", None).await.unwrap();
    let (served, requests, traces) = (broker.clone(), RequestMetrics::new(metrics), traces.clone());
    let serving = async move { served.serve(&[Endpoint::Score], &Echo, &requests, &traces).await };
    (broker, tokio::spawn(serving))
}

async fn ask(
    broker: &Broker,
    tenant: &str,
    trace: Option<TraceContext>,
    traces: &Traces,
) -> Result<Reply, Problem> {
    let caller = Caller { tenant: Tenant::parse(tenant).unwrap() };
    let call = Call { caller, request_id: RequestId::fresh(), trace, body: "{}".into() };
    broker.ask(Endpoint::Score, call, Duration::from_secs(10), traces).await
}

#[tokio::test]
async fn a_traced_call_has_a_span_on_each_side() {
    let nats = TestNats::start().await;
    let (traces, mut kept) = Traces::kept();
    let (broker, serving) = echoing(&nats, &Metrics::new(Role::Risk, true).unwrap(), &traces).await;
    while ask(&broker, "default", None, &traces).await.is_err() {
        tokio::task::yield_now().await;
    }
    let parent = TraceContext { trace_id: 5, span_id: 6, is_sampled: true };
    for (trace, expected) in
        [(None, 0), (Some(TraceContext { is_sampled: false, ..parent }), 0), (Some(parent), 2)]
    {
        ask(&broker, "default", trace, &traces).await.unwrap();
        let spans = kept.ended();
        assert_eq!(spans.len(), expected, "{spans:?}");
        let Some([answering, asking]) = spans.first_chunk() else { continue };
        assert_eq!([&*answering.name, &*asking.name], ["risk.score"; 2]);
        assert_eq!([&*answering.kind, &*asking.kind], ["Server", "Client"]);
        assert_eq!([asking.parent, answering.parent], [parent.span_id, asking.context.span_id]);
        assert!(spans.iter().all(|span| !span.is_error && span.context.trace_id == parent.trace_id));
    }
    serving.abort();
}

#[tokio::test]
async fn a_call_carries_its_caller_and_a_tenant_that_cannot_be_read_is_not_answered() {
    let nats = TestNats::start().await;
    let (metrics, traces) = (Metrics::new(Role::Risk, true).unwrap(), Traces::inert());
    let (broker, serving) = echoing(&nats, &metrics, &traces).await;
    let ask = |tenant: &'static str| ask(&broker, tenant, None, &traces);
    while ask("default").await.is_err() {
        tokio::task::yield_now().await;
    }
    for tenant in ["default", "acme"] {
        assert_eq!(ask(tenant).await.unwrap().body, format!("{tenant} asks {{}}"));
    }

    // What others may send: no header at all, or a bad one.
    let client = async_nats::connect(nats.url()).await.unwrap();
    let rows = [
        (None, Ok("default asks {}")),
        (Some("acme"), Ok("acme asks {}")),
        (Some("a.b"), Err("400")),
        (Some(""), Err("400")),
    ];
    for (tenant, expected) in rows {
        let headers = tenant
            .map(|tenant| HeaderMap::from_iter([(header::TENANT.parse().unwrap(), tenant.parse().unwrap())]));
        let answer = client
            .request_with_headers("risk.score", headers.unwrap_or_default(), "{}".into())
            .await
            .unwrap();
        let code = answer
            .headers
            .as_ref()
            .and_then(|headers| headers.get(NATS_SERVICE_ERROR_CODE))
            .map(|code| code.as_str());
        let text = std::str::from_utf8(&answer.payload).unwrap();
        assert_eq!(code.map_or(Ok(text), Err), expected, "{tenant:?}");
    }
    serving.abort();

    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    for (code, status, count) in [("200", "OK", 5), ("400", "FAILED", 2)] {
        let line = format!(
            "payment_requests_total{{code=\"{code}\",method=\"NATS\",route=\"/score\",service=\"risk\",status=\"{status}\"}} "
        );
        let counted: u64 = text
            .lines()
            .find_map(|found| found.strip_prefix(&line))
            .and_then(|count| count.parse().ok())
            .unwrap();
        assert_eq!(counted, count, "{line}");
    }
}
