//! Sizes are bounded by construction: whatever a client sends, an accepted message is at most 2 KiB longer
//! than the body, and each message after it at most 2 KiB longer than the one before.

use crate::request::PaymentRequest;
use domain::facts::{AppliedRate, Facts, Quote, Rejection, Screening};
use domain::fx::Rate;
use domain::{Currency, Money, Payment, Refusal, StageName, Tenant, Timestamp};
use wire::message::{
    FinalStatus, PaymentAccepted, PaymentFinished, PaymentQuoted, PaymentRejected, PaymentReserved,
    PaymentScreened,
};
use wire::{Caller, HopMessage};

/// The longest body that the border reads by default.
const BODY_BYTES: usize = 16 << 10;

/// What each step may add.
const STEP_BYTES_MAX: usize = 2 << 10;

/// A legal request of exactly so many bytes: `unit` as often as it fits between `open` and `close`, then
/// white space.
fn body(fields: &str, open: &str, unit: &str, close: &str) -> Vec<u8> {
    let mut body = format!(
        r#"{{"currency":"KWD","amount":1000000000000,"source_account":"{}","destination_account":"B"{fields}"#,
        "A".repeat(64)
    );
    body.push_str(open);
    while body.len() + unit.len() + close.len() < BODY_BYTES {
        body.push_str(unit);
    }
    body.push_str(close);
    body.push('}');
    body.push_str(&" ".repeat(BODY_BYTES - body.len()));
    body.into_bytes()
}

/// The messages that can follow each other, each built of the longest facts there are.
fn journeys(payment: Payment) -> [Vec<HopMessage>; 3] {
    let latest = Timestamp::parse("9999-12-31T23:59:59.999999Z").unwrap();
    let fingerprint = payment.fingerprint();
    let (key, amount, accepted_seq, accepted_at) = (payment.key(), payment.amount, u64::MAX, latest);
    let screening = Screening { score: u8::MAX, at: latest };
    let rate = Rate { numerator: i64::MAX, denominator: i64::MAX };
    let conversion =
        AppliedRate { rate, spread_bps: u32::MAX, gross_minor: i64::MIN, residue: i64::MIN, as_of: latest };
    let arrives = Money::new(i64::MIN, Currency::parse("BHD").unwrap());
    let quote = Quote { destination_amount: arrives, conversion: Some(conversion), at: latest };
    let longest_reason = *Refusal::ALL.iter().max_by_key(|reason| reason.code().len()).unwrap();
    // Far more rules than there are.
    let rules: Vec<String> = (0..32).map(|number| format!("{number:040}")).collect();
    let rejection = Rejection { stage: StageName::SettleRejected, reason: longest_reason, rules, at: latest };
    let accepted = HopMessage::from(PaymentAccepted { payment: payment.clone(), fingerprint });
    let screened = HopMessage::from(PaymentScreened {
        facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
        screening: screening.clone(),
    });
    let quoted = HopMessage::from(PaymentQuoted {
        facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
        screening: screening.clone(),
        quote: quote.clone(),
    });
    let rejected = |screening: Option<Screening>, quote: Option<Quote>| {
        let (payment, rejection) = (payment.clone(), rejection.clone());
        HopMessage::from(PaymentRejected {
            facts: Facts { payment, fingerprint, accepted_seq, accepted_at },
            screening,
            quote,
            rejection,
        })
    };
    let (by_risk, by_reserve) =
        (rejected(None, None), rejected(Some(screening.clone()), Some(quote.clone())));
    let reserved = HopMessage::from(PaymentReserved {
        facts: Facts { payment: payment.clone(), fingerprint, accepted_seq, accepted_at },
        screening,
        quote,
        reserved_at: latest,
    });
    let finished = HopMessage::from(PaymentFinished {
        key,
        status: FinalStatus::Captured,
        reason: Some(longest_reason),
        amount,
        destination_amount: Some(arrives),
        accepted_seq,
        accepted_at,
        finished_at: latest,
    });
    [
        vec![accepted.clone(), screened.clone(), quoted.clone(), reserved, finished],
        vec![accepted.clone(), by_risk],
        vec![accepted, screened, quoted, by_reserve],
    ]
}

#[test]
fn no_message_outgrows_its_request() {
    let named = format!(r#","id":"{}","destination_currency":"BHD""#, "P".repeat(64));
    let rows = [
        (
            "a number that other forms of it are five times as long as",
            "",
            r#","metadata":{"a":["#,
            "9e15,",
            "9e15]}",
        ),
        ("numbers with every digit", "", r#","metadata":{"a":["#, "0.1,-0,1e2,1.0,", "1]}"),
        ("escapes in metadata", &named, r#","metadata":{"a":""#, r"\u0001\u00e9", r#""}"#),
        ("nesting", "", r#","metadata":{"a":["#, "{},[],", "{}]}"),
        ("white space in metadata", "", r#","metadata":{"a":["#, " \n\t1 ,", "1]}"),
        ("a long description", &named, r#","description":""#, "x", "\""),
        ("escapes in a description", &named, r#","description":""#, r#"\u0001\"\\\n\u001f"#, "\""),
        ("short escapes in a description", "", r#","description":""#, r#"\""#, "\""),
        ("long characters in a description", "", r#","description":""#, "\u{7f}\u{2028}é⚡", "\""),
    ];
    for (about, fields, open, unit, close) in rows {
        let body = body(fields, open, unit, close);
        assert_eq!(body.len(), BODY_BYTES, "{about}");
        // The longest id that we make ourselves, and a tenant as long as one can be.
        let caller = Caller { tenant: Tenant::parse("t".repeat(64)).unwrap() };
        let checked = PaymentRequest::of_json(&body, None)
            .and_then(|request| request.check(&caller, || "f".repeat(64)));
        let (payment, _) = checked.unwrap_or_else(|problem| panic!("{about}: {problem:?}"));
        for journey in journeys(payment) {
            let mut before = BODY_BYTES;
            for message in journey {
                let bytes = message.encode().unwrap().len();
                let name = message.hop().as_str();
                assert!(bytes <= before + STEP_BYTES_MAX, "{about}: {name} has {bytes} bytes after {before}");
                before = bytes;
            }
        }
    }
}
