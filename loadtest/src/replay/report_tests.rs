use super::super::board::Board;
use super::super::script::testing::script_of;
use super::*;
use crate::client::Ending;
use domain::facts::{PaymentRecord, Quote, RecordState, Rejection, Reserved, Screening};
use domain::{
    AccountId, Currency, Facts, Fingerprint, Money, Payment, PaymentId, PaymentKey, Refusal, StageName,
    Tenant, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wire::message::{FinalStatus, PaymentFinished};

const DONE: Ending = Ending::Done { replayed: false, unclear: false };
const REPLAYED: Ending = Ending::Done { replayed: true, unclear: false };
const REPEATED: Ending = Ending::Done { replayed: true, unclear: true };
const GONE: Ending = Ending::GaveUp { unclear: false };
const UNCLEAR: Ending = Ending::GaveUp { unclear: true };

/// What the ledger has of a payment.
#[derive(Debug, Clone, Copy)]
enum Row {
    None,
    Reserved,
    Captured,
    Failed,
    /// Captured, and accepted an hour before the replay.
    Old,
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}

fn record(id: &str, row: Row, accepted_at: Timestamp) -> Option<PaymentRecord> {
    let at = Timestamp::from_micros(accepted_at.micros() + 5_000);
    let screening = Screening { score: 1, at };
    let reserved =
        Reserved { screening, quote: Quote { destination_amount: usd(150), conversion: None, at }, at };
    let state = match row {
        Row::None => return None,
        Row::Reserved => RecordState::Reserved(reserved),
        Row::Captured | Row::Old => RecordState::Captured { reserved, finished_at: at },
        Row::Failed => {
            let rejection = Rejection {
                stage: StageName::Reserve,
                reason: Refusal::InsufficientFunds,
                rules: Vec::new(),
                at,
            };
            RecordState::Failed {
                screening: None,
                quote: None,
                reserved_at: None,
                rejection,
                finished_at: at,
            }
        }
    };
    let payment = Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: AccountId::parse("A").unwrap(),
        destination_account: AccountId::parse("B").unwrap(),
        amount: usd(150),
        destination_currency: None,
        description: None,
        metadata: None,
    };
    Some(PaymentRecord {
        facts: Facts { payment, fingerprint: Fingerprint([0; 32]), accepted_seq: 1, accepted_at },
        state,
        trace: None,
    })
}

fn refused(code: &str) -> Ending {
    Ending::Refused { code: code.to_owned() }
}

/// The report of requests that were answered so, of payments that the ledger has so.
fn report(name: &str, requests: &[(&str, Ending, Row)]) -> Report {
    let ids: Vec<&str> = requests.iter().map(|(id, _, _)| *id).collect();
    let script = Arc::new(script_of(name, &ids));
    let started = Instant::now();
    let board = Board::new(Arc::clone(&script), started);
    for (row, (_, ending, _)) in requests.iter().enumerate() {
        board.sending(row, started);
        board.answered(row, started, ending.clone(), 0);
    }
    let now = runtime::clock::now();
    let to_read: Vec<String> =
        board.unread().into_iter().map(|payment| script.id(payment).to_owned()).collect();
    for (id, _, row) in requests.iter().filter(|(id, _, _)| to_read.iter().any(|open| open == id)) {
        let hour_ago = Timestamp::from_micros(now.micros() - 3_600_000_000);
        let accepted_at = if matches!(row, Row::Old) { hour_ago } else { now };
        if let Some(record) = record(id, *row, accepted_at) {
            board.read(script.place(id).unwrap(), &record);
        }
    }
    Summary::of(&board, 0, false).report
}

#[test]
fn requests_and_payments_are_counted_by_what_became_of_them() {
    // requests -> sent, accepted, replayed, refused, unavailable; settled, failed, lost
    let rows = [
        ("settled", vec![("P1", DONE, Row::Captured)], [1, 1, 0, 0, 0], [1, 0, 0]),
        ("failed", vec![("P1", DONE, Row::Failed)], [1, 1, 0, 0, 0], [0, 1, 0]),
        ("vanished", vec![("P1", DONE, Row::None)], [1, 1, 0, 0, 0], [0, 0, 1]),
        ("held for ever", vec![("P1", DONE, Row::Reserved)], [1, 1, 0, 0, 0], [0, 0, 1]),
        ("taken before", vec![("P1", REPLAYED, Row::Old)], [1, 0, 1, 0, 0], [0, 0, 0]),
        ("refused", vec![("P1", refused("same_account"), Row::None)], [1, 0, 0, 1, 0], [0, 0, 0]),
        ("never answered", vec![("P1", GONE, Row::None)], [1, 0, 0, 0, 1], [0, 0, 0]),
        ("cut, then replayed: ours", vec![("P1", REPEATED, Row::Captured)], [1, 1, 0, 0, 0], [1, 0, 0]),
        ("cut, then replayed, not ended", vec![("P1", REPEATED, Row::None)], [1, 1, 0, 0, 0], [0, 0, 1]),
        (
            "cut, then replayed: an earlier replay's",
            vec![("P1", REPEATED, Row::Old)],
            [1, 0, 1, 0, 0],
            [0, 0, 0],
        ),
        ("cut for ever, yet settled", vec![("P1", UNCLEAR, Row::Captured)], [1, 1, 0, 0, 0], [1, 0, 0]),
        ("cut for ever, not stored", vec![("P1", UNCLEAR, Row::None)], [1, 0, 0, 0, 1], [0, 0, 0]),
        (
            "one id twice",
            vec![("P1", DONE, Row::Captured), ("P1", REPLAYED, Row::Captured)],
            [2, 1, 1, 0, 0],
            [1, 0, 0],
        ),
        (
            "the second was first",
            vec![("P1", REPLAYED, Row::Captured), ("P1", DONE, Row::Captured)],
            [2, 1, 1, 0, 0],
            [1, 0, 0],
        ),
        (
            "one id, one cut",
            vec![("P1", DONE, Row::Captured), ("P1", REPEATED, Row::Captured)],
            [2, 1, 1, 0, 0],
            [1, 0, 0],
        ),
        (
            "one id, other content",
            vec![("P1", DONE, Row::Captured), ("P1", refused("idempotency_mismatch"), Row::None)],
            [2, 1, 0, 1, 0],
            [1, 0, 0],
        ),
        (
            "several",
            vec![("P1", DONE, Row::Captured), ("P2", DONE, Row::Failed), ("P3", GONE, Row::None)],
            [3, 2, 0, 0, 1],
            [1, 1, 0],
        ),
        ("an id that is none", vec![("P 1", refused("invalid_id"), Row::None)], [1, 0, 0, 1, 0], [0, 0, 0]),
    ];
    for (number, (case, requests, by_answer, by_end)) in rows.into_iter().enumerate() {
        let found = report(&format!("counts-{number}"), &requests);
        assert_eq!(
            [found.sent, found.accepted, found.replayed, found.refused, found.unavailable],
            by_answer,
            "{case}"
        );
        assert_eq!([found.settled, found.failed, found.lost], by_end, "{case}");
        assert_eq!(found.failed_by_reason.values().sum::<u64>(), found.failed, "{case}");
        assert_eq!(found.refused_by_code.values().sum::<u64>(), found.refused, "{case}");
    }
}

#[tokio::test]
async fn settle_times_are_heard_of_or_read() {
    let script = Arc::new(script_of("times", &["P1", "P2", "P3"]));
    let started = Instant::now();
    let board = Board::new(Arc::clone(&script), started);
    let heard = |id: &str| PaymentFinished {
        key: PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(id).unwrap() },
        status: FinalStatus::Captured,
        reason: None,
        amount: usd(150),
        destination_amount: None,
        accepted_seq: 1,
        accepted_at: Timestamp::default(),
        finished_at: Timestamp::default(),
    };
    board.heard(&heard("P3"));
    assert_eq!(board.glance().heard, 0, "nobody sent it yet");
    for row in 0..3 {
        board.sending(row, started);
        board.answered(row, started, DONE, 2);
    }
    // A latency to be measured.
    tokio::time::sleep(Duration::from_millis(30)).await;
    board.heard(&heard("P1"));
    board.heard(&heard("P1"));
    board.heard(&heard("P4"));
    assert_eq!(board.glance().heard, 1);
    assert!(board.silence().is_some_and(|silence| silence < Duration::from_secs(20)));
    assert!(board.awaits_any());
    let now = runtime::clock::now();
    board.read(0, &record("P1", Row::Captured, now).unwrap());
    // Recorded 200 ms from now, as far as the ledger's clock goes.
    board.read(1, &record("P2", Row::Captured, Timestamp::from_micros(now.micros() + 195_000)).unwrap());
    board.read(2, &record("P3", Row::Failed, now).unwrap());
    assert!(!board.awaits_any() && board.silence().is_none());
    let summary = Summary::of(&board, 0, false);
    let Report { settle_ms, duration_s, settled_per_s, settled, .. } = summary.report;
    assert_eq!((settled, summary.retries), (2, 6));
    assert!(settle_ms.p50.is_some_and(|p50| (29.0..190.0).contains(&p50)), "{settle_ms:?}");
    assert!(settle_ms.max.is_some_and(|max| (200.0..400.0).contains(&max)), "{settle_ms:?}");
    assert!((0.2..0.4).contains(&duration_s), "{duration_s}");
    assert!((settled_per_s - 2.0 / duration_s).abs() < 0.1, "{settled_per_s}");
}

#[test]
fn the_json_has_the_fields_of_the_contract() {
    let json = serde_json::to_value(Report::default()).unwrap();
    let mut expected: Vec<&str> = "sent accepted replayed refused unavailable settled failed duplicates lost duration_s accepted_per_s batch \
        settled_per_s accept_ms settle_ms failed_by_reason refused_by_code"
        .split_whitespace()
        .collect();
    expected.sort_unstable();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), expected);
    assert_eq!(
        json["accept_ms"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["max", "p50", "p95", "p99"]
    );
}
