//! What waits for something of its own, and what the ledger has lost.

use super::*;

/// A run's row: its name, the deliveries, and expected: the batches asked, receipts acknowledged, receipts
/// postponed, and the ids buried.
type WaitingRow<'r> =
    (&'r str, &'r [(&'r str, u64)], &'r [&'r [&'r str]], &'r [u64], &'r [u64], &'r [&'r str]);

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
        let expected: Vec<(u64, Duration)> =
            postponed.iter().map(|receipt| (*receipt, Duration::from_millis(100))).collect();
        assert_eq!(outcome.script.postponed, expected, "{name}: postponed");
        let dead: Vec<&str> = outcome.script.buried.iter().map(|burial| burial.token.as_str()).collect();
        assert_eq!(dead, buried, "{name}: buried");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_is_not_judged_alone_for_its_many_deliveries() {
    let script = Script {
        deliveries: (1..=4).map(|attempt| batch(&[("wait", attempt), ("A", 1)])).collect(),
        ..Script::default()
    };
    let outcome = run(script, PASS).await;
    assert_eq!(outcome.asked, [["wait", "A"]; 4]);
    let waits: Vec<u128> = outcome.script.postponed.iter().map(|(_, after)| after.as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800]);
}

/// Or a stream that is nearly full would be given the head of a batch again and again.
#[tokio::test(start_paused = true)]
async fn what_is_stored_of_a_batch_is_not_sent_again() {
    let unknown = || BrokerError::Unknown("no answer".to_owned());
    let script = Script {
        publishes: [BrokerError::Full, unknown(), BrokerError::Full].map(Err).into(),
        stored_of_failed: [vec![0, 2], vec![], vec![1]].into(),
        ..delivering(&[("A", 1), ("B", 1), ("C", 1), ("D", 1)])
    };
    let outcome = run(script, PASS).await;
    assert_eq!(published(&outcome), [vec!["A", "C"], vec!["D"], vec!["B"]]);
    assert_eq!(outcome.script.acknowledged, [1, 2, 3, 4]);
}

/// Let go, a payment that the ledger has lost would be lost for good.
#[tokio::test(start_paused = true)]
async fn what_the_intake_has_no_room_for_is_never_let_go() {
    let full = || Err(BrokerError::Full);
    let pipeline = PipelineConfig { ack_pending_max: 8, ..PipelineConfig::default() };
    let script = Script {
        publishes: [full(), full(), full()].into(),
        ..delivering(&[("lost1", 1), ("lost2", 1), ("lost3", 1)])
    };
    let outcome = run_with(pipeline, script, PASS).await;
    assert_eq!((outcome.script.postponed.len(), outcome.script.acknowledged), (2, vec![3]));
    let letters: Vec<&str> = outcome.script.buried.iter().map(|letter| letter.token.as_str()).collect();
    assert_eq!(letters, ["lost3"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_ledger_has_lost_is_accepted_again() {
    let unknown = || Err(BrokerError::Unknown("no answer".into()));
    // How the intake answers; how many times it was stored, and whether the delivery is acknowledged or
    // waits.
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
