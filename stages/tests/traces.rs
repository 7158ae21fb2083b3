//! One payment is one trace, over every process that it passes, whatever happens on its way; and what is not
//! traced leaves no trace at all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::processes::{self, Process};
use common::tree::Tree;
use common::{System, payment, until};
use devstack::testing::{TestCollector, TestPort};
use devstack::traces::{Kind, Span, Status};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use wire::Role;

/// The client's own span, the parent of all of ours.
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// The way of a payment that is captured.
const WAY: [&str; 6] = ["POST /payments", "publish accepted", "risk", "fx", "reserve", "settle"];

/// Every role in a process of its own, all sending their spans to one collector.
struct Processes {
    system: System,
    collector: TestCollector,
    running: BTreeMap<Role, Process>,
}

impl Processes {
    async fn start() -> Processes {
        let collector = TestCollector::start().await;
        let endpoint = format!("telemetry.otlp_endpoint={}", collector.endpoint());
        let system = System::prepare(&[&endpoint, "telemetry.sample_ratio=0"]).await;
        let mut processes = Processes { system, collector, running: BTreeMap::new() };
        for role in Role::ALL {
            processes.launch(role);
        }
        for role in Role::ALL {
            processes::ready(&processes.system, role).await;
        }
        processes.system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
        processes
    }

    fn launch(&mut self, role: Role) {
        let further = [
            format!("telemetry.otlp_endpoint={}", self.system.config.telemetry.otlp_endpoint),
            "telemetry.sample_ratio=0".to_owned(),
        ];
        let settings = processes::settings(&self.system, &further);
        let process = match role {
            Role::Gateway => Process::gateway(&settings),
            role => Process::stages(role.as_str(), &settings),
        };
        self.running.insert(role, process);
    }

    async fn restart(&mut self, role: Role) {
        self.launch(role);
        processes::ready(&self.system, role).await;
    }

    /// Posts a payment whose client traces it; answers with the trace.
    async fn post(&self, id: &str, number: u128) -> String {
        let trace_id = format!("{number:032x}");
        let traceparent = format!("00-{trace_id}-{CLIENT_SPAN}-01");
        let headers = [("traceparent", traceparent.as_str()), ("x-request-id", id)];
        let answer =
            self.system.client().post_with("/payments", &headers, &payment(id, "S", "D", "USD", "1")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        trace_id
    }

    /// Waits for the payment's end, and for its trace.
    async fn trace(&self, id: &str, trace_id: &str) -> Tree {
        let ended = self.system.ended(id).await;
        assert_eq!((&ended["status"], &ended["trace_id"]), (&"CAPTURED".into(), &trace_id.into()));
        let is_whole = |spans: &[Span]| {
            let tree = Tree::of(spans, trace_id);
            WAY.iter().chain(&["publish finished"]).all(|name| !tree.named(name).is_empty())
        };
        Tree::of(&self.collector.until(is_whole).await, trace_id)
    }

    /// Waits until a stream holds the payment's message, and empties it.
    async fn lose(&self, stream: &str, subject: &str) {
        let stream = self.system.jetstream().await.get_stream(stream).await.unwrap();
        until("the message is there", || async {
            stream.get_last_raw_message_by_subject(subject).await.is_ok()
        })
        .await;
        stream.purge().await.unwrap();
    }
}

/// Not a test: the gateway of the others, in the process that they start for it.
#[test]
#[ignore = "other tests start it"]
fn plays_the_gateway() {
    processes::play_the_gateway();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_one_trace_over_all_processes() {
    let mut processes = Processes::start().await;
    a_plain_payment(&processes).await;
    a_payment_that_is_driven_again(&mut processes).await;
    a_payment_that_is_emitted_again(&mut processes).await;
}

async fn a_plain_payment(processes: &Processes) {
    let trace_id = processes.post("PLAIN", 1).await;
    let tree = processes.trace("PLAIN", &trace_id).await;
    assert_eq!(tree.path(tree.only("publish finished")), [&WAY[..], &["publish finished"]].concat());
    assert_eq!(tree.only(WAY[0]).parent_span_id.as_deref(), Some(CLIENT_SPAN), "below the client's span");
    for (name, service, kind) in [
        ("POST /payments", "gateway", Kind::Server),
        ("publish accepted", "gateway", Kind::Producer),
        ("risk", "risk", Kind::Consumer),
        ("publish screened", "risk", Kind::Producer),
        ("fx", "fx", Kind::Consumer),
        ("ledger account_currencies", "fx", Kind::Client),
        ("publish quoted", "fx", Kind::Producer),
        ("reserve", "reserve", Kind::Consumer),
        ("ledger reserve", "reserve", Kind::Client),
        ("publish reserved", "reserve", Kind::Producer),
        ("settle", "settle", Kind::Consumer),
        ("ledger settle", "settle", Kind::Client),
        ("publish finished", "settle", Kind::Producer),
    ] {
        let span = tree.only(name);
        assert_eq!((span.service.as_str(), span.kind, span.status), (service, kind, Status::Unset), "{name}");
        assert_eq!(span.resource["service.namespace"], "kilat");
        if kind != Kind::Consumer && name != WAY[0] && name != WAY[1] {
            assert_eq!(tree.path(span)[tree.path(span).len() - 2], service, "{name} is the stage's");
        }
    }
    for (name, attribute, value) in [
        ("POST /payments", "http.request.method", "POST".into()),
        ("POST /payments", "http.route", "/payments".into()),
        ("POST /payments", "http.response.status_code", 202.into()),
        ("POST /payments", "kilat.request.id", "PLAIN".into()),
        ("POST /payments", "kilat.payment.id", "PLAIN".into()),
        ("POST /payments", "kilat.outcome", "accepted".into()),
        ("publish accepted", "messaging.system", "nats".into()),
        ("publish accepted", "messaging.destination.name", "PAY_ACCEPTED".into()),
        ("publish accepted", "kilat.payment.id", "PLAIN".into()),
        ("risk", "messaging.operation.type", "process".into()),
        ("risk", "messaging.consumer.group.name", "risk".into()),
        ("risk", "kilat.delivery.attempt", 1.into()),
        ("risk", "kilat.outcome", "forwarded".into()),
        ("fx", "kilat.outcome", "forwarded".into()),
        ("reserve", "kilat.outcome", "forwarded".into()),
        ("settle", "kilat.outcome", "captured".into()),
        ("ledger reserve", "db.system.name", "postgresql".into()),
        ("ledger reserve", "db.namespace", processes.system.database.as_str().into()),
        ("ledger settle", "db.operation.name", "settle".into()),
        ("ledger settle", "server.address", "127.0.0.1".into()),
    ] {
        assert_eq!(tree.only(name).attributes.get(attribute), Some(&value), "{name} {attribute}");
    }
    let spans = processes.collector.until(|spans| linked(spans, &trace_id).len() == 5).await;
    let batches = ["fx batch", "publish accepted batch", "reserve batch", "risk batch", "settle batch"];
    assert_eq!(linked(&spans, &trace_id), batches.into(), "each batch names the payment that it held");
    let row = processes.system.sql("SELECT traceparent FROM payments WHERE id = 'PLAIN'").await;
    assert_eq!(row, format!("00-{trace_id}-{}-01", tree.only("reserve").span_id));
}

/// The names of the spans that have a link into this trace.
fn linked<'s>(spans: &'s [Span], trace_id: &str) -> BTreeSet<&'s str> {
    let is_linked = |span: &&Span| span.links.iter().any(|link| link.trace_id == trace_id);
    spans.iter().filter(is_linked).map(|span| span.name.as_str()).collect()
}

/// Its message is lost before fx, so the janitor publishes what the intake has once more.
async fn a_payment_that_is_driven_again(processes: &mut Processes) {
    processes.running.remove(&Role::Fx);
    let trace_id = processes.post("REDRIVEN", 2).await;
    processes.lose("PAY_SCREENED_0", "pay.screened.0.REDRIVEN").await;
    let shown = processes.system.client().get("/payments/REDRIVEN").await.unwrap().body;
    assert_eq!((&shown["status"], &shown["trace_id"]), (&"PENDING".into(), &trace_id.as_str().into()));
    processes.restart(Role::Fx).await;
    let tree = processes.trace("REDRIVEN", &trace_id).await;
    assert_eq!(tree.path(tree.named("publish finished")[0]), [&WAY[..], &["publish finished"]].concat());
    let risk = tree.named("risk");
    assert!(risk.len() >= 2, "once for each copy that was delivered:\n{}", tree.drawn());
    let publish = tree.only("publish accepted");
    assert!(risk.iter().all(|span| span.parent_span_id.as_ref() == Some(&publish.span_id)));
    assert_eq!(risk[0].attributes.get("kilat.redrives"), None);
    assert_eq!(risk[1].attributes["kilat.redrives"], 1);
}

/// Its message is lost before settle, so the janitor tells what its row says.
async fn a_payment_that_is_emitted_again(processes: &mut Processes) {
    processes.running.remove(&Role::Settle);
    let trace_id = processes.post("HELD", 3).await;
    processes.lose("PAY_RESERVED_0", "pay.reserved.0.HELD").await;
    processes.restart(Role::Settle).await;
    let tree = processes.trace("HELD", &trace_id).await;
    assert_eq!(tree.path(tree.named("publish finished")[0]), [&WAY[..], &["publish finished"]].concat());
    assert_eq!(tree.named("reserve").len(), 1);
    assert!(tree.named("ledger account_currencies").is_empty(), "fx remembers the account, and asked nobody");
}

/// A system in one process, and its collector.
async fn system(ratio: &str) -> (System, TestCollector) {
    let collector = TestCollector::start().await;
    let endpoint = format!("telemetry.otlp_endpoint={}", collector.endpoint());
    let system = System::start(&[&endpoint, &format!("telemetry.sample_ratio={ratio}")]).await;
    (system, collector)
}

fn ids(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().filter_map(|span| span.text("kilat.payment.id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_are_not_traced_leave_no_span_and_carry_no_header() {
    // The ratio, and how many of 300 are traced.
    for (ratio, expected) in [("0", 0..=0), ("0.01", 0..=20), ("1", 300..=300)] {
        let (mut system, collector) = system(ratio).await;
        system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
        let client = system.client();
        let post = |number: usize| {
            let (client, body) = (client.clone(), payment(&format!("P{number}"), "S", "D", "USD", "1"));
            async move { assert_eq!(client.post("/payments", &body).await.status, 202) }
        };
        futures::stream::iter((0..300).map(post)).buffer_unordered(16).collect::<Vec<()>>().await;
        until("all are captured", || async {
            system.sql("SELECT count(*) FROM payments WHERE status = 'CAPTURED'").await == "300"
        })
        .await;
        let jetstream = system.jetstream().await;
        let mut carrying = BTreeSet::new();
        for stream in ["PAY_ACCEPTED", "PAY_SCREENED_0", "PAY_QUOTED_0", "PAY_RESERVED_0", "PAY_FINISHED"] {
            let stream = jetstream.get_stream(stream).await.unwrap();
            let state = stream.cached_info().state.clone();
            for seq in state.first_sequence..=state.last_sequence {
                let message = stream.get_raw_message(seq).await.unwrap();
                if message.headers.get("traceparent").is_some() {
                    carrying.insert(message.subject.rsplit('.').next().unwrap().to_owned());
                }
            }
        }
        // What has ended is sent before the end.
        system.stop().await;
        let spans = collector.spans();
        let traced = ids(&spans);
        assert!(ratio != "0" || spans.is_empty(), "{spans:?}");
        assert!(expected.contains(&traced.len()), "{} at {ratio}", traced.len());
        assert_eq!(carrying.iter().map(String::as_str).collect::<BTreeSet<_>>(), traced, "at {ratio}");
        let rows = system.sql("SELECT count(*) FROM payments WHERE traceparent IS NOT NULL").await;
        assert_eq!(rows, traced.len().to_string(), "at {ratio}");
        for id in traced {
            let requests =
                spans.iter().filter(|span| span.text("kilat.payment.id") == Some(id) && span.name == WAY[0]);
            let trace_id = requests.map(|span| span.trace_id.as_str()).next().unwrap();
            let tree = Tree::of(&spans, trace_id);
            let path = tree.path(tree.only("publish finished"));
            assert_eq!(path, [&WAY[..], &["publish finished"]].concat(), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_asks_to_be_traced_gets_its_share() {
    const PAYMENTS: usize = 1_000;
    /// Less than a second: a span begins a moment after it was admitted, by another clock.
    const WINDOW_NS: u64 = 900_000_000;
    let (mut system, collector) = system("0").await;
    system.open(&[("S", "USD", "1000000"), ("D", "USD", "0")]).await;
    let client = system.client();
    let ask = |number: usize| {
        let client = client.clone();
        async move {
            let traceparent = format!("00-{:032x}-{CLIENT_SPAN}-01", number + 1);
            let headers = [("traceparent", traceparent.as_str())];
            let body = payment(&format!("P{number}"), "S", "D", "USD", "1");
            assert_eq!(client.post_with("/payments", &headers, &body).await.status, 202);
            // What is nothing takes no payment's place.
            let answer = client.send("GET", "/nowhere", &headers, Vec::new()).await.unwrap();
            assert_eq!(answer.status, 404);
        }
    };
    let began = Instant::now();
    futures::stream::iter((0..PAYMENTS).map(ask)).buffer_unordered(32).collect::<Vec<()>>().await;
    let seconds = began.elapsed().as_secs() as usize + 1;
    until("all have ended", || async {
        let count = system.sql("SELECT count(*) FROM payments WHERE status <> 'RESERVED'").await;
        count == PAYMENTS.to_string()
    })
    .await;
    system.stop().await;
    let spans = collector.spans();
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    for span in &spans {
        let start = begun.entry(&span.trace_id).or_insert(u64::MAX);
        *start = span.start_unix_ns.min(*start);
    }
    assert!(spans.iter().any(|span| span.name == "risk batch"), "batches are in it");
    let mut starts: Vec<u64> = begun.into_values().collect();
    starts.sort_unstable();
    let share = 90..=(100 * seconds).min(PAYMENTS);
    assert!(share.contains(&starts.len()), "{} traces in {seconds} s", starts.len());
    for (place, from) in starts.iter().enumerate() {
        let within = starts[place..].iter().take_while(|start| **start - from < WINDOW_NS).count();
        assert!(within <= 100, "{within} traces within {WINDOW_NS} ns");
    }
}

/// Nobody collects: payments are none the slower for it, and what cannot be sent is counted.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_payments_go_on_and_the_drain_ends() {
    let away = TestPort::take();
    let endpoint = format!("telemetry.otlp_endpoint=http://127.0.0.1:{}", away.number());
    let mut system = System::start(&[&endpoint, "telemetry.sample_ratio=1"]).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    for number in 0..20 {
        let id = format!("P{number}");
        let answer = system.client().post("/payments", &payment(&id, "S", "D", "USD", "1")).await;
        assert_eq!(answer.status, 202);
    }
    for number in 0..20 {
        assert_eq!(system.ended(&format!("P{number}")).await["status"], "CAPTURED");
    }
    let row = r#"trace_spans_total{outcome="failed",service="settle"} "#;
    until("the spans are given up", || async {
        let page = Client::new(system.config.admin.settle).get("/metrics").await;
        let text = page.map(|page| page.text).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix(row).is_some_and(|count| count != "0"))
    })
    .await;
    // Within the patience of every drain.
    system.stop().await;
}
