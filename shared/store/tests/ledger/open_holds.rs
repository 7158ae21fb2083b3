//! Holds that are late are found once, whatever their neighbours do, and remembered until they end.

use crate::common::{BEFORE_ALL, Ledger, payment_key, request, try_sql, usd};
use crate::janitor::holds;
use crate::lookups::letter;
use domain::{PaymentKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::{HoldPage, OpenHold};

/// When the young scan meets a hold; the late scan meets it a minute later.
const AGE: Duration = Duration::from_secs(30);

/// Before any row.
const EPOCH: Timestamp = Timestamp::from_micros(0);

const ALL: u32 = 10_000;

fn ids(holds: &[OpenHold]) -> Vec<&str> {
    holds.iter().map(|hold| hold.key.id.as_str()).collect()
}

/// Lets time pass: everything was recorded so much earlier.
pub(crate) async fn pass(ledger: &Ledger, seconds: i64) {
    ledger
        .sql(&format!("UPDATE payments SET recorded_at = recorded_at - interval '{seconds} seconds'"))
        .await;
    ledger.sql(&format!("UPDATE watermarks SET at = at - interval '{seconds} seconds'")).await;
}

/// Where a scan stands after that.
pub(crate) fn passed(cursor: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(cursor.micros() - seconds * 1_000_000)
}

#[tokio::test]
async fn each_scan_meets_an_open_hold_once() {
    let ages = [
        ("OLDEST", 900),
        ("BURIED", 800),
        ("OLD", 700),
        ("ENDED", 600),
        ("MIDDLE", 60),
        ("GONE", 50),
        ("YOUNG", 5),
    ];
    let (ledger, requests) = holds(&ages).await;
    ledger.capture(&[requests[3].clone(), requests[5].clone()]).await;
    ledger.store.bury(&letter("BURIED", 1, "why")).await.unwrap();
    let late = ledger.store.late_holds(EPOCH, AGE, ALL, BEFORE_ALL).await.unwrap();
    let young = ledger.store.young_holds(EPOCH, AGE, ALL).await.unwrap();
    assert_eq!((ids(&late.holds), late.is_full), (vec!["OLDEST", "BURIED", "OLD"], false));
    // What lies before a minute and a half ago is the late scan's alone.
    assert_eq!((ids(&young.holds), young.is_full), (vec!["MIDDLE"], false));
    let held_at =
        ledger.store.records(&[payment_key("OLD")]).await.unwrap().remove(&payment_key("OLD")).unwrap().state;
    assert!(
        matches!(held_at, domain::facts::RecordState::Reserved(reserved) if reserved.at == late.holds[2].held_at)
    );
    for _ in 0..2 {
        assert_eq!(ledger.store.late_holds(late.read_to, AGE, ALL, BEFORE_ALL).await.unwrap().holds, []);
        assert_eq!(ledger.store.young_holds(young.read_to, AGE, ALL).await.unwrap().holds, []);
    }
    // Only what the late scan has met is written down.
    assert_eq!(
        ledger.sql("SELECT string_agg(id, ' ' ORDER BY id) FROM open_holds").await,
        "BURIED OLD OLDEST"
    );
    pass(&ledger, 60).await;
    assert_eq!(
        ids(&ledger.store.late_holds(passed(late.read_to, 60), AGE, ALL, BEFORE_ALL).await.unwrap().holds),
        ["MIDDLE"]
    );
    assert_eq!(
        ids(&ledger.store.young_holds(passed(young.read_to, 60), AGE, ALL).await.unwrap().holds),
        ["YOUNG"]
    );
}

#[tokio::test]
async fn no_page_ends_between_rows_of_one_instant() {
    let ages = [("A", 900), ("B", 800), ("C", 800), ("D", 800), ("E", 700), ("F", 600), ("G", 600)];
    let (ledger, _) = holds(&ages).await;
    ledger.sql("UPDATE payments p SET recorded_at = (SELECT min(recorded_at) FROM payments WHERE id = 'B') WHERE id IN ('C', 'D')").await;
    ledger.sql("UPDATE payments p SET recorded_at = (SELECT min(recorded_at) FROM payments WHERE id = 'F') WHERE id = 'G'").await;
    let rows: [(u32, &[&str]); 5] = [
        (1, &["A", "BCD", "E", "FG", ""]),
        (2, &["ABCD", "EFG", ""]),
        (3, &["ABCD", "EFG", ""]),
        (6, &["ABCDEFG", ""]),
        (8, &["ABCDEFG"]),
    ];
    for (rows_max, expected) in rows {
        let mut pages = Vec::new();
        let mut page = HoldPage { read_to: EPOCH, is_full: true, holds: Vec::new(), watermark: None };
        while page.is_full {
            page = ledger.store.late_holds(page.read_to, AGE, rows_max, BEFORE_ALL).await.unwrap();
            let sorted: BTreeSet<&str> = ids(&page.holds).into_iter().collect();
            assert_eq!(sorted.len(), page.holds.len(), "pages of {rows_max}");
            pages.push(sorted.into_iter().collect::<String>());
        }
        assert_eq!(pages, expected, "pages of {rows_max}");
    }
}

/// A row that its transaction commits after the young scan has passed is met by the late one.
#[tokio::test]
async fn late_commits_are_not_missed() {
    let (ledger, _) = holds(&[("SEEN", 60)]).await;
    let mut writer = ledger.session(devstack::OWNER).await;
    let copy = "BEGIN;
        CREATE TEMPORARY TABLE copied AS SELECT * FROM payments;
        UPDATE copied SET id = 'UNSEEN', recorded_at = recorded_at - interval '1 second';
        INSERT INTO payments SELECT * FROM copied";
    try_sql(&mut writer, copy).await.unwrap();
    let late = ledger.store.late_holds(EPOCH, AGE, ALL, BEFORE_ALL).await.unwrap();
    let young = ledger.store.young_holds(EPOCH, AGE, ALL).await.unwrap();
    assert_eq!((ids(&late.holds), ids(&young.holds)), (vec![], vec!["SEEN"]));
    try_sql(&mut writer, "COMMIT").await.unwrap();
    assert_eq!(ledger.store.young_holds(young.read_to, AGE, ALL).await.unwrap().holds, []);
    pass(&ledger, 60).await;
    assert_eq!(
        ids(&ledger.store.late_holds(passed(late.read_to, 60), AGE, ALL, BEFORE_ALL).await.unwrap().holds),
        ["UNSEEN", "SEEN"]
    );
}

/// Neither an open hold nor a buried one keeps the scan from moving on, and a janitor that starts knows both.
#[tokio::test]
async fn the_watermark_moves_past_what_is_remembered() {
    let (ledger, requests) = holds(&[("STUCK", 900), ("BURIED", 800), ("ENDED", 700)]).await;
    ledger.store.bury(&letter("BURIED", 1, "why")).await.unwrap();
    ledger
        .store
        .late_holds(ledger.store.holds_watermark().await.unwrap(), AGE, ALL, BEFORE_ALL)
        .await
        .unwrap();
    let place = "SELECT at BETWEEN clock_timestamp() - interval '3 minutes' AND clock_timestamp() - interval '90 seconds' FROM watermarks WHERE name = 'open_holds'";
    assert_eq!(ledger.sql(place).await, "t");
    ledger.capture(&requests[2..]).await;
    // Another process, later.
    let restarted = ledger.another_store(|_| {});
    let watermark = restarted.holds_watermark().await.unwrap();
    assert_eq!(restarted.late_holds(watermark, AGE, ALL, BEFORE_ALL).await.unwrap().holds, []);
    let mut remembered = Vec::new();
    while let page = restarted.remembered_holds(remembered.last(), 2).await.unwrap()
        && !page.is_empty()
    {
        remembered.extend(page.into_iter().map(|hold| hold.key));
    }
    assert_eq!(remembered, ["BURIED", "ENDED", "STUCK"].map(payment_key));
    let held =
        |resolved: bool| BTreeMap::from([(payment_key("BURIED"), !resolved), (payment_key("STUCK"), false)]);
    let ask = async || {
        restarted.still_held(&remembered).await.unwrap().into_iter().collect::<BTreeMap<PaymentKey, bool>>()
    };
    assert_eq!(ask().await, held(false));
    ledger.sql("UPDATE dead_letters SET resolved_at = now()").await;
    assert_eq!(ask().await, held(true));
    restarted.forget_holds(&["ENDED", "NEVER"].map(payment_key)).await.unwrap();
    assert_eq!(ledger.sql("SELECT string_agg(id, ' ' ORDER BY id) FROM open_holds").await, "BURIED STUCK");
}

#[tokio::test]
async fn the_watermark_never_goes_back_and_begins_where_it_stood() {
    let (ledger, _) = holds(&[("OLD", 700), ("NEXT", 600)]).await;
    // An older build leaves it at the oldest hold that is open.
    ledger
        .sql("INSERT INTO watermarks SELECT 'open_holds', recorded_at FROM payments WHERE id = 'OLD'")
        .await;
    let watermark = ledger.store.holds_watermark().await.unwrap();
    let page = ledger.store.late_holds(watermark, AGE, 1, BEFORE_ALL).await.unwrap();
    assert_eq!(ids(&page.holds), ["OLD"]);
    assert_eq!(
        ids(&ledger.store.late_holds(page.read_to, AGE, 1, BEFORE_ALL).await.unwrap().holds),
        ["NEXT"]
    );
    let before = ledger.sql("SELECT at FROM watermarks WHERE name = 'open_holds'").await;
    // A second janitor, behind the first; and nothing more to read.
    for after in [EPOCH, watermark, page.read_to] {
        ledger.store.late_holds(after, AGE, 1, BEFORE_ALL).await.unwrap();
        ledger.store.late_holds(after, Duration::from_secs(3_600), 1, BEFORE_ALL).await.unwrap();
        assert_eq!(ledger.sql("SELECT at FROM watermarks WHERE name = 'open_holds'").await, before);
    }
}

/// A row that no build of ours has written must not end the scan for those behind it.
#[tokio::test]
async fn a_row_that_is_not_understood_stops_nothing() {
    let (ledger, _) = holds(&[("STRANGE", 900), ("GOOD", 800)]).await;
    ledger.sql("UPDATE payments SET id = 'a b' WHERE id = 'STRANGE'").await;
    let page = ledger.store.late_holds(EPOCH, AGE, ALL, BEFORE_ALL).await.unwrap();
    assert_eq!(ids(&page.holds), ["GOOD"]);
    assert_eq!(ids(&ledger.store.remembered_holds(None, ALL).await.unwrap()), ["GOOD"]);
    let held = ledger
        .store
        .still_held(&[payment_key("GOOD"), request("OTHER", "A", "B", usd(1)).facts.payment.key()])
        .await
        .unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(payment_key("GOOD"), false)]);
}

/// A janitor that read the watermark before the ledger was set back must not move it past what it has not read.
#[tokio::test]
async fn a_watermark_that_was_set_back_stays_until_somebody_has_seen_it() {
    let (ledger, _) = holds(&[("FIRST", 900), ("SECOND", 800)]).await;
    let first = ledger.store.late_holds(EPOCH, AGE, 1, BEFORE_ALL).await.unwrap();
    let known = first.watermark.unwrap();
    assert_eq!(known, ledger.store.holds_watermark().await.unwrap());
    ledger.sql("DELETE FROM watermarks").await;
    let next = ledger.store.late_holds(first.read_to, AGE, 1, known).await.unwrap();
    assert_eq!((ids(&next.holds), next.watermark), (vec!["SECOND"], Some(BEFORE_ALL)));
    assert_eq!(ledger.store.holds_watermark().await.unwrap(), BEFORE_ALL);
    let anew = ledger.store.late_holds(BEFORE_ALL, AGE, 1, BEFORE_ALL).await.unwrap();
    assert_eq!((ids(&anew.holds), anew.watermark), (vec!["FIRST"], Some(known)));
}
