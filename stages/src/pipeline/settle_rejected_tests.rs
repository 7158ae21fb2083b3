use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, TRACE, errors, euros, facts, held, input, payment, quote, rejection, screening,
};
use domain::Refusal;

fn message(id: &str, stage: StageName, reason: Refusal) -> PaymentRejected {
    let facts = facts(payment(id, "D", euros(5)));
    PaymentRejected {
        facts,
        screening: Some(screening()),
        quote: Some(quote(euros(5))),
        rejection: rejection(stage, reason),
    }
}

#[tokio::test]
async fn the_row_answers_and_what_is_locked_waits() {
    let by_fx = message("A", StageName::Fx, Refusal::FxRateStale);
    let batch = [input(&by_fx), input(&message("B", StageName::Risk, Refusal::RiskRejected))];
    // It was reserved meanwhile, by another copy that met another rate.
    let row = held(by_fx.facts.clone());
    let ledger = ScriptedLedger::answering(vec![Answer::Recorded(row.clone()), Answer::Locked]);
    let verdicts = SettleRejected { ledger: ledger.clone() }.advance(&batch, NOW).await.unwrap();
    assert_eq!(verdicts, [Verdict::Retell(row), Verdict::Later("another transaction that is recording it")]);
    let PaymentRejected { facts, screening, quote, rejection } = by_fx;
    let state = RecordState::Failed { screening, quote, reserved_at: None, rejection, finished_at: NOW };
    let asked = ledger.asked().rejections;
    assert_eq!((asked.len(), asked[0].len()), (1, 2), "the whole batch at once");
    assert_eq!(asked[0][0], PaymentRecord { facts, state, trace: Some(TRACE) });
}

#[tokio::test]
async fn an_error_of_the_ledger_is_an_outage_or_a_fault() {
    for (error, is_outage) in errors() {
        let stage = SettleRejected { ledger: ScriptedLedger::failing(error) };
        let fault = stage
            .advance(&[input(&message("A", StageName::Fx, Refusal::FxRateStale))], NOW)
            .await
            .unwrap_err();
        assert_eq!(matches!(fault, Fault::Outage(_)), is_outage, "{fault}");
    }
}
