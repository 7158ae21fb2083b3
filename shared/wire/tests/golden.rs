//! The wire format, committed: each message is written exactly as its file says, and read back from it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use domain::facts::{AppliedRate, Facts, Quote, Rejection, Screening};
use domain::fx::Rate;
use domain::{Currency, Metadata, Money, Payment, PaymentKey, Refusal, Timestamp};
use wire::message::{
    FinalStatus, PaymentAccepted, PaymentFinished, PaymentQuoted, PaymentRejected, PaymentReserved,
    PaymentScreened,
};
use wire::{Hop, HopMessage, Message, StageName, envelope};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_309_323_000_000 + second * 1_000_000 + 456_789)
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn payment() -> Payment {
    serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": "PAY-001", "source_account": "ACC_SRC_ABC", "destination_account": "ACC_DST_DEF",
        "amount": {"currency": "USD", "value": "123.45"}, "destination_currency": "IDR", "description": "invoice 42", "metadata": {"order": "42"}
    }))
    .unwrap()
}

fn messages(payment: Payment) -> Vec<HopMessage> {
    let fingerprint = payment.fingerprint();
    let (accepted_seq, accepted_at) = (7, at(0));
    let screening = Screening { score: 12, at: at(1) };
    let conversion = AppliedRate {
        rate: Rate { numerator: 202_751_700, denominator: 11_172 },
        spread_bps: 25,
        gross_minor: 224_039_700,
        residue: 5,
        as_of: at(-60),
    };
    let quote = Quote {
        destination_amount: Money::new(223_479_600, currency("IDR")),
        conversion: Some(conversion),
        at: at(2),
    };
    let rejection = Rejection {
        stage: StageName::Risk,
        reason: Refusal::RiskRejected,
        rules: vec!["amount_cap".into()],
        at: at(1),
    };
    vec![
        PaymentAccepted { payment: payment.clone(), fingerprint }.into(),
        PaymentScreened {
            facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
            screening: screening.clone(),
        }
        .into(),
        PaymentQuoted {
            facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
            screening: screening.clone(),
            quote: quote.clone(),
        }
        .into(),
        PaymentReserved {
            facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
            screening,
            quote: quote.clone(),
            reserved_at: at(3),
        }
        .into(),
        PaymentRejected {
            facts: Facts { payment, fingerprint, accepted_seq, accepted_at },
            screening: None,
            quote: None,
            rejection,
        }
        .into(),
        PaymentFinished {
            key: PaymentKey::from_token("PAY-001").unwrap(),
            status: FinalStatus::Captured,
            reason: None,
            amount: Money::new(12_345, currency("USD")),
            destination_amount: Some(quote.destination_amount),
            accepted_seq,
            accepted_at,
            finished_at: at(4),
        }
        .into(),
    ]
}

fn read_back(message: &HopMessage, payload: &[u8]) -> HopMessage {
    fn read<T: Message>(payload: &[u8]) -> HopMessage {
        envelope::decode::<T>(payload).unwrap().into()
    }
    match message {
        HopMessage::Accepted(_) => read::<PaymentAccepted>(payload),
        HopMessage::Screened(_) => read::<PaymentScreened>(payload),
        HopMessage::Quoted(_) => read::<PaymentQuoted>(payload),
        HopMessage::Reserved(_) => read::<PaymentReserved>(payload),
        HopMessage::Rejected(_) => read::<PaymentRejected>(payload),
        HopMessage::Finished(_) => read::<PaymentFinished>(payload),
    }
}

/// `GOLDEN_WRITE=1 cargo test -p wire` writes the files anew after an intended change.
#[test]
fn messages_are_written_as_committed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let messages = messages(payment());
    assert_eq!(
        messages.iter().map(HopMessage::hop).collect::<Vec<_>>(),
        Hop::ALL,
        "each hop has its message here"
    );
    for message in messages {
        let file = folder.join(format!("{}.json", message.hop().as_str()));
        let mut written = String::from_utf8(message.encode().unwrap()).unwrap();
        written.push('\n');
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            std::fs::write(&file, &written).unwrap();
        }
        let committed =
            std::fs::read_to_string(&file).expect("each hop has its file: GOLDEN_WRITE=1 cargo test -p wire");
        assert_eq!(written, committed, "{}", file.display());
        assert_eq!(read_back(&message, committed.as_bytes()), message);
    }
}

/// White space, the order of keys, escapes and the form of numbers stay; what was written sorted and spaced
/// by an older build is text like any other.
#[test]
fn metadata_travels_as_it_was_written() {
    let rows = [
        "{\"b\" :\t[ 9e15,1E2, -0,1.50 ],\n \"a\":\"\\u0041\\/é\"}",
        r#"{"a":9000000000000000.0,"b":[1.0,{"c":null}]}"#,
        "{ }",
        r#"{"$serde_json::private::RawValue":"1"}"#,
    ];
    for text in rows {
        let payment = Payment { metadata: Some(Metadata::parse(text).unwrap()), ..payment() };
        for message in messages(payment) {
            let payload = message.encode().unwrap();
            assert_eq!(read_back(&message, &payload), message, "{text}");
            let written = String::from_utf8(payload).unwrap();
            let is_there = written.contains(&format!("\"metadata\":{text}}},\"fingerprint\""));
            assert!(is_there || matches!(message, HopMessage::Finished(_)), "{written}");
        }
    }
}

#[test]
fn other_versions_and_shapes_are_not_understood() {
    let rows = [
        (r#"{"v":2,"payment":{}}"#, "unknown message version 2"),
        (r#"{"payment":{}}"#, "undecodable message: missing field `v` at line 1 column 14"),
        (r#"{"v":1}"#, "undecodable message: missing field `payment` at line 1 column 7"),
        (r#"{"v":1,"payment":"ACC-7"}"#, "undecodable message: invalid type: string at line 1 column 24"),
        ("junk", "undecodable message: expected value at line 1 column 1"),
    ];
    for (payload, expected) in rows {
        assert_eq!(
            envelope::decode::<PaymentAccepted>(payload.as_bytes()).unwrap_err().to_string(),
            expected
        );
    }
}
