//! How the server goes about the statements of a batch: row by row, by key, in the order in which it is asked.

use crate::common::{Ledger, SERVICES, at, keys, refused, request, settlements, usd};
use devstack::testing::TestPostgres;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

/// What the sessions of services are told, and to keep a plan as they do after a few batches.
const AS_SERVICES: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan";

/// What a batch need not pay for, on empty tables and so on full ones: rows are asked for in the order of their
/// locks, nothing is read whole, and no array is written to a store of its own before it is read. Keys are two
/// arrays and their places.
fn dear_steps(plan: &str) -> Vec<&str> {
    let is_dear = |line: &&str| {
        ["Sort", "Seq Scan", "Hash", "Merge", "Bitmap", "Materialize", "Join Filter: ("]
            .iter()
            .any(|step| line.contains(step))
            || line.contains("Function Scan") && !line.contains(" k ")
    };
    plan.lines().filter(is_dear).collect()
}

async fn rows(session: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(session).await.unwrap();
    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
}

/// A ledger of two accounts, on a server that counts.
async fn open() -> Ledger {
    let postgres = TestPostgres::start_with(|options| {
        let options = options.setting("shared_preload_libraries", "pg_stat_statements");
        options.setting("pg_stat_statements.track_planning", "on")
    })
    .await;
    let ledger = Ledger::open_on(&postgres).await;
    ledger.fund("A", usd(100)).await;
    ledger.fund("B", usd(100)).await;
    ledger.sql("CREATE EXTENSION pg_stat_statements").await;
    ledger
}

/// The fewer payments in a batch, the more a plan for it weighs.
#[tokio::test]
async fn a_statement_is_planned_once_however_small_its_batches_are() {
    const BATCHES: usize = 20;
    let ledger = open().await;
    let store = ledger.another_store(|options| options.connections_max = 1);
    for number in 0..BATCHES {
        let batch = [request(&format!("P{number}"), "A", "B", usd(1))];
        store.known(&keys(&batch)).await.unwrap();
        store.reserve(batch.to_vec(), at(10)).await.unwrap();
        store.settle(settlements(&batch), at(20), 0).await.unwrap();
    }
    let planned = format!(
        "SELECT plans, calls, regexp_replace(left(query, 60), '\\s+', ' ', 'g') FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
         WHERE rolname = '{SERVICES}' AND calls >= {BATCHES} AND query LIKE '%UNNEST(%'"
    );
    let planned = ledger.sql(&planned).await;
    assert!(planned.lines().count() >= 6, "statements of look-up, reserve and settle: {planned}");
    // A plan is made again when its tables have changed, by an ANALYZE say.
    let is_kept = |line: &str| ["1|", "2|", "3|", "4|"].iter().any(|plans| line.starts_with(plans));
    assert!(planned.lines().all(is_kept), "times planned, times asked:\n{planned}");
}

#[tokio::test]
async fn a_batch_is_neither_sorted_nor_stored_nor_searched_for() {
    let ledger = open().await;
    let batch = [request("P1", "A", "B", usd(1)), request("P2", "B", "A", usd(1))];
    ledger.fund("C", usd(100)).await;
    ledger.hold(&batch).await;
    ledger.capture(&batch).await;
    ledger.store.record_rejections(vec![refused(&request("P3", "A", "B", usd(1)))]).await.unwrap();
    ledger.store.known(&keys(&batch)).await.unwrap();
    let mut session = ledger.session(SERVICES).await;
    rows(&mut session, AS_SERVICES).await;
    // Making accounts of ours is asked once per currency, not once per batch.
    let seen = "SELECT query FROM pg_stat_statements
                WHERE query LIKE '%UNNEST(%' AND query NOT LIKE '%pg_stat%' AND query NOT LIKE 'WITH made%'
                    AND query NOT LIKE '%INTO operations%'";
    let statements = rows(&mut ledger.session(devstack::OWNER).await, seen).await;
    assert!(statements.len() >= 7, "locks, reads and writes of reserve, settle and refusals: {statements:?}");
    for statement in statements {
        rows(&mut session, &format!("PREPARE asked AS {statement}")).await;
        let count =
            "SELECT cardinality(parameter_types)::text FROM pg_prepared_statements WHERE name = 'asked'";
        let count: usize = rows(&mut session, count).await[0].parse().unwrap();
        let nothing = vec!["NULL"; count].join(", ");
        let plan = rows(&mut session, &format!("EXPLAIN EXECUTE asked ({nothing})")).await.join("\n");
        assert_eq!(dear_steps(&plan), Vec::<&str>::new(), "{statement}\n{plan}");
        rows(&mut session, "DEALLOCATE asked").await;
    }
}
