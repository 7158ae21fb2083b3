//! What is recorded of payments that are traced, and that nothing is of the others.

use super::*;
use crate::telemetry::{KeptSpan, KeptSpans};
use domain::TraceContext;

const TRACE: u128 = 0xABC;

/// The span that a delivery's header names.
fn header(seq: u64, is_sampled: bool) -> TraceContext {
    TraceContext { trace_id: TRACE + u128::from(seq), span_id: seq, is_sampled }
}

/// Deliveries of these ids, all but those that end in `-` traced.
fn traced(ids: &[&str]) -> Script {
    let mut batch = batch(&ids.iter().map(|id| (*id, 1)).collect::<Vec<_>>());
    for delivery in &mut batch {
        let is_sampled = !delivery.subject.ends_with('-');
        delivery.headers.trace = Some(header(delivery.seq, is_sampled));
    }
    Script { deliveries: [batch].into(), ..Script::default() }
}

async fn recorded(script: Script, judgement: Judgement) -> (Outcome, Vec<KeptSpan>) {
    let (traces, mut kept): (Traces, KeptSpans) = Traces::kept();
    let outcome = run_traced(PipelineConfig::default(), script, judgement, traces).await;
    (outcome, kept.ended())
}

fn named<'s>(spans: &'s [KeptSpan], name: &str) -> Vec<&'s KeptSpan> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test(start_paused = true)]
async fn each_traced_payment_has_a_span_that_says_what_became_of_it() {
    // The id, the judgement; the outcome, the refusal, whether that is an error, the hop that is told.
    let rows: [(&str, Judgement, &str, &str, bool, &str); 8] = [
        ("A", PASS, "forwarded", "", false, "screened"),
        ("no1", PASS, "rejected", "risk_rejected", false, "rejected"),
        ("wait1", PASS, "later", "", false, ""),
        ("lost1", PASS, "put_back", "", false, "accepted"),
        ("row1", PASS, "buried", "", true, "dead"),
        ("B", POISON, "buried", "", true, "dead"),
        ("bad", PASS, "buried", "", true, "dead"),
        ("A", OUTAGE, "forwarded", "", false, "screened"),
    ];
    for (id, judgement, outcome, refusal, is_error, hop) in rows {
        let (run, spans) = recorded(traced(&[id]), judgement).await;
        let at_stage = named(&spans, "risk");
        let [span] = at_stage.as_slice() else { panic!("{id}: {spans:?}") };
        assert_eq!((span.context.trace_id, span.parent), (TRACE + 1, 1), "{id}: below what sent it");
        assert_eq!(span.kind, "Consumer");
        assert_eq!(
            ["kilat.outcome", "kilat.refusal", "kilat.payment.id"].map(|name| span.attribute(name)),
            [outcome, refusal, id]
        );
        assert_eq!(span.is_error, is_error, "{id}");
        let told = named(&spans, &format!("publish {hop}"));
        assert_eq!(told.len(), usize::from(!hop.is_empty()), "{id}: {spans:?}");
        assert!(told.iter().all(|publish| publish.parent == span.context.span_id), "{id}");
        let follows: Vec<TraceContext> = run.script.traced.iter().map(|(_, trace)| *trace).collect();
        assert_eq!(follows, vec![span.context; told.len()], "{id}: what is told names the stage's span");
    }
}

#[tokio::test]
async fn a_span_says_where_its_message_came_from() {
    let mut script = traced(&["A"]);
    let delivery = &mut script.deliveries[0][0];
    delivery.attempt = 2;
    let redriven = Headers::redriven(4, Timestamp::default());
    delivery.headers = Headers { trace: delivery.headers.trace, ..redriven };
    let size = delivery.payload.len().to_string();
    let (_, spans) = recorded(script, PASS).await;
    let span = named(&spans, "risk")[0];
    for (name, value) in [
        ("messaging.system", "nats"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "PAY_ACCEPTED"),
        ("messaging.destination.template", "pay.accepted.0.*"),
        ("messaging.consumer.group.name", "risk"),
        ("messaging.message.body.size", &size),
        ("messaging.nats.stream", "PAY_ACCEPTED"),
        ("messaging.nats.sequence", "1"),
        ("kilat.delivery.attempt", "2"),
        ("kilat.redrives", "4"),
    ] {
        assert_eq!(span.attribute(name), value, "{name}");
    }
    let publish = named(&spans, "publish screened")[0];
    for (name, value) in [
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "PAY_SCREENED_0"),
        ("messaging.destination.template", "pay.screened.0.*"),
    ] {
        assert_eq!(publish.attribute(name), value, "{name}");
    }
    assert_eq!(publish.kind, "Producer");
}

#[tokio::test]
async fn a_batch_has_one_span_with_a_link_to_each_traced_payment() {
    let (_, spans) = recorded(traced(&["A", "C-", "no1", "E-"]), PASS).await;
    let batches = named(&spans, "risk batch");
    let [batch] = batches.as_slice() else { panic!("{spans:?}") };
    let mut links: Vec<TraceContext> = batch.links.clone();
    links.sort_unstable_by_key(|link| link.trace_id);
    let payments = named(&spans, "risk");
    let mut expected: Vec<TraceContext> = payments.iter().map(|span| span.context).collect();
    expected.sort_unstable_by_key(|context| context.trace_id);
    assert_eq!(links, expected);
    assert_eq!(links.iter().map(|link| link.trace_id).collect::<Vec<_>>(), [TRACE + 1, TRACE + 3]);
    assert_eq!(batch.attribute("messaging.batch.message_count"), "4");
    assert_eq!(
        (batch.context.trace_id, batch.parent),
        (TRACE + 1, links[0].span_id),
        "below the first of them"
    );
    // A full batch, too: none of its links is cut off.
    let ids: Vec<String> = (0..1_000).map(|number| format!("A{number}")).collect();
    let (_, spans) = recorded(traced(&ids.iter().map(String::as_str).collect::<Vec<_>>()), PASS).await;
    assert_eq!(named(&spans, "risk batch")[0].links.len(), 1_000);
}

#[tokio::test]
async fn nothing_is_recorded_of_payments_that_are_not_traced() {
    for mut script in [traced(&["A-", "no-", "wait-", "lost-", "B-"]), delivering(&[("A", 1), ("B", 1)])] {
        script.dead = ["A-".to_owned()].into();
        let (run, spans) = recorded(script, POISON).await;
        assert!(spans.is_empty(), "{spans:?}");
        assert!(run.script.traced.is_empty(), "and nothing that is told carries a trace");
    }
}

/// Where nobody collects, a trace passes through as it came.
#[tokio::test]
async fn a_stage_that_records_nothing_hands_the_trace_on() {
    let run = run(traced(&["A", "no1", "C-"]), PASS).await;
    let mut told: Vec<u64> = run.script.traced.iter().map(|(_, trace)| trace.span_id).collect();
    told.sort_unstable();
    assert_eq!(told, [1, 2], "what is not sampled carries nothing");
}

/// The drain begins while the batch waits out an outage.
#[tokio::test(start_paused = true)]
async fn the_spans_of_a_batch_that_is_let_go_of_end() {
    let (traces, mut kept) = Traces::kept();
    let always_away: Judgement = |_, _| Err(Fault::Outage("away".into()));
    let drain = Drain::default();
    let script = Arc::new(Mutex::new(traced(&["A"])));
    let memory = Memory { script, drain: drain.clone() };
    let (asked, times) = (Arc::default(), Arc::default());
    let stage = Scripted { judgement: always_away, asked, times };
    let metrics = StageMetrics::new(&Metrics::new(Role::Risk, true).unwrap(), StageName::Risk);
    let (clock, telemetry) = (Clock::wall(), StageTelemetry { metrics, traces });
    let pipeline = PipelineConfig::default();
    let harness =
        Harness::new(stage, memory.clone(), memory, pipeline, telemetry, clock, drain.clone()).run();
    let begin = async {
        // The clock is paused: this lets the outage go on for a while, and takes none.
        tokio::time::sleep(Duration::from_secs(5)).await;
        drain.begin();
    };
    tokio::join!(harness, begin);
    let spans = kept.ended();
    let span = named(&spans, "risk")[0];
    assert_eq!((span.attribute("kilat.outcome"), span.is_error), ("abandoned", true));
    assert_eq!(named(&spans, "risk batch").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_has_a_span_that_says_so() {
    let refused = || Err(BrokerError::Refused("too large".into()));
    // The id and what the broker answers; then each publish in its order, with its error.
    let rows: [(&str, Vec<Result<(), BrokerError>>, &[(&str, &str)]); 5] = [
        ("A", vec![Ok(())], &[("screened", "")]),
        ("A", vec![refused(), Ok(())], &[("screened", "refused"), ("screened", "")]),
        (
            "A",
            vec![refused(), refused(), refused(), Ok(())],
            &[("screened", "refused"), ("screened", "refused"), ("dead", "refused"), ("dead", "")],
        ),
        ("lost1", vec![Err(BrokerError::Full)], &[("accepted", "full")]),
        ("lost1", vec![Err(BrokerError::Conflict)], &[("accepted", "")]),
    ];
    for (id, publishes, expected) in rows {
        let script = Script { publishes: publishes.into(), ..traced(&[id]) };
        let (_, spans) = recorded(script, PASS).await;
        let told: Vec<(&str, &str)> = spans
            .iter()
            .filter(|span| span.kind == "Producer")
            .map(|span| (span.name.trim_start_matches("publish "), span.attribute("error.type")))
            .collect();
        assert_eq!(told, expected, "{id}");
    }
}

#[tokio::test]
async fn the_payment_of_a_span_is_told_by_its_id() {
    let mut script = traced(&["A"]);
    let delivery = &mut script.deliveries[0][0];
    delivery.subject = delivery.subject.replace(".A", ".acme~A");
    let (_, spans) = recorded(script, PASS).await;
    assert_eq!(named(&spans, "risk")[0].attribute("kilat.payment.id"), "A");
}
