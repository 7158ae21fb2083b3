use super::*;
use crate::config::{self, Flags};
use crate::telemetry::Metrics;
use devstack::testing::TestNats;
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

#[tokio::test]
async fn a_call_carries_its_caller_and_a_tenant_that_cannot_be_read_is_not_answered() {
    let nats = TestNats::start().await;
    let flags = Flags { config: None, overrides: vec![format!("nats.url={}", nats.url())] };
    let broker = Broker::connect(&config::load(&flags).unwrap().nats, "test", None).await.unwrap();
    let (served, metrics) = (broker.clone(), Metrics::new(Role::Risk, true).unwrap());
    let requests = RequestMetrics::new(&metrics);
    let serving = tokio::spawn(async move { served.serve(&[Endpoint::Score], &Echo, &requests).await });
    let ask = |tenant: &str| {
        let caller = Caller { tenant: Tenant::parse(tenant).unwrap() };
        let call = Call { caller, request_id: RequestId::fresh(), body: "{}".into() };
        broker.ask(Endpoint::Score, call, Duration::from_secs(10))
    };
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
