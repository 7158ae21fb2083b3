//! The wire format, committed: each message is written exactly as its file says, and read back from it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use domain::facts::{AppliedRate, Facts, Quote, Rejection, Screening};
use domain::fx::Rate;
use domain::{Currency, Metadata, Money, Payment, PaymentKey, Refusal, Timestamp};
use wire::figures::{Figure, Series};
use wire::live::{LiveCurrency, LiveMoney, LiveRole, LiveStage};
use wire::message::{
    FinalStatus, PaymentAccepted, PaymentFinished, PaymentQuoted, PaymentRejected, PaymentReserved,
    PaymentScreened,
};
use wire::{Hop, HopMessage, LiveReport, Message, Role, RoleFigures, StageName, envelope};

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

/// The sample of this name, which is what is written. `GOLDEN_WRITE=1 cargo test -p wire` writes the files anew after
/// an intended change.
fn committed(name: &str, written: &str) -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&file, format!("{written}\n")).unwrap();
    }
    let committed =
        std::fs::read_to_string(&file).expect("each sample has its file: GOLDEN_WRITE=1 cargo test -p wire");
    assert_eq!(format!("{written}\n"), committed, "{}", file.display());
    committed
}

#[test]
fn messages_are_written_as_committed() {
    let messages = messages(payment());
    assert_eq!(
        messages.iter().map(HopMessage::hop).collect::<Vec<_>>(),
        Hop::ALL,
        "each hop has its message here"
    );
    for message in messages {
        let written = String::from_utf8(message.encode().unwrap()).unwrap();
        let committed = committed(message.hop().as_str(), &written);
        assert_eq!(read_back(&message, committed.as_bytes()), message);
    }
}

#[test]
fn figures_are_written_as_committed() {
    let series = |name: &str, label: (&str, &str), figure| Series {
        name: name.to_owned(),
        labels: [(label.0.to_owned(), label.1.to_owned())].into(),
        figure,
    };
    let figures = RoleFigures {
        role: Role::Risk,
        instance: "019ad5c8e8a07f0cbd4b1f6a5a7b0c11".to_owned(),
        at: at(0),
        series: vec![
            series("stage_halted", ("stage", "risk"), Figure::Value(0.0)),
            series(
                "stage_batch_size",
                ("stage", "risk"),
                Figure::Histogram { counts: vec![1, 3, 3], sum: 7.0 },
            ),
        ],
    };
    let committed = committed("figures", &serde_json::to_string(&figures).unwrap());
    assert_eq!(serde_json::from_str::<RoleFigures>(&committed).unwrap(), figures);
}

#[test]
fn what_is_told_live_is_written_as_committed() {
    let stage = |stage: &str, lag| LiveStage {
        stage: stage.to_owned(),
        is_up: true,
        per_s: Some(1.5),
        batch: Some(1.0),
        lag,
        p99_s: Some(0.004),
        halted: false,
    };
    let report = LiveReport {
        at: at(0),
        broker: true,
        accepted_per_s: Some(1.5),
        settled_per_s: Some(1.5),
        failed_per_s: Some(0.0),
        accept_p99_s: Some(0.004),
        settle_p99_s: None,
        in_flight: Some(3),
        dead_letters: Some(0),
        money: LiveMoney {
            is_audited: true,
            audit_lag_s: Some(1.0),
            violations: Some(0),
            currencies: vec![LiveCurrency {
                currency: "USD".to_owned(),
                imbalance_minor: 0,
                is_conserved: true,
            }],
        },
        stages: vec![stage("gateway", None), stage("risk", Some(3))],
        roles: vec![LiveRole { role: Role::Janitor, instances: 1, is_up: true }],
    };
    let committed = committed("live", &serde_json::to_string(&report).unwrap());
    assert_eq!(serde_json::from_str::<LiveReport>(&committed).unwrap(), report);
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

#[test]
fn an_accepted_payment_is_written_alike_from_where_it_stays() {
    let payment = payment();
    let fingerprint = payment.fingerprint();
    let written = wire::message::encode_accepted(&payment, &fingerprint).unwrap();
    assert_eq!(HopMessage::from(PaymentAccepted { payment, fingerprint }).encode().unwrap(), written);
}
