use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, TRACE, errors, euros, facts, held, input, payment, quote, screening,
};

fn message(id: &str) -> PaymentQuoted {
    PaymentQuoted { facts: facts(payment(id, "D", euros(5))), screening: screening(), quote: quote(euros(5)) }
}

#[tokio::test]
async fn the_row_answers_and_what_is_locked_waits() {
    let batch = ["A", "B"].map(|id| input(&message(id)));
    let row = held(message("A").facts);
    let ledger = ScriptedLedger::answering(vec![Answer::Recorded(row.clone()), Answer::Locked]);
    let verdicts = Reserve { ledger: ledger.clone() }.advance(&batch, NOW).await.unwrap();
    assert_eq!(
        verdicts,
        [Verdict::Retell(row), Verdict::Later("another transaction's lock on its account or its id")]
    );
    let asked = ledger.asked().holds;
    let [(requests, now)] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(requests.iter().all(|request| request.trace == Some(TRACE)), "each row names its trace");
    let requests: Vec<PaymentQuoted> = requests
        .iter()
        .cloned()
        .map(|HoldRequest { facts, screening, quote, .. }| PaymentQuoted { facts, screening, quote })
        .collect();
    assert_eq!((requests, *now), (vec![message("A"), message("B")], NOW), "the whole batch at once");
}

#[tokio::test]
async fn an_error_of_the_ledger_is_an_outage_or_a_fault() {
    for (error, is_outage) in errors() {
        let stage = Reserve { ledger: ScriptedLedger::failing(error) };
        let fault = stage.advance(&[input(&message("A"))], NOW).await.unwrap_err();
        assert_eq!(matches!(fault, Fault::Outage(_)), is_outage, "{fault}");
    }
}
