//! What the janitor and a starting risk stage ask.

use crate::common::{Ledger, at, currency, payment_key, refused, request, usd};
use crate::lookups::letter;
use domain::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use store::{HoldRequest, Trace};

const MINUTE: Duration = Duration::from_secs(60);

/// A ledger with these payments held, each as many seconds ago as its number says.
pub(crate) async fn holds(ages: &[(&str, u32)]) -> (Ledger, Vec<HoldRequest>) {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let requests: Vec<HoldRequest> = ages.iter().map(|(id, _)| request(id, "A", "B", usd(1))).collect();
    ledger.hold(&requests).await;
    for (id, age) in ages {
        ledger.sql(&format!("UPDATE payments SET recorded_at = clock_timestamp() - interval '{age} seconds' WHERE id = '{id}'")).await;
    }
    (ledger, requests)
}

#[tokio::test]
async fn traces_say_how_long_until_they_are_old() {
    let (ledger, _) = holds(&[("YOUNG", 0), ("HALF", 30), ("OLD", 120), ("BOTH", 120)]).await;
    for (seq, id) in (1..).zip(["DEAD", "DEAD-OLD", "DEAD-TWICE", "DEAD-TWICE", "BOTH", "RESOLVED"]) {
        ledger.store.bury(&letter(id, seq, "why")).await.unwrap();
    }
    ledger
        .sql("UPDATE dead_letters SET at = at - interval '2 minutes' WHERE id = 'DEAD-OLD' OR seq = 3")
        .await;
    ledger.sql("UPDATE dead_letters SET resolved_at = now() WHERE id = 'RESOLVED'").await;
    // Whether a row, and the seconds to wait for an age of one minute; half a minute is what a slow machine
    // may take.
    let rows = [
        ("YOUNG", Some((true, 30..=60))),
        ("HALF", Some((true, 0..=30))),
        ("OLD", Some((true, 0..=0))),
        ("BOTH", Some((true, 0..=0))),
        ("DEAD", Some((false, 30..=60))),
        ("DEAD-OLD", Some((false, 0..=0))),
        // The oldest counts.
        ("DEAD-TWICE", Some((false, 0..=0))),
        ("RESOLVED", None),
        ("NEVER", None),
    ];
    let keys: Vec<(String, String)> =
        rows.iter().map(|(id, _)| ("default".to_owned(), (*id).to_owned())).collect();
    let traces = ledger.store.traces(&keys, MINUTE).await.unwrap();
    for (place, (id, expected)) in rows.into_iter().enumerate() {
        let found = traces.get(&place).map(|trace| match trace {
            Trace::Recorded { wait } => (true, wait.as_millis().div_ceil(1_000)),
            Trace::Dead { wait } => (false, wait.as_millis().div_ceil(1_000)),
        });
        let fits = match (&found, &expected) {
            (Some((recorded, wait)), Some((expected_recorded, range))) => {
                recorded == expected_recorded && range.contains(wait)
            }
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(fits, "{id}: {found:?}, expected {expected:?}");
    }
    assert!(ledger.store.traces(&[], MINUTE).await.unwrap().is_empty());
}

#[tokio::test]
async fn recent_payments_are_those_accepted_and_recorded_since() {
    let (ledger, mut requests) = holds(&[("NEW", 0), ("RECORDED-LONG-AGO", 7_200)]).await;
    let mut accepted_long_ago = request("ACCEPTED-LONG-AGO", "A", "B", usd(3));
    accepted_long_ago.facts.accepted_at = at(-7_200_000_000);
    ledger.hold(&[accepted_long_ago]).await;
    // Every end counts: the sender has asked.
    requests.push(request("FAILED", "A", "B", usd(1_000_000)));
    ledger.store.reserve(requests.clone(), at(10)).await.unwrap();
    ledger.store.record_rejections(vec![refused(&request("REFUSED", "A", "B", usd(7)))]).await.unwrap();
    ledger.capture(&requests[..1]).await;
    let since = Timestamp::from_micros(at(0).micros() - 3_600_000_000);
    let found = ledger.store.recent_payments(since).await.unwrap();
    let ids: BTreeSet<&str> = found.iter().map(|payment| payment.payment_id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["NEW", "FAILED", "REFUSED"]));
    let refused = found.iter().find(|payment| payment.payment_id == "REFUSED").unwrap();
    let expected = (crate::common::account_key("A"), usd(7), 7, at(1));
    assert_eq!((refused.source.clone(), refused.amount, refused.accepted_seq, refused.accepted_at), expected);
    assert!(ledger.store.records(&[payment_key("ACCEPTED-LONG-AGO")]).await.unwrap().len() == 1);
}
