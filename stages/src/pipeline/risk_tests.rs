use super::*;
use crate::pipeline::testing::{NOW, at, euros, facts, input, payment};
use domain::Money;
use std::collections::HashMap;

fn stage() -> Risk {
    let limits = RiskLimits {
        amount_max: HashMap::new(),
        amount_max_default: 100,
        count_max: 2,
        sum_max_multiple: 10,
    };
    Risk { limits: Arc::new(limits), velocities: Arc::new(Velocities::new(60)) }
}

/// The delivery of a payment from the intake.
fn delivery(id: &str, amount: Money, seq: u64, is_redriven: bool) -> Input<PaymentAccepted> {
    let payment = payment(id, "D", amount);
    Input { seq, is_redriven, ..input(&PaymentAccepted { fingerprint: payment.fingerprint(), payment }) }
}

/// The score of a payment that may pass, or the rules that refuse it.
fn judged(verdict: &Verdict<PaymentScreened>) -> Result<u8, &[String]> {
    match verdict {
        Verdict::Forward(screened) => Ok(screened.screening.score),
        Verdict::Reject(rejected) => Err(&rejected.rejection.rules),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_refuse_and_each_payment_counts_once() {
    let stage = stage();
    // Id, amount, sequence, whether it is a later copy, and expected: the score, or the broken rules.
    let rows: [(&str, i64, u64, bool, Result<u8, &[&str]>); 7] = [
        ("A", 20, 1, false, Ok(50)),
        ("B", 101, 2, false, Err(&["amount_cap"])),
        ("B", 101, 2, false, Err(&["amount_cap"])),
        ("A", 20, 3, true, Ok(100)),
        ("C", 20, 4, false, Err(&["velocity_count"])),
        ("D", 101, 5, false, Err(&["amount_cap", "velocity_count"])),
        ("C", 20, 4, false, Err(&["velocity_count"])),
    ];
    for (id, minor, seq, is_redriven, expected) in rows {
        let verdicts = stage.advance(&[delivery(id, euros(minor), seq, is_redriven)], NOW).await.unwrap();
        let expected: Result<u8, Vec<String>> =
            expected.map_err(|rules| rules.iter().map(|rule| (*rule).to_owned()).collect());
        assert_eq!(
            judged(&verdicts[0]),
            expected.as_ref().map(|score| *score).map_err(Vec::as_slice),
            "{id} at {seq}"
        );
    }
}

#[tokio::test]
async fn what_is_told_has_the_facts_of_the_delivery_and_the_time_that_was_given() {
    let batch = [delivery("A", euros(20), 7, false), delivery("B", euros(101), 8, false)];
    let verdicts = stage().advance(&batch, NOW).await.unwrap();
    let screened = PaymentScreened {
        facts: facts(payment("A", "D", euros(20))),
        screening: Screening { score: 50, at: NOW },
    };
    let rules = vec!["amount_cap".to_owned()];
    let rejected = PaymentRejected {
        facts: Facts { accepted_seq: 8, accepted_at: at(1_000), ..facts(payment("B", "D", euros(101))) },
        screening: None,
        quote: None,
        rejection: Rejection { stage: StageName::Risk, reason: Refusal::RiskRejected, rules, at: NOW },
    };
    assert_eq!(verdicts, [Verdict::Forward(screened), Verdict::Reject(Box::new(rejected))]);
}
