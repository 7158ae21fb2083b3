//! What a delivery finds decides what comes back, never what the message says: the table of DESIGN.md,
//! section 6.

use crate::common::{Ledger, at, payment_key, recorded, refused, request, settlements, status, usd};
use domain::PaymentRecord;
use store::{HoldRequest, Settlement};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    NoRow,
    Reserved,
    Failed,
    Captured,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// Of a payment that the account can afford.
    Reserve,
    /// Of one that it cannot.
    ReserveTooMuch,
    /// Of one that it can, quoted too long ago.
    ReserveOutdated,
    Settle,
    Reject,
}

/// The answer, and whether the row is as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The row, untouched.
    AsFound(&'static str),
    /// The row, which this delivery has written.
    Written(&'static str),
    /// No row, and none was made.
    NoRow,
}

#[tokio::test]
async fn the_row_answers_first() {
    use Answer::{AsFound, Written};
    use Delivery::{Reject, Reserve, ReserveOutdated, ReserveTooMuch, Settle};
    use Found::{Captured, Failed, NoRow, Reserved};
    let ledger = Ledger::open().await;
    ledger.fund("RICH", usd(1_000_000)).await;
    ledger.open_account("POOR", usd(0).currency).await;
    ledger.open_account("SHOP", usd(0).currency).await;
    let rows = [
        (NoRow, Reserve, Written("RESERVED")),
        (NoRow, ReserveTooMuch, Written("FAILED")),
        (NoRow, ReserveOutdated, Written("FAILED")),
        (NoRow, Settle, Answer::NoRow),
        (NoRow, Reject, Written("FAILED")),
        (Reserved, Reserve, AsFound("RESERVED")),
        (Reserved, ReserveTooMuch, AsFound("RESERVED")),
        (Reserved, ReserveOutdated, AsFound("RESERVED")),
        (Reserved, Settle, Written("CAPTURED")),
        (Reserved, Reject, AsFound("RESERVED")),
        (Failed, Reserve, AsFound("FAILED")),
        (Failed, ReserveTooMuch, AsFound("FAILED")),
        (Failed, ReserveOutdated, AsFound("FAILED")),
        (Failed, Settle, AsFound("FAILED")),
        (Failed, Reject, AsFound("FAILED")),
        (Captured, Reserve, AsFound("CAPTURED")),
        (Captured, ReserveTooMuch, AsFound("CAPTURED")),
        (Captured, ReserveOutdated, AsFound("CAPTURED")),
        (Captured, Settle, AsFound("CAPTURED")),
        (Captured, Reject, AsFound("CAPTURED")),
    ];
    for (number, (found, delivery, expected)) in rows.into_iter().enumerate() {
        check(&ledger, &format!("P{number}"), found, delivery, expected).await;
    }
    ledger.assert_sound("after the table").await;
}

async fn check(ledger: &Ledger, id: &str, found: Found, delivery: Delivery, expected: Answer) {
    let before = prepare(ledger, id, found).await;
    // The message differs from the row in amount and content: the answer must not.
    let answered = deliver(ledger, id, delivery).await;
    let after = ledger.store.records(&[payment_key(id)]).await.unwrap().remove(&payment_key(id));
    assert_eq!(answered, after, "{found:?} {delivery:?}: the answer is the row as it stands");
    let seen = match &after {
        None => Answer::NoRow,
        Some(record) if after == before => Answer::AsFound(status(record)),
        Some(record) => Answer::Written(status(record)),
    };
    assert_eq!(seen, expected, "{found:?} {delivery:?}");
}

async fn prepare(ledger: &Ledger, id: &str, found: Found) -> Option<PaymentRecord> {
    let affordable = request(id, "RICH", "SHOP", usd(100));
    match found {
        Found::NoRow => None,
        Found::Reserved => ledger.hold(&[affordable]).await.pop(),
        Found::Failed => {
            recorded(ledger.store.reserve(vec![request(id, "POOR", "SHOP", usd(100))], at(10)).await.unwrap())
                .pop()
        }
        Found::Captured => {
            ledger.hold(std::slice::from_ref(&affordable)).await;
            ledger.capture(&[affordable]).await.pop()
        }
    }
}

async fn deliver(ledger: &Ledger, id: &str, delivery: Delivery) -> Option<PaymentRecord> {
    let message = |source: &str| -> HoldRequest {
        let mut message = request(id, source, "SHOP", usd(333));
        message.facts.payment.description = Some("another text".to_owned());
        message
    };
    match delivery {
        Delivery::Reserve => {
            recorded(ledger.store.reserve(vec![message("RICH")], at(30)).await.unwrap()).pop()
        }
        Delivery::ReserveTooMuch => {
            recorded(ledger.store.reserve(vec![message("POOR")], at(30)).await.unwrap()).pop()
        }
        Delivery::ReserveOutdated => {
            let outdated = HoldRequest { is_quote_outdated: true, ..message("RICH") };
            recorded(ledger.store.reserve(vec![outdated], at(30)).await.unwrap()).pop()
        }
        Delivery::Reject => {
            recorded(ledger.store.record_rejections(vec![refused(&message("RICH"))]).await.unwrap()).pop()
        }
        Delivery::Settle => match ledger
            .store
            .settle(settlements(&[message("RICH")]), at(30), 0)
            .await
            .unwrap()
            .pop()
            .unwrap()
        {
            Settlement::Recorded(record) => Some(*record),
            other => {
                assert_eq!(other, Settlement::NoRow);
                None
            }
        },
    }
}
