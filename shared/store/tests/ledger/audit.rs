//! The incremental audit: what it finds, that it finds it once, and what it reads.

use crate::common::{Ledger, SERVICES, at, currency, payment_key, refused, request, try_sql, usd};
use crate::reads::{PAYMENTS, fill};
use crate::sessions::all_reported;
use domain::{Money, Timestamp};
use std::time::Duration;
use store::{AuditLook, AuditWindow, Audited, FINDINGS_WRITTEN_MAX, Outcome, Plans, Store, Volume};

/// Longer than any ledger here.
const ALL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
const MANY: u32 = 50_000;

const FINDINGS: &str = "SELECT rule, tenant, subject, currency, minor FROM audit_findings ORDER BY number";

/// Payments whose ids are of the one in sixteen that are compared with their rows.
const LOOKED_UP: [&str; 2] = ["P35", "P38"];

/// What is done to a ledger of two captured payments of 1.00 from A to B, and what the audit says of it.
const CORRUPTIONS: [(&str, &str); 11] = [
    ("SELECT", ""),
    (
        "UPDATE entries SET amount = amount + 5, balance_after = balance_after + 5 WHERE account_id = 'B' AND number = 2",
        "operation_sums_to_zero|default|payment P38|USD|5",
    ),
    (
        "UPDATE entries SET currency = 'ZZZ' WHERE account_id = 'B' AND number = 2",
        "operation_sums_to_zero|default|payment P38|USD|-100\noperation_sums_to_zero|default|payment P38|ZZZ|100",
    ),
    (
        "UPDATE entries SET amount = 9223372036854775807 WHERE account_id = 'B' AND number = 2",
        "operation_sums_to_zero|default|payment P38|USD|9223372036854775707\nbalances_chain|default|B 2|USD|0",
    ),
    (
        "UPDATE entries SET amount = -9223372036854775808, number = -9223372036854775808 WHERE account_id = 'A' AND number = 3",
        "operation_sums_to_zero|default|payment P38|USD|-9223372036854775708\nbalances_chain|default|A -9223372036854775808|USD|0\ndebit_is_of_its_capture|default|P38|USD|0",
    ),
    (
        "UPDATE entries SET balance_after = 1 WHERE account_id = 'B' AND number = 2",
        "balances_chain|default|B 2|USD|0",
    ),
    (
        "UPDATE payments SET status = 'RESERVED', finished_at = NULL WHERE id = 'P35'",
        "debit_is_of_its_capture|default|P35|USD|0",
    ),
    ("UPDATE payments SET amount = 99 WHERE id = 'P35'", "debit_is_of_its_capture|default|P35|USD|0"),
    ("DELETE FROM payments WHERE id = 'P35'", "debit_is_of_its_capture|default|P35|USD|0"),
    // Settled twice, in one window and in two: the row tells of one of them.
    (
        "INSERT INTO entries SELECT tenant, account_id, number + 10, operation_kind, operation_id, currency, amount, balance_after, posted_at
         FROM entries WHERE operation_id = 'P35'",
        "balances_chain|default|A 12|USD|0\nbalances_chain|default|B 11|USD|0\ndebit_is_of_its_capture|default|P35|USD|0",
    ),
    (
        "INSERT INTO entries SELECT tenant, account_id, number + 10, operation_kind, operation_id, currency, amount, balance_after, posted_at - interval '1 day'
         FROM entries WHERE operation_id = 'P35'",
        "balances_chain|default|A 12|USD|0\nbalances_chain|default|B 11|USD|0\ndebit_is_of_its_capture|default|P35|USD|0",
    ),
];

/// A ledger whose whole life is to be audited.
async fn ledger_of_two() -> Ledger {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let payments = LOOKED_UP.map(|id| request(id, "A", "B", usd(100)));
    ledger.hold(&payments).await;
    ledger.capture(&payments).await;
    begin_at(&ledger, Timestamp::default()).await;
    ledger
}

async fn begin_at(ledger: &Ledger, at: Timestamp) {
    ledger
        .sql(&format!("UPDATE watermarks SET at = 'epoch'::timestamptz + {} * interval '1 microsecond' WHERE name = 'audit'", at.micros()))
        .await;
}

async fn corrupt(ledger: &Ledger, sql: &str) {
    let triggers = |state| format!("ALTER TABLE entries {state} TRIGGER entries_are_append_only");
    ledger.sql(&format!("{}; {sql}; {}", triggers("DISABLE"), triggers("ENABLE"))).await;
}

fn auditor(ledger: &Ledger) -> Store {
    ledger.another_store(|options| options.plans = Plans::ByRange)
}

/// What a look over a window that nobody else audits has seen.
async fn audited(store: &Store, step: Duration, age: Duration) -> Audited {
    match store.audit(step, age, MANY).await.unwrap() {
        AuditLook { window: AuditWindow::Audited(audited), .. } => audited,
        other => panic!("nothing is audited: {other:?}"),
    }
}

#[tokio::test]
async fn a_corruption_is_found_once() {
    for (corruption, expected) in CORRUPTIONS {
        let ledger = ledger_of_two().await;
        corrupt(&ledger, corruption).await;
        let auditors = [auditor(&ledger), auditor(&ledger)];
        let found = u64::try_from(expected.lines().count()).unwrap();
        for round in 0..3 {
            let both = auditors.each_ref().map(|store| store.audit(ALL, Duration::ZERO, MANY));
            let looks = futures_of(both).await;
            let counted = looks.iter().filter_map(|look| match &look.window {
                AuditWindow::Audited(audited) if audited.entries > 0 => Some(audited.found),
                _ => None,
            });
            let expected_counts = if round == 0 { vec![found] } else { vec![] };
            assert_eq!(counted.collect::<Vec<_>>(), expected_counts, "{corruption}: {looks:?}");
            let findings = ledger.sql(FINDINGS).await;
            assert_eq!(sorted(&findings), sorted(expected), "{corruption}, round {round}");
        }
        let open: u64 = auditors[0].open_findings().await.unwrap().iter().map(|open| open.count).sum();
        assert_eq!(open, found, "{corruption}");
        let sums: i64 = auditors[0].open_findings().await.unwrap().iter().map(|open| open.minor).sum();
        let written = ledger.sql("SELECT coalesce(sum(minor), 0) FROM audit_findings").await;
        assert_eq!(sums.to_string(), written, "{corruption}");
        ledger.sql("UPDATE audit_findings SET resolved_at = now()").await;
        assert_eq!(auditors[0].open_findings().await.unwrap(), [], "{corruption}");
    }
}

/// A look writes its findings in any order.
fn sorted(findings: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = findings.lines().collect();
    lines.sort_unstable();
    lines
}

async fn futures_of<F: Future<Output = Result<AuditLook, store::StoreError>>>(
    both: [F; 2],
) -> [AuditLook; 2] {
    let [one, other] = both;
    let (one, other) = tokio::join!(one, other);
    [one.unwrap(), other.unwrap()]
}

/// What is done to that ledger when each of its operations has a window of its own, and each account has one
/// entry in it at most.
const BROKEN_CHAINS: [(&str, &str); 6] = [
    ("SELECT", ""),
    (
        "UPDATE entries SET balance_after = balance_after + 1 WHERE account_id = 'A' AND number = 2",
        "balances_chain|default|A 2|USD|0\nbalances_chain|default|A 3|USD|0",
    ),
    (
        "UPDATE entries SET balance_after = 101 WHERE account_id = 'B' AND number = 1",
        "balances_chain|default|B 1|USD|0\nbalances_chain|default|B 2|USD|0",
    ),
    (
        "DELETE FROM entries WHERE operation_id = 'P35'; DELETE FROM payments WHERE id = 'P35'",
        "balances_chain|default|A 3|USD|0\nbalances_chain|default|B 2|USD|0",
    ),
    (
        "UPDATE entries SET number = 3 WHERE account_id = 'B' AND number = 2",
        "balances_chain|default|B 3|USD|0",
    ),
    (
        "UPDATE entries SET number = 0 WHERE account_id = 'B' AND number = 1",
        "balances_chain|default|B 0|USD|0\nbalances_chain|default|B 2|USD|0",
    ),
];

#[tokio::test]
async fn an_entry_goes_on_from_the_one_before_it_whatever_window_that_is_in() {
    const SECOND: Duration = Duration::from_secs(1);
    for (corruption, expected) in BROKEN_CHAINS {
        let ledger = ledger_of_two().await;
        for (seconds, id) in [(-60, "FUND-A"), (-59, "P35"), (-58, "P38")] {
            let later = format!("+ interval '{seconds} s' WHERE");
            let apart = format!(
                "UPDATE entries SET posted_at = posted_at {later} operation_id = '{id}';
                 UPDATE payments SET finished_at = finished_at {later} id = '{id}'"
            );
            corrupt(&ledger, &apart).await;
        }
        corrupt(&ledger, corruption).await;
        begin_at(&ledger, at(-60_000_000)).await;
        let store = auditor(&ledger);
        let mut entries = Vec::new();
        for _ in 0..3 {
            entries.push(audited(&store, SECOND, Duration::ZERO).await.entries);
        }
        assert_eq!(entries, if corruption.starts_with("DELETE") { [2, 0, 2] } else { [2, 2, 2] });
        assert_eq!(sorted(&ledger.sql(FINDINGS).await), sorted(expected), "{corruption}");
    }
}

#[tokio::test]
async fn a_watermark_ahead_of_the_servers_clock_is_told() {
    let ledger = ledger_of_two().await;
    ledger.sql("UPDATE watermarks SET at = now() + interval '1 hour' WHERE name = 'audit'").await;
    let AuditLook { behind, window } = auditor(&ledger).audit(ALL, Duration::ZERO, MANY).await.unwrap();
    assert_eq!(window, AuditWindow::Ahead);
    let hour = Duration::from_secs(3_600);
    assert!((hour / 2..=hour).contains(&behind), "{behind:?}");
}

#[tokio::test]
async fn windows_meet_and_take_nothing_twice() {
    let ledger = ledger_of_two().await;
    let store = auditor(&ledger);
    let millisecond = Duration::from_millis(1);
    // Deposits were posted at the first instant, payments 20 microseconds after it.
    for (begins, expected) in [(-1_000, 0), (-980, 2), (-979, 6), (0, 6), (1, 4), (20, 4), (21, 0)] {
        begin_at(&ledger, at(begins)).await;
        let audited = audited(&store, millisecond, Duration::ZERO).await;
        assert_eq!((audited.entries, audited.found), (expected, 0), "from {begins}");
        assert_eq!(audited.to, at(begins + 1_000), "from {begins}");
    }
    begin_at(&ledger, at(0)).await;
    let look = store.audit(ALL, ALL, MANY).await.unwrap();
    let AuditLook { window: AuditWindow::Audited(young), behind } = look else { panic!("{look:?}") };
    assert_eq!((young.entries, young.to, behind), (0, at(0), Duration::ZERO), "all of it is too young");
    let look = store.audit(ALL, Duration::ZERO, 5).await.unwrap();
    assert_eq!(look.window, AuditWindow::TooMany);
    assert!(look.behind > Duration::ZERO, "{look:?}");
    assert_eq!(audited(&store, ALL, Duration::ZERO).await.entries, 6);
    let written = "SELECT at, xmin FROM watermarks WHERE name = 'audit'";
    let before = ledger.sql(written).await;
    let AuditLook { window: AuditWindow::Audited(idle), behind } =
        store.audit(ALL, Duration::ZERO, MANY).await.unwrap()
    else {
        panic!("nothing is audited")
    };
    assert_eq!((idle.entries, behind), (0, Duration::ZERO), "nothing twice");
    assert_eq!(ledger.sql(written).await, before, "an idle ledger writes nothing");
}

#[tokio::test]
async fn payments_and_volume_are_counted_by_their_sources_currency() {
    let ledger = ledger_of_two().await;
    let euros = Money::new(7, currency("EUR"));
    ledger.store.record_rejections(vec![refused(&request("R", "C", "B", euros))]).await.unwrap();
    let store = auditor(&ledger);
    let mut volumes = audited(&store, ALL, Duration::ZERO).await.volumes;
    volumes.sort_by_key(|volume| volume.outcome);
    let volume = |currency: &str, outcome, payments, minor| Volume {
        currency: currency.to_owned(),
        outcome,
        payments,
        minor,
    };
    assert_eq!(volumes, [volume("USD", Outcome::Captured, 2, 200), volume("EUR", Outcome::Failed, 1, 7)]);
    assert_eq!(store.funded_currencies().await.unwrap(), ["USD"]);
    assert!(!store.known(&[payment_key("R")]).await.unwrap().is_empty());
}

/// However much is wrong, a look writes so much and no more, and tells of all of it.
#[tokio::test]
async fn findings_are_bounded() {
    let ledger = ledger_of_two().await;
    corrupt(
        &ledger,
        "INSERT INTO entries SELECT 'default', 'B', 100 + g * 2, 'payment', 'X' || g, 'USD', 1, 1, posted_at
         FROM entries, generate_series(1, 1500) g WHERE account_id = 'B' AND number = 1",
    )
    .await;
    let store = auditor(&ledger);
    // None sums to zero, and none has an entry before it.
    assert_eq!(audited(&store, ALL, Duration::ZERO).await.found, 3_000);
    let open = store.open_findings().await.unwrap();
    assert_eq!(open.iter().map(|open| open.count).sum::<u64>(), FINDINGS_WRITTEN_MAX);
}

#[tokio::test]
async fn services_can_neither_resolve_nor_remove_a_finding() {
    let ledger = Ledger::open().await;
    for sql in [
        "UPDATE audit_findings SET resolved_at = now()",
        "DELETE FROM audit_findings",
        "TRUNCATE audit_findings",
        "SELECT brin_summarize_new_values('entries_posted_at')",
    ] {
        let (code, message) = try_sql(&mut ledger.session(SERVICES).await, sql).await.expect_err(sql);
        assert_eq!(code, "42501", "{sql}: {message}");
    }
    auditor(&ledger).summarize_entries().await.unwrap();
    ledger.sql("REINDEX INDEX CONCURRENTLY entries_posted_at").await;
    auditor(&ledger).summarize_entries().await.unwrap();
}

#[tokio::test]
async fn an_entry_is_read_twice() {
    const ROUNDS: usize = 25;
    let ledger = Ledger::open().await;
    // The planner knows nothing of the rows, as in a ledger that has just been restored.
    for table in ["entries", "payments"] {
        ledger.sql(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
    }
    fill(&ledger).await;
    begin_at(&ledger, Timestamp::default()).await;
    let entries: usize = ledger.sql("SELECT count(*) FROM entries").await.parse().unwrap();
    let before = [rows_read(&ledger, "entries").await, rows_read(&ledger, "payments").await];
    let store = auditor(&ledger);
    for round in 0..ROUNDS {
        store.summarize_entries().await.unwrap();
        let seen = audited(&store, ALL, Duration::ZERO).await;
        let expected = if round == 0 { u64::try_from(entries).unwrap() } else { 0 };
        assert_eq!((seen.entries, seen.found), (expected, 0), "round {round}");
    }
    store.close().await;
    let [read, payments] =
        [rows_read(&ledger, "entries").await - before[0], rows_read(&ledger, "payments").await - before[1]];
    assert!(
        // By the look that audits it, and by the one that audits its successor.
        (entries..=2 * entries + entries / 10).contains(&read),
        "{ROUNDS} rounds read {read} of {entries} entries"
    );
    assert!((1..=2 * PAYMENTS).contains(&payments), "{ROUNDS} rounds read {payments} of {PAYMENTS} payments");
}

/// The rows of a table that sessions have read which have ended.
async fn rows_read(ledger: &Ledger, table: &str) -> usize {
    all_reported(ledger).await;
    let count =
        format!("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = '{table}'");
    ledger.sql(&count).await.parse().unwrap()
}
