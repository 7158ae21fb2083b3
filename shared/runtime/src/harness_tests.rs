use super::*;
use crate::memory::{Memory, Script};
use crate::telemetry::Metrics;
use domain::facts::Screening;
use domain::{StageName, Timestamp};
use std::sync::{Arc, Mutex};
use wire::message::{PaymentAccepted, PaymentScreened};

/// What the stage does with a batch of these ids.
type Judgement = fn(&[&str], u32) -> Result<(), Fault>;

/// Passes every payment on, unless its judgement objects.
struct Scripted {
    judgement: Judgement,
    /// The ids of each batch that it was asked about.
    asked: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Stage for Scripted {
    const NAME: StageName = StageName::Risk;
    type In = PaymentAccepted;
    type Out = PaymentScreened;

    async fn advance(&self, batch: &[Input<PaymentAccepted>]) -> Result<Vec<Verdict>, Fault> {
        let ids: Vec<&str> = batch.iter().map(|input| input.message.payment.id.as_str()).collect();
        let times = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(ids.iter().map(|id| (*id).to_owned()).collect());
            u32::try_from(asked.len()).unwrap()
        };
        (self.judgement)(&ids, times)?;
        let pass = |input: &Input<PaymentAccepted>| {
            let PaymentAccepted { payment, fingerprint } = input.message.clone();
            let screening = Screening { score: 0, at: Timestamp::default() };
            Verdict::emit(PaymentScreened { payment, fingerprint, accepted_seq: input.seq, accepted_at: input.accepted_at, screening })
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

/// Deliveries of these ids, numbered from 1, at their so manieth attempt. `junk` is not a message; `other` is about another payment.
fn batch(ids: &[(&str, u64)]) -> Vec<Delivery<u64>> {
    let deliver = |(place, (id, attempt)): (usize, &(&str, u64))| Delivery {
        subject: format!("pay.accepted.0.{id}"),
        payload: match *id {
            "junk" => b"junk".to_vec().into(),
            "other" => message("A").into(),
            id => message(id).into(),
        },
        seq: place as u64 + 1,
        stored_at: Timestamp::default(),
        first_accepted_at: None,
        attempt: *attempt,
        receipt: place as u64 + 1,
    };
    ids.iter().enumerate().map(deliver).collect()
}

/// What is left of a run.
struct Outcome {
    script: Script,
    asked: Vec<Vec<String>>,
}

async fn run(script: Script, judgement: Judgement) -> Outcome {
    let drain = Drain::default();
    let memory = Memory { script: Arc::new(Mutex::new(script)), drain: drain.clone() };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stage = Scripted { judgement, asked: asked.clone() };
    let metrics = Metrics::new().unwrap().stage(StageName::Risk, 0);
    Harness::new(stage, memory.clone(), memory.clone(), PipelineConfig::default(), metrics, drain).run().await;
    let script = std::mem::take(&mut *memory.script.lock().unwrap());
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    Outcome { script, asked }
}

fn delivering(ids: &[(&str, u64)]) -> Script {
    Script { deliveries: [batch(ids)].into(), ..Script::default() }
}

const PASS: Judgement = |_, _| Ok(());
const POISON: Judgement = |ids, _| if ids.contains(&"B") { Err(Fault::Unexpected("poison".into())) } else { Ok(()) };
const PANIC: Judgement = |ids, _| if ids.contains(&"B") { panic!("poison") } else { Ok(()) };
const OUTAGE: Judgement = |_, times| if times <= 8 { Err(Fault::Outage("away".into())) } else { Ok(()) };

/// A run's row: its name, the deliveries, the judgement, and expected: the batches asked, the ids stored in each batch,
/// receipts acknowledged in order, and the ids buried with their reasons.
type Row<'r> = (&'r str, &'r [(&'r str, u64)], Judgement, &'r [&'r [&'r str]], &'r [&'r [&'r str]], &'r [u64], &'r [(&'r str, &'r str)]);

#[tokio::test(start_paused = true)]
async fn deliveries_are_judged_together_alone_or_buried() {
    const JUNK: &str = "undecodable message: expected value at line 1 column 1";
    const OTHER: &str = "the message is about another payment than its subject";
    let rows: [Row; 7] = [
        ("a batch is one publish", &[("A", 1), ("B", 1), ("C", 2)], PASS, &[&["A", "B", "C"]], &[&["A", "B", "C"]], &[1, 2, 3], &[]),
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
        ("what is no message is buried", &[("junk", 1), ("A", 1)], PASS, &[&["A"]], &[&["dead junk"], &["A"]], &[1, 2], &[("junk", JUNK)]),
        ("nor is a message under a wrong subject one", &[("other", 1)], PASS, &[], &[&["dead other"]], &[1], &[("other", OTHER)]),
        ("an outage buries nothing", &[("A", 2), ("B", 2)], OUTAGE, &[&["A", "B"] as &[&str]; 9], &[&["A", "B"]], &[1, 2], &[]),
    ];
    for (name, ids, judgement, asked, stored, acknowledged, buried) in rows {
        let outcome = run(delivering(ids), judgement).await;
        assert_eq!(outcome.asked, asked, "{name}: asked");
        let short = |subject: &String| subject.replace("pay.screened.0.", "").replace("pay.dead.risk.", "dead ");
        let published: Vec<Vec<String>> = outcome.script.published.iter().map(|batch| batch.iter().map(short).collect()).collect();
        assert_eq!(published, stored, "{name}: stored");
        assert_eq!(outcome.script.acknowledged, acknowledged, "{name}: acknowledged");
        let dead: Vec<(&str, &str)> = outcome.script.buried.iter().map(|burial| (burial.token.as_str(), burial.reason.as_str())).collect();
        assert_eq!(dead, buried, "{name}: buried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_tried_until_it_is_stored_and_only_then_acknowledged() {
    let unknown = || BrokerError::Unknown("no answer".into());
    let script = Script { publishes: [BrokerError::Full, BrokerError::Missing, unknown(), unknown()].into(), ..delivering(&[("A", 1)]) };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.asked.len(), 1, "the verdict stands while its publish is tried");
    assert_eq!((outcome.script.published.len(), outcome.script.declared), (1, 1));
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lets_go_of_what_was_fetched_ahead_and_keeps_what_is_in_hand() {
    let away: Judgement = |_, times| if times <= 40 { Err(Fault::Outage("away".into())) } else { Ok(()) };
    let outcome = run(delivering(&[("A", 1)]), away).await;
    // 40 pauses that double from 20 ms up to 2 s are over a minute; the deliveries are kept every 10 s of it.
    assert!(outcome.script.closed >= 40, "{} closes", outcome.script.closed);
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_acknowledged_unjudged_and_burial_waits_out_an_outage() {
    let script = Script { dead: ["A".to_owned()].into(), burial_outages: 3, ..delivering(&[("A", 1), ("junk", 1)]) };
    let outcome = run(script, PASS).await;
    assert!(outcome.asked.is_empty());
    assert_eq!(outcome.script.acknowledged, [1, 2]);
    assert_eq!(outcome.script.buried.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn long_work_keeps_its_deliveries() {
    let script = Script { publishes: std::iter::repeat_n(BrokerError::Full, 60).collect(), ..delivering(&[("A", 1)]) };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.script.acknowledged, [1]);
    // A pause is at most 2 s, shorter than the 10 s between two keeps: what keeps is the whole wait, not one pause of it.
    assert!(outcome.script.kept >= 8, "kept {} times", outcome.script.kept);
}
