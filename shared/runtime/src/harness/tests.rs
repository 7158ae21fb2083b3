mod burying;
mod spans;
mod waiting;

use super::*;
use crate::broker::BrokerError;
use crate::dead_letters::BurialError;
use crate::memory::{Memory, Script};
use crate::stage::PutBack;
use crate::telemetry::Metrics;
use domain::facts::{RecordState, Rejection, Screening};
use domain::{Facts, PaymentRecord, Refusal, StageName, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use wire::Role;
use wire::envelope;
use wire::header::Headers;
use wire::message::{PaymentAccepted, PaymentRejected, PaymentScreened};

/// What the stage does with a batch of these ids.
type Judgement = fn(&[&str], u32) -> Result<(), Fault>;

/// Passes every payment on, unless its judgement objects; but `wait...` must wait, `lost...` is not in the
/// ledger, `no...` is refused, and `row...` is told from a row that risk cannot have.
struct Scripted {
    judgement: Judgement,
    /// The ids of each batch that it was asked about.
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    /// The times that it was told.
    times: Arc<Mutex<Vec<i64>>>,
}

impl Stage for Scripted {
    const NAME: StageName = StageName::Risk;
    type In = PaymentAccepted;
    type Out = PaymentScreened;

    async fn advance(
        &self,
        batch: &[Input<PaymentAccepted>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentScreened>>, Fault> {
        let ids: Vec<&str> = batch.iter().map(|input| input.message.payment.id.as_str()).collect();
        let times = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(ids.iter().map(|id| (*id).to_owned()).collect());
            u32::try_from(asked.len()).unwrap()
        };
        self.times.lock().unwrap().push(now.micros());
        (self.judgement)(&ids, times)?;
        let pass = |input: &Input<PaymentAccepted>| {
            let PaymentAccepted { payment, fingerprint } = input.message.clone();
            let id = payment.id.to_string();
            let facts =
                Facts { payment, fingerprint, accepted_seq: input.seq, accepted_at: input.accepted_at };
            let rejection = Rejection {
                stage: StageName::Risk,
                reason: Refusal::RiskRejected,
                rules: Vec::new(),
                at: now,
            };
            match id.trim_end_matches(|last: char| last.is_ascii_digit()) {
                "wait" => Verdict::Later("a test"),
                "lost" => Verdict::PutBack(Box::new(PutBack {
                    accepted: input.message.clone(),
                    accepted_at: input.accepted_at,
                })),
                "no" => Verdict::Reject(Box::new(PaymentRejected {
                    facts,
                    screening: None,
                    quote: None,
                    rejection,
                })),
                "row" => {
                    let state = RecordState::Failed {
                        screening: None,
                        quote: None,
                        reserved_at: None,
                        rejection,
                        finished_at: now,
                    };
                    Verdict::Retell(Box::new(PaymentRecord { facts, state, trace: None }))
                }
                _ => Verdict::Forward(PaymentScreened { facts, screening: Screening { score: 0, at: now } }),
            }
        };
        Ok(batch.iter().map(pass).collect())
    }
}

fn message(id: &str) -> Vec<u8> {
    let payment: domain::Payment = serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": id, "source_account": "A", "destination_account": "B", "amount": {"currency": "USD", "value": "1.00"}
    }))
    .unwrap();
    let fingerprint = payment.fingerprint();
    envelope::encode(&PaymentAccepted { payment, fingerprint }).unwrap()
}

/// Deliveries of these ids, numbered from 1, at their so manieth attempt. `junk` and `bad...` are
/// no messages, `newer...` is one of a newer version, `other` is about another payment.
fn batch(ids: &[(&str, u64)]) -> Vec<Delivery<u64>> {
    let deliver = |(place, (id, attempt)): (usize, &(&str, u64))| Delivery {
        subject: format!("pay.accepted.0.{id}"),
        payload: match *id {
            "junk" => b"junk".to_vec().into(),
            "other" => message("A").into(),
            id if id.starts_with("newer") => b"{\"v\":2}".to_vec().into(),
            id if id.starts_with("bad") || domain::PaymentId::parse(id).is_err() => b"bad".to_vec().into(),
            id => message(id).into(),
        },
        seq: place as u64 + 1,
        stored_at: Timestamp::default(),
        headers: Headers::default(),
        attempt: *attempt,
        receipt: place as u64 + 1,
    };
    ids.iter().enumerate().map(deliver).collect()
}

/// What is left of a run.
struct Outcome {
    script: Script,
    asked: Vec<Vec<String>>,
    times: Vec<i64>,
}

async fn run(script: Script, judgement: Judgement) -> Outcome {
    run_with(PipelineConfig::default(), script, judgement).await
}

async fn run_with(pipeline: PipelineConfig, script: Script, judgement: Judgement) -> Outcome {
    run_traced(pipeline, script, judgement, Traces::inert()).await
}

async fn run_traced(
    pipeline: PipelineConfig,
    script: Script,
    judgement: Judgement,
    traces: Traces,
) -> Outcome {
    let drain = Drain::default();
    let memory = Memory { script: Arc::new(Mutex::new(script)), drain: drain.clone() };
    let (asked, times) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let stage = Scripted { judgement, asked: asked.clone(), times: times.clone() };
    let shown = AtomicI64::new(0);
    let clock = Clock::new(move || Timestamp::from_micros(shown.fetch_add(1, Ordering::Relaxed)));
    let metrics = StageMetrics::new(&Metrics::new(Role::Risk, true).unwrap(), StageName::Risk);
    let telemetry = StageTelemetry { metrics, traces };
    Harness::new(stage, memory.clone(), memory.clone(), pipeline, telemetry, clock, drain).run().await;
    let script = std::mem::take(&mut *memory.script.lock().unwrap());
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let times = std::mem::take(&mut *times.lock().unwrap());
    Outcome { script, asked, times }
}

fn delivering(ids: &[(&str, u64)]) -> Script {
    Script { deliveries: [batch(ids)].into(), ..Script::default() }
}

const PASS: Judgement = |_, _| Ok(());
const POISON: Judgement =
    |ids, _| if ids.contains(&"B") { Err(Fault::Unexpected("poison".into())) } else { Ok(()) };
const PANIC: Judgement = |ids, _| if ids.contains(&"B") { panic!("poison") } else { Ok(()) };
const OUTAGE: Judgement = |_, times| if times <= 8 { Err(Fault::Outage("away".into())) } else { Ok(()) };

/// A run's row: its name, the deliveries, the judgement, and expected: the batches asked, the ids stored in
/// each batch, receipts acknowledged in order, and the ids buried with their reasons.
type Row<'r> = (
    &'r str,
    &'r [(&'r str, u64)],
    Judgement,
    &'r [&'r [&'r str]],
    &'r [&'r [&'r str]],
    &'r [u64],
    &'r [(&'r str, &'r str)],
);

#[tokio::test(start_paused = true)]
async fn deliveries_are_judged_together_alone_or_buried() {
    let rows: [Row; 4] = [
        (
            "a batch is one publish",
            &[("A", 1), ("B", 1), ("C", 2)],
            PASS,
            &[&["A", "B", "C"]],
            &[&["A", "B", "C"]],
            &[1, 2, 3],
            &[],
        ),
        (
            "from the third delivery on alone",
            &[("A", 1), ("B", 3), ("C", 9)],
            PASS,
            &[&["A"], &["B"], &["C"]],
            &[&["A"], &["B"], &["C"]],
            &[1, 2, 3],
            &[],
        ),
        (
            "poison harms only itself",
            &[("A", 1), ("B", 1), ("C", 1)],
            POISON,
            &[&["A", "B", "C"], &["A"], &["B"], &["C"]],
            &[&["A"], &["dead B"], &["C"]],
            &[1, 2, 3],
            &[("B", "poison")],
        ),
        (
            "a panic is a fault",
            &[("A", 1), ("B", 1)],
            PANIC,
            &[&["A", "B"], &["A"], &["B"]],
            &[&["A"], &["dead B"]],
            &[1, 2],
            &[("B", "the stage panicked")],
        ),
    ];
    check(&rows).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_buried_and_the_rest_goes_its_way() {
    const JUNK: &str = "undecodable message: expected value at line 1 column 1";
    const OTHER: &str = "the message is about another payment than its subject";
    let rows: [Row; 4] = [
        (
            "what is no message is buried",
            &[("junk", 1), ("A", 1)],
            PASS,
            &[&["A"]],
            &[&["dead junk"], &["A"]],
            &[1, 2],
            &[("junk", JUNK)],
        ),
        (
            "nor is a message under a wrong subject one",
            &[("other", 1)],
            PASS,
            &[],
            &[&["dead other"]],
            &[1],
            &[("other", OTHER)],
        ),
        (
            "what is refused goes its way, and no row is told by who has none",
            &[("A", 1), ("no", 1), ("row", 1)],
            PASS,
            &[&["A", "no", "row"]],
            &[&["A"], &["rejected no"], &["dead row"]],
            &[1, 2, 3],
            &[("row", "its row is one that risk cannot meet")],
        ),
        (
            "an outage buries nothing",
            &[("A", 2), ("B", 2)],
            OUTAGE,
            &[&["A", "B"] as &[&str]; 9],
            &[&["A", "B"]],
            &[1, 2],
            &[],
        ),
    ];
    check(&rows).await;
}

async fn check(rows: &[Row<'_>]) {
    for (name, ids, judgement, asked, stored, acknowledged, buried) in rows {
        let outcome = run(delivering(ids), *judgement).await;
        assert_eq!(outcome.asked, *asked, "{name}: asked");
        assert_eq!(published(&outcome), *stored, "{name}: stored");
        assert_eq!(outcome.script.acknowledged, *acknowledged, "{name}: acknowledged");
        let letters =
            outcome.script.buried.iter().map(|letter| (letter.token.as_str(), letter.reason.as_str()));
        assert_eq!(letters.collect::<Vec<_>>(), *buried, "{name}: buried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_tried_until_it_is_stored_and_only_then_acknowledged() {
    let unknown = || BrokerError::Unknown("no answer".into());
    let script = Script {
        publishes: [BrokerError::Full, BrokerError::Missing, unknown(), unknown()].map(Err).into(),
        ..delivering(&[("A", 1)])
    };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.asked.len(), 1, "the verdict stands while its publish is tried");
    assert_eq!(
        (outcome.script.published.len(), outcome.script.declared, outcome.script.made_room),
        (1, 1, 1)
    );
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lets_go_of_what_was_fetched_ahead_and_keeps_what_is_in_hand() {
    let away: Judgement = |_, times| if times <= 40 { Err(Fault::Outage("away".into())) } else { Ok(()) };
    let outcome = run(delivering(&[("A", 1)]), away).await;
    // 40 pauses that double from 20 ms up to 2 s are over a minute; the deliveries are kept every second of it.
    assert!(outcome.script.closed >= 40, "{} closes", outcome.script.closed);
    assert!(
        outcome.script.kept.len() >= 60 && outcome.script.kept.iter().all(|kept| *kept == [1]),
        "{:?}",
        outcome.script.kept
    );
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_acknowledged_unjudged_and_burial_waits_out_an_outage() {
    let away = || BurialError::Outage("the ledger is away".into());
    let script = Script {
        dead: ["A".to_owned()].into(),
        burials: [away(), away(), away()].into(),
        ..delivering(&[("A", 1), ("junk", 1)])
    };
    let outcome = run(script, PASS).await;
    assert!(outcome.asked.is_empty());
    assert_eq!(outcome.script.acknowledged, [1, 2]);
    assert_eq!(outcome.script.buried.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn long_work_keeps_its_deliveries() {
    let script = Script {
        publishes: std::iter::repeat_n(Err(BrokerError::Full), 60).collect(),
        ..delivering(&[("A", 1)])
    };
    let outcome =
        run_with(PipelineConfig { retry_ms_max: 500, ..PipelineConfig::default() }, script, PASS).await;
    assert_eq!(outcome.script.acknowledged, [1]);
    // A pause is at most half a second, shorter than the second between two keeps: what keeps is the whole wait,
    // not one pause of it.
    assert!(outcome.script.kept.len() >= 25, "kept {} times", outcome.script.kept.len());
}

#[tokio::test(start_paused = true)]
async fn what_the_drain_finds_undone_is_given_back() {
    // How the publish ends that the drain begins with; what is acknowledged, and what is given back.
    let rows: [(Result<(), BrokerError>, &[u64], &[u64]); 2] =
        [(Ok(()), &[1, 2], &[]), (Err(BrokerError::Full), &[], &[1, 2])];
    for (publish, acknowledged, given_back) in rows {
        let about = format!("{publish:?}");
        let script = Script {
            publishes: [publish].into(),
            drains_at_publish: true,
            ..delivering(&[("A", 1), ("B", 1)])
        };
        let outcome = run(script, PASS).await;
        let found = (&*outcome.script.acknowledged, &*outcome.script.given_back);
        assert_eq!(found, (acknowledged, given_back), "{about}");
    }
}

/// Subjects as the rows name them.
fn short(subject: &str) -> String {
    subject
        .replace("pay.screened.0.", "")
        .replace("pay.rejected.0.", "rejected ")
        .replace("pay.dead.risk.", "dead ")
}

fn published(outcome: &Outcome) -> Vec<Vec<String>> {
    outcome
        .script
        .published
        .iter()
        .map(|batch| batch.iter().map(|subject| short(subject)).collect())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_told_the_time_by_the_clock_that_was_handed_in() {
    let outcome = run(delivering(&[("A", 1), ("B", 1)]), OUTAGE).await;
    assert_eq!(outcome.times, (0..9).collect::<Vec<_>>());
}
