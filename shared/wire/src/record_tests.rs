use super::*;
use crate::Hop;
use domain::facts::{Rejection, Screening};
use domain::{Currency, Money, Payment};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn facts() -> Facts {
    let payment: Payment = serde_json::from_value(serde_json::json!({
        "tenant": "acme", "id": "P", "source_account": "A", "destination_account": "B", "amount": {"currency": "EUR", "value": "1.50"}
    }))
    .unwrap();
    Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 7, accepted_at: at(1) }
}

fn hold() -> Reserved {
    let quote = Quote {
        destination_amount: Money::new(160, Currency::parse("USD").unwrap()),
        conversion: None,
        at: at(3),
    };
    Reserved { screening: Screening { score: 1, at: at(2) }, quote, at: at(4) }
}

fn rejection() -> Rejection {
    Rejection { stage: StageName::Settle, reason: Refusal::DestinationLimit, rules: Vec::new(), at: at(5) }
}

/// A row that is held, one that failed after its hold, one that was captured.
fn rows() -> [PaymentRecord; 3] {
    let Reserved { screening, quote, at: reserved_at } = hold();
    let failed = RecordState::Failed {
        screening: Some(screening),
        quote: Some(quote),
        reserved_at: Some(reserved_at),
        rejection: rejection(),
        finished_at: at(6),
    };
    [RecordState::Reserved(hold()), failed, RecordState::Captured { reserved: hold(), finished_at: at(6) }]
        .map(|state| PaymentRecord { facts: facts(), state, trace: None })
}

/// The table of DESIGN.md, section 6.1: what each stage tells of a payment that is reserved, failed,
/// captured.
#[test]
fn each_stage_tells_of_a_row_what_the_next_reader_needs() {
    use Hop::{Finished, Rejected, Reserved};
    for stage in StageName::ALL {
        let expected = match stage {
            StageName::Risk | StageName::Fx => [None, None, None],
            StageName::Reserve => [Some(Reserved), Some(Rejected), Some(Finished)],
            StageName::Settle => [None, Some(Finished), Some(Finished)],
            StageName::SettleRejected => [Some(Reserved), Some(Finished), Some(Finished)],
        };
        let told = rows().map(|record| HopMessage::of_record(record, stage).map(|message| message.hop()));
        assert_eq!(told, expected, "{stage}");
    }
}

#[test]
fn a_message_says_what_its_row_says() {
    let Reserved { screening, quote, at: reserved_at } = hold();
    let ended = |status, reason| PaymentFinished {
        key: facts().payment.key(),
        status,
        reason,
        amount: facts().payment.amount,
        destination_amount: Some(quote.destination_amount),
        accepted_seq: 7,
        accepted_at: at(1),
        finished_at: at(6),
    };
    let rejected = PaymentRejected {
        facts: facts(),
        screening: Some(screening.clone()),
        quote: Some(quote.clone()),
        rejection: rejection(),
    };
    let [held, failed, captured] = rows();
    let checks: [(PaymentRecord, StageName, HopMessage); 4] = [
        (
            held,
            StageName::Reserve,
            PaymentReserved {
                facts: facts(),
                screening: screening.clone(),
                quote: quote.clone(),
                reserved_at,
            }
            .into(),
        ),
        (failed.clone(), StageName::Reserve, rejected.into()),
        (failed, StageName::Settle, ended(FinalStatus::Failed, Some(Refusal::DestinationLimit)).into()),
        (captured, StageName::Settle, ended(FinalStatus::Captured, None).into()),
    ];
    for (record, stage, expected) in checks {
        assert_eq!(HopMessage::of_record(record, stage), Some(expected), "{stage}");
    }
}
