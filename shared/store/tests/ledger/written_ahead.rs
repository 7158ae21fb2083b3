//! What a payment writes to the log of the server, record by record: each is paid for twice, when it is made and
//! when it goes to disk.

#![allow(clippy::print_stdout, reason = "the table of records is what the test is asked for")]

use crate::common::{Ledger, request, usd};
use devstack::testing::TestPostgres;
use std::collections::BTreeMap;
use store::HoldRequest;

/// Payments of a batch, each between two accounts of its own.
const SIZE: usize = 64;

/// What a batch may write for each of its payments.
struct Bound {
    step: &'static str,
    record: &'static str,
    per_payment: usize,
}

/// Inserts, changes and locks, as the write-ahead log names them.
const BOUNDS: [Bound; 8] = [
    // The source account.
    Bound { step: "reserve", record: "Heap/LOCK", per_payment: 1 },
    Bound { step: "reserve", record: "Heap/HOT_UPDATE", per_payment: 1 },
    // The payment's row, its key and its time.
    Bound { step: "reserve", record: "Heap/INSERT", per_payment: 1 },
    Bound { step: "reserve", record: "Btree/INSERT_LEAF", per_payment: 2 },
    // The payment and both accounts.
    Bound { step: "settle", record: "Heap/LOCK", per_payment: 3 },
    Bound { step: "settle", record: "Heap/HOT_UPDATE", per_payment: 3 },
    // Two entries and their keys.
    Bound { step: "settle", record: "Heap/INSERT", per_payment: 2 },
    Bound { step: "settle", record: "Btree/INSERT_LEAF", per_payment: 2 },
];

/// Records of new pages and of room that is made: as many as there are pages, whatever their rows do.
const INCIDENTAL: [&str; 7] = [
    "Heap/INSERT+INIT",
    "Heap2/PRUNE",
    "Heap2/VISIBLE",
    "Btree/INSERT_UPPER",
    "Btree/NEWROOT",
    "Btree/SPLIT_L",
    "Btree/SPLIT_R",
];

#[tokio::test]
async fn a_payment_writes_no_record_more_than_it_must() {
    let postgres = TestPostgres::start_with(|options| options.setting("autovacuum", "off")).await;
    let ledger = Ledger::open_on(&postgres).await;
    ledger.sql("CREATE EXTENSION pg_walinspect").await;
    let requests: Vec<HoldRequest> = (0..SIZE)
        .map(|number| request(&format!("P{number}"), &format!("A{number}"), &format!("B{number}"), usd(1)))
        .collect();
    for number in 0..SIZE {
        ledger.fund(&format!("A{number}"), usd(100)).await;
        ledger.fund(&format!("B{number}"), usd(100)).await;
    }
    // Pages with room, as those of accounts that have been there for a while.
    ledger.sql("VACUUM accounts").await;
    let mut written = BTreeMap::new();
    let start = ledger.sql("SELECT pg_current_wal_insert_lsn()").await;
    ledger.hold(&requests).await;
    let middle = ledger.sql("SELECT pg_current_wal_flush_lsn()").await;
    ledger.capture(&requests).await;
    let end = ledger.sql("SELECT pg_current_wal_flush_lsn()").await;
    for (step, from, to) in [("reserve", &start, &middle), ("settle", &middle, &end)] {
        let records = ledger
            .sql(&format!(
                "SELECT resource_manager || '/' || record_type, count(*), sum(record_length) FROM pg_get_wal_records_info('{from}', '{to}')
                 WHERE resource_manager LIKE 'Heap%' OR resource_manager = 'Btree' GROUP BY 1 ORDER BY 1"
            ))
            .await;
        for line in records.lines() {
            println!("{step}: {line}");
            let (record, count) = line.split_once('|').unwrap();
            let count: usize = count.split('|').next().unwrap().parse().unwrap();
            written.insert((step, record.to_owned()), count);
        }
    }
    for ((step, record), count) in &written {
        let bound = BOUNDS.iter().find(|bound| bound.step == *step && bound.record == record);
        let most = match bound {
            Some(bound) => bound.per_payment * SIZE,
            None if INCIDENTAL.contains(&record.as_str()) => SIZE / 4,
            None => 0,
        };
        assert!(*count <= most, "{step} of {SIZE} payments writes {count} records {record}, {most} expected");
    }
    assert_eq!(written.get(&("reserve", "Heap/LOCK".to_owned())), Some(&SIZE), "they are counted");
}
