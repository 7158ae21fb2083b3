//! What cannot be judged or stored.

use super::*;

#[tokio::test(start_paused = true)]
async fn many_burials_are_halted_while_all_others_go_on() {
    let bad: Vec<String> = (0..30).map(|number| format!("bad{number}")).collect();
    let mut ids: Vec<(&str, u64)> = bad.iter().map(|id| (id.as_str(), 1)).collect();
    ids.extend([("no payment", 1), ("A", 1)]);
    let script = Script { deliveries: [batch(&ids)].into(), ..Script::default() };
    let outcome = run(script, PASS).await;
    assert_eq!((outcome.script.buried.len(), outcome.script.postponed.len()), (21, 10));
    assert!(
        outcome.script.buried.iter().any(|burial| burial.token.starts_with("invalid:no_payment:")),
        "it is nobody's payment"
    );
    assert_eq!(published(&outcome).last().unwrap(), &["A"]);
    assert_eq!(outcome.script.acknowledged.len(), 22);
}

#[tokio::test(start_paused = true)]
async fn burial_does_not_fail_on_what_is_buried() {
    let objection = || BurialError::Objection("too odd".into());
    let refused = || Err(BrokerError::Refused("too large".into()));
    // How the ledger and the stream of the dead answer; whether the letter keeps the message, and how many
    // times it is published.
    let rows = [
        (vec![], vec![], true, 1, 1),
        (vec![objection()], vec![], false, 1, 1),
        (vec![objection(), objection()], vec![], false, 0, 1),
        (vec![], vec![refused()], true, 1, 1),
        (vec![], vec![refused(), refused()], true, 1, 0),
    ];
    for (burials, publishes, keeps, letters, published) in rows {
        let about = format!("{burials:?} {publishes:?}");
        let script = Script {
            burials: burials.into(),
            publishes: publishes.into(),
            ..delivering(&[("nul\0\r\n", 1)])
        };
        let outcome = run(script, PASS).await;
        assert_eq!(
            (outcome.script.buried.len(), outcome.script.published.len()),
            (letters, published),
            "{about}"
        );
        assert_eq!(outcome.script.acknowledged, [1], "{about}");
        for burial in &outcome.script.buried {
            assert_eq!(!burial.payload.is_empty(), keeps, "{about}");
            assert!(
                !burial.reason.chars().any(char::is_control) && !burial.token.chars().any(char::is_control),
                "{burial:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_stream_takes_is_buried_alone() {
    let refused = || Err(BrokerError::Refused("too large".into()));
    // All three together, then A, B and C by themselves.
    let script = Script {
        publishes: [refused(), Ok(()), refused(), Ok(())].into(),
        ..delivering(&[("A", 1), ("B", 1), ("C", 1)])
    };
    let outcome = run(script, PASS).await;
    assert_eq!(published(&outcome), [["A"], ["C"], ["dead B"]]);
    assert_eq!(outcome.script.acknowledged, [1, 3, 2]);
}

/// What burials that are halted leave over has met a fault: it must not take the others with it each time it
/// comes again.
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
