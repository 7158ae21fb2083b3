use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, TRACE, currency, errors, euros, facts, held, input, payment, quote, screening,
};
use domain::facts::Quote;
use domain::fx::{BookRate, Rate};

fn message(id: &str) -> PaymentQuoted {
    PaymentQuoted { facts: facts(payment(id, "D", euros(5))), screening: screening(), quote: quote(euros(5)) }
}

fn stage(ledger: ScriptedLedger) -> Reserve<ScriptedLedger> {
    Reserve { ledger, quote_age_seconds_max: 60 }
}

#[tokio::test]
async fn the_row_answers_and_what_is_locked_waits() {
    let batch = ["A", "B"].map(|id| input(&message(id)));
    let row = held(message("A").facts);
    let ledger = ScriptedLedger::answering(vec![Answer::Recorded(row.clone()), Answer::Locked]);
    let verdicts = stage(ledger.clone()).advance(&batch, NOW).await.unwrap();
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
        let stage = stage(ScriptedLedger::failing(error));
        let fault = stage.advance(&[input(&message("A"))], NOW).await.unwrap_err();
        assert_eq!(matches!(fault, Fault::Outage(_)), is_outage, "{fault}");
    }
}

/// Whether a conversion is too old is said of each payment, by when it was quoted.
#[tokio::test]
async fn a_conversion_that_has_waited_too_long_is_asked_about_as_outdated() {
    let found = BookRate { rate: Rate { numerator: 11, denominator: 10 }, as_of: Timestamp::default() };
    let batch = [("USD", 0), ("USD", 61), ("EUR", 61)].map(|(arrives, age_seconds)| {
        let quoted = Timestamp::from_micros(NOW.micros() - age_seconds * 1_000_000);
        let quote = Quote::of(euros(5), currency(arrives), found, 0, quoted).unwrap();
        input(&PaymentQuoted { quote, ..message("A") })
    });
    let ledger = ScriptedLedger::answering(vec![Answer::Locked; 3]);
    stage(ledger.clone()).advance(&batch, NOW).await.unwrap();
    let outdated: Vec<bool> = ledger.asked().holds[0].0.iter().map(|hold| hold.is_quote_outdated).collect();
    assert_eq!(outdated, [false, true, false]);
}
