//! What the janitor and a starting risk stage ask.

use crate::common::{Ledger, account_key, at, currency, payment_key, refused, request, usd};
use crate::lookups::letter;
use domain::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use store::{HoldRequest, RecentPayment, Trace};

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
async fn recent_payments_are_read_in_pages_in_the_order_in_which_they_were_recorded() {
    let (ledger, mut requests) = holds(&[("LATEST", 0)]).await;
    // Every end counts: the sender has asked. So does what was accepted long ago; the reader knows its window.
    let mut accepted_long_ago = request("ACCEPTED-LONG-AGO", "A", "B", usd(3));
    accepted_long_ago.facts.accepted_at = at(-7_200_000_000);
    requests.extend([accepted_long_ago, request("FAILED", "A", "B", usd(1_000_000))]);
    requests.extend(["TIE-1", "TIE-2", "TIE-3", "OLDEST"].map(|id| request(id, "A", "B", usd(1))));
    ledger.store.reserve(requests.clone(), at(10)).await.unwrap();
    ledger.store.record_rejections(vec![refused(&request("REFUSED", "A", "B", usd(7)))]).await.unwrap();
    ledger.capture(&requests[..1]).await;
    // Microseconds after `at(0)`.
    let recorded = [
        ("OLDEST", 0),
        ("REFUSED", 1),
        ("TIE-1", 2),
        ("TIE-2", 2),
        ("TIE-3", 2),
        ("ACCEPTED-LONG-AGO", 3),
        ("FAILED", 4),
        ("LATEST", 5),
    ];
    for (id, micros) in recorded {
        let at = at(micros);
        ledger.sql(&format!("UPDATE payments SET recorded_at = '{at}' WHERE id = '{id}'")).await;
    }
    // Rows of a page at most, after which instant, and the sizes of the pages until one is not full.
    let rows: [(u32, i64, &[usize]); 8] = [
        (100, -1, &[8]),
        (100, 0, &[7]),
        (100, 2, &[3]),
        (100, 5, &[0]),
        (8, -1, &[8, 0]),
        (3, -1, &[5, 3, 0]),
        (1, -1, &[1, 1, 3, 1, 1, 1, 0]),
        (2, 1, &[3, 2, 1]),
    ];
    for (rows_max, after, sizes) in rows {
        let (mut read_to, mut found, mut pages) = (at(after), Vec::new(), Vec::new());
        loop {
            let page = ledger.store.recent_payments(read_to, rows_max).await.unwrap();
            read_to = page.read_to;
            pages.push(page.payments.len());
            found.extend(page.payments);
            if !page.is_full {
                break;
            }
        }
        assert_eq!(pages, sizes, "pages of {rows_max} after {after}");
        assert_eq!(read_to, at(5), "pages of {rows_max} after {after}");
        let ids: BTreeSet<&str> = found.iter().map(|payment| payment.key.id.as_str()).collect();
        let later = || recorded.iter().filter(|(_, micros)| *micros > after);
        assert_eq!(ids, later().map(|(id, _)| *id).collect(), "pages of {rows_max} after {after}");
        let micros = |payment: &RecentPayment| {
            recorded.iter().find(|(id, _)| *id == payment.key.id.as_str()).unwrap().1
        };
        let order: Vec<i64> = found.iter().map(micros).collect();
        assert_eq!(
            order,
            later().map(|(_, micros)| *micros).collect::<Vec<_>>(),
            "pages of {rows_max} after {after}"
        );
    }
    let page = ledger.store.recent_payments(at(0), 1).await.unwrap();
    let (amount, accepted_at) = (usd(7), at(1));
    let refused =
        RecentPayment { key: payment_key("REFUSED"), source: account_key("A").id, amount, accepted_at };
    assert_eq!(page.payments, std::slice::from_ref(&refused));
    assert_eq!(refused.source_key(), account_key("A"));
}

#[tokio::test]
async fn a_row_that_no_payment_can_be_like_does_not_end_the_reading_of_recent_ones() {
    let (ledger, _) = holds(&[("FIRST", 30), ("BROKEN", 20), ("LAST", 10)]).await;
    let columns = [("source_account", "'?'"), ("currency", "'???'"), ("id", "'?'"), ("tenant", "'?'")];
    for (column, value) in columns {
        ledger.sql(&format!("UPDATE payments SET {column} = {value} WHERE id IN ('BROKEN', '?')")).await;
        let page = ledger.store.recent_payments(Timestamp::from_micros(0), 3).await.unwrap();
        let ids: Vec<&str> = page.payments.iter().map(|payment| payment.key.id.as_str()).collect();
        assert_eq!((ids, page.is_full), (vec!["FIRST", "LAST"], true), "{column}");
    }
}
