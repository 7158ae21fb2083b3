use super::*;
use crate::dead_letters::BurialError;
use crate::memory::{Memory, Script};
use crate::telemetry::Metrics;
use domain::facts::Screening;
use domain::{Facts, StageName, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use wire::envelope;
use wire::message::{PaymentAccepted, PaymentScreened};

/// What the stage does with a batch of these ids.
type Judgement = fn(&[&str], u32) -> Result<(), Fault>;

/// Passes every payment on, unless its judgement objects; but `wait...` must wait, and `lost...` is not in the ledger.
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
            match payment.id.as_str() {
                id if id.starts_with("wait") => return Verdict::Later("a test"),
                id if id.starts_with("lost") => {
                    let accepted = PaymentAccepted { payment, fingerprint };
                    return Verdict::PutBack(Box::new(PutBack { accepted, accepted_at: input.accepted_at }));
                }
                _ => {}
            }
            let screening = Screening { score: 0, at: Timestamp::default() };
            Verdict::emit(PaymentScreened {
                facts: Facts { payment, fingerprint, accepted_seq: input.seq, accepted_at: input.accepted_at },
                screening,
            })
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
}

async fn run(script: Script, judgement: Judgement) -> Outcome {
    run_with(PipelineConfig::default(), script, judgement).await
}

async fn run_with(pipeline: PipelineConfig, script: Script, judgement: Judgement) -> Outcome {
    let drain = Drain::default();
    let memory = Memory { script: Arc::new(Mutex::new(script)), drain: drain.clone() };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stage = Scripted { judgement, asked: asked.clone() };
    let metrics = Metrics::new().unwrap().stage(StageName::Risk, 0);
    Harness::new(stage, memory.clone(), memory.clone(), pipeline, metrics, drain).run().await;
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
        assert_eq!(published(&outcome), stored, "{name}: stored");
        assert_eq!(outcome.script.acknowledged, acknowledged, "{name}: acknowledged");
        let dead: Vec<(&str, &str)> = outcome.script.buried.iter().map(|burial| (burial.token.as_str(), burial.reason.as_str())).collect();
        assert_eq!(dead, buried, "{name}: buried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_tried_until_it_is_stored_and_only_then_acknowledged() {
    let unknown = || BrokerError::Unknown("no answer".into());
    let script =
        Script { publishes: [BrokerError::Full, BrokerError::Missing, unknown(), unknown()].map(Err).into(), ..delivering(&[("A", 1)]) };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.asked.len(), 1, "the verdict stands while its publish is tried");
    assert_eq!((outcome.script.published.len(), outcome.script.declared, outcome.script.made_room), (1, 1, 1));
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lets_go_of_what_was_fetched_ahead_and_keeps_what_is_in_hand() {
    let away: Judgement = |_, times| if times <= 40 { Err(Fault::Outage("away".into())) } else { Ok(()) };
    let outcome = run(delivering(&[("A", 1)]), away).await;
    // 40 pauses that double from 20 ms up to 2 s are over a minute; the deliveries are kept every 10 s of it.
    assert!(outcome.script.closed >= 40, "{} closes", outcome.script.closed);
    assert!(outcome.script.kept.len() >= 6 && outcome.script.kept.iter().all(|kept| *kept == [1]), "{:?}", outcome.script.kept);
    assert_eq!(outcome.script.acknowledged, [1]);
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_acknowledged_unjudged_and_burial_waits_out_an_outage() {
    let away = || BurialError::Outage("the ledger is away".into());
    let script = Script { dead: ["A".to_owned()].into(), burials: [away(), away(), away()].into(), ..delivering(&[("A", 1), ("junk", 1)]) };
    let outcome = run(script, PASS).await;
    assert!(outcome.asked.is_empty());
    assert_eq!(outcome.script.acknowledged, [1, 2]);
    assert_eq!(outcome.script.buried.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn long_work_keeps_its_deliveries() {
    let script = Script { publishes: std::iter::repeat_n(Err(BrokerError::Full), 60).collect(), ..delivering(&[("A", 1)]) };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.script.acknowledged, [1]);
    // A pause is at most 2 s, shorter than the 10 s between two keeps: what keeps is the whole wait, not one pause of it.
    assert!(outcome.script.kept.len() >= 8, "kept {} times", outcome.script.kept.len());
}

/// Subjects as the rows name them.
fn short(subject: &str) -> String {
    subject.replace("pay.screened.0.", "").replace("pay.dead.risk.", "dead ")
}

fn published(outcome: &Outcome) -> Vec<Vec<String>> {
    outcome.script.published.iter().map(|batch| batch.iter().map(|subject| short(subject)).collect()).collect()
}

/// A run's row: its name, the deliveries, and expected: the batches asked, receipts acknowledged, receipts postponed, and the
/// ids buried.
type WaitingRow<'r> = (&'r str, &'r [(&'r str, u64)], &'r [&'r [&'r str]], &'r [u64], &'r [u64], &'r [&'r str]);

#[tokio::test(start_paused = true)]
async fn what_waits_for_something_of_its_own_stops_no_other() {
    let rows: [WaitingRow; 5] = [
        ("one waits", &[("A", 1), ("wait", 1), ("B", 1)], &[&["A", "wait", "B"]], &[1, 3], &[2], &[]),
        (
            "two at once, no more: the rest is let go",
            &[("wait1", 1), ("wait2", 1), ("wait3", 1)],
            &[&["wait1", "wait2", "wait3"]],
            &[3],
            &[1, 2],
            &[],
        ),
        ("a newer version waits", &[("newer", 1), ("A", 1)], &[&["A"]], &[2], &[1], &[]),
        (
            "but what names no payment is buried",
            &[("newer one", 1), ("A", 1)],
            &[&["A"]],
            &[1, 2],
            &[],
            &["invalid:newer_one:61836b96ed917e7a"],
        ),
        ("often delivered, judged alone", &[("A", 1), ("wait", 3)], &[&["A"], &["wait"]], &[1], &[2], &[]),
    ];
    for (name, ids, asked, acknowledged, postponed, buried) in rows {
        let pipeline = PipelineConfig { ack_pending_max: 8, ..PipelineConfig::default() };
        let outcome = run_with(pipeline, delivering(ids), PASS).await;
        assert_eq!(outcome.asked, asked, "{name}: asked");
        assert_eq!(outcome.script.acknowledged, acknowledged, "{name}: acknowledged");
        let expected: Vec<(u64, Duration)> = postponed.iter().map(|receipt| (*receipt, Duration::from_millis(100))).collect();
        assert_eq!(outcome.script.postponed, expected, "{name}: postponed");
        let dead: Vec<&str> = outcome.script.buried.iter().map(|burial| burial.token.as_str()).collect();
        assert_eq!(dead, buried, "{name}: buried");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_is_not_judged_alone_for_its_many_deliveries() {
    let script = Script { deliveries: (1..=4).map(|attempt| batch(&[("wait", attempt), ("A", 1)])).collect(), ..Script::default() };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.asked, [["wait", "A"]; 4]);
    let waits: Vec<u128> = outcome.script.postponed.iter().map(|(_, after)| after.as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800]);
}

/// What burials that are halted leave over has met a fault: it must not take the others with it each time it comes again.
#[tokio::test(start_paused = true)]
async fn what_met_a_fault_is_judged_alone_until_it_is_buried() {
    let bad: Vec<String> = (0..20).map(|number| format!("bad{number}")).collect();
    let first: Vec<(&str, u64)> = bad.iter().map(|id| (id.as_str(), 1)).chain([("B", 1), ("A", 1)]).collect();
    let script = Script { deliveries: [batch(&first), batch(&first[20..])].into(), ..Script::default() };
    // The second batch has other sequences than the first: B is number 21.
    let mut script = script;
    for (place, delivery) in script.deliveries[1].iter_mut().enumerate() {
        (delivery.seq, delivery.receipt, delivery.attempt) = (21 + place as u64, 21 + place as u64, 2);
    }
    let outcome = run(script, POISON).await;
    assert_eq!(outcome.asked, [vec!["B", "A"], vec!["B"], vec!["A"], vec!["A"], vec!["B"]]);
    assert_eq!(outcome.script.postponed.iter().map(|(receipt, _)| *receipt).collect::<Vec<_>>(), [21, 21]);
}

/// Let go, a payment that the ledger has lost would be lost for good.
#[tokio::test(start_paused = true)]
async fn what_the_intake_has_no_room_for_is_never_let_go() {
    let full = || Err(BrokerError::Full);
    let pipeline = PipelineConfig { ack_pending_max: 8, ..PipelineConfig::default() };
    let script = Script { publishes: [full(), full(), full()].into(), ..delivering(&[("lost1", 1), ("lost2", 1), ("lost3", 1)]) };
    let outcome = run_with(pipeline, script, PASS).await;
    assert_eq!((outcome.script.postponed.len(), outcome.script.acknowledged), (2, vec![3]));
    let letters: Vec<&str> = outcome.script.buried.iter().map(|letter| letter.token.as_str()).collect();
    assert_eq!(letters, ["lost3"]);
}

#[tokio::test(start_paused = true)]
async fn many_burials_are_halted_while_all_others_go_on() {
    let bad: Vec<String> = (0..30).map(|number| format!("bad{number}")).collect();
    let mut ids: Vec<(&str, u64)> = bad.iter().map(|id| (id.as_str(), 1)).collect();
    ids.extend([("no payment", 1), ("A", 1)]);
    let script = Script { deliveries: [batch(&ids)].into(), ..Script::default() };
    let outcome = run(script, PASS).await;
    assert_eq!((outcome.script.buried.len(), outcome.script.postponed.len()), (21, 10));
    assert!(outcome.script.buried.iter().any(|burial| burial.token.starts_with("invalid:no_payment:")), "it is nobody's payment");
    assert_eq!(published(&outcome).last().unwrap(), &["A"]);
    assert_eq!(outcome.script.acknowledged.len(), 22);
}

#[tokio::test(start_paused = true)]
async fn burial_does_not_fail_on_what_is_buried() {
    let objection = || BurialError::Objection("too odd".into());
    let refused = || Err(BrokerError::Refused("too large".into()));
    // How the ledger and the stream of the dead answer; whether the letter keeps the message, and how many times it is published.
    let rows = [
        (vec![], vec![], true, 1, 1),
        (vec![objection()], vec![], false, 1, 1),
        (vec![objection(), objection()], vec![], false, 0, 1),
        (vec![], vec![refused()], true, 1, 1),
        (vec![], vec![refused(), refused()], true, 1, 0),
    ];
    for (burials, publishes, keeps, letters, published) in rows {
        let about = format!("{burials:?} {publishes:?}");
        let script = Script { burials: burials.into(), publishes: publishes.into(), ..delivering(&[("nul\0\r\n", 1)]) };
        let outcome = run(script, PASS).await;
        assert_eq!((outcome.script.buried.len(), outcome.script.published.len()), (letters, published), "{about}");
        assert_eq!(outcome.script.acknowledged, [1], "{about}");
        for burial in &outcome.script.buried {
            assert_eq!(!burial.payload.is_empty(), keeps, "{about}");
            assert!(!burial.reason.chars().any(char::is_control) && !burial.token.chars().any(char::is_control), "{burial:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_stream_takes_is_buried_alone() {
    let refused = || Err(BrokerError::Refused("too large".into()));
    // All three together, then A, B and C by themselves.
    let script = Script { publishes: [refused(), Ok(()), refused(), Ok(())].into(), ..delivering(&[("A", 1), ("B", 1), ("C", 1)]) };
    let outcome = run(script, PASS).await;
    assert_eq!(published(&outcome), [["A"], ["C"], ["dead B"]]);
    assert_eq!(outcome.script.acknowledged, [1, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_has_lost_is_accepted_again() {
    let unknown = || Err(BrokerError::Unknown("no answer".into()));
    // How the intake answers; how many times it was stored, and whether the delivery is acknowledged or waits.
    let rows = [
        (vec![], 1, true),
        (vec![Err(BrokerError::Conflict)], 0, true),
        (vec![unknown(), unknown(), Err(BrokerError::Missing)], 1, true),
        (vec![Err(BrokerError::Full)], 0, false),
    ];
    for (publishes, times, acknowledged) in rows {
        let about = format!("{publishes:?}");
        let outcome = run(Script { publishes: publishes.into(), ..delivering(&[("lost", 1)]) }, PASS).await;
        assert_eq!(outcome.script.published, vec![vec!["pay.accepted.0.lost"]; times], "{about}");
        assert_eq!(
            (outcome.script.acknowledged.len(), outcome.script.postponed.len()),
            if acknowledged { (1, 0) } else { (0, 1) },
            "{about}"
        );
    }
}
