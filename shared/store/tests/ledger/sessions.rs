//! How the store's own sessions are set, and what is an outage and what is not.

use crate::common::{
    BEFORE_ALL, Ledger, account_key, at, currency, deposit, insist, keys, recorded, refused, request,
    settlements, status, try_sql, usd,
};
use devstack::testing::TestPostgres;
use std::time::Duration;
use store::{HoldRequest, Settlement, Store, StoreError};

#[tokio::test]
async fn sessions_have_their_bounds() {
    let ledger = Ledger::open().await;
    // What the database or the role would have otherwise does not matter.
    ledger
        .sql(&format!("ALTER ROLE kilat_app IN DATABASE {} SET synchronous_commit = off", ledger.database()))
        .await;
    let store = ledger.another_store(|options| {
        options.statement_timeout = Duration::from_millis(12_345);
        options.lock_timeout = Duration::from_millis(678);
        options.application_name = "settings-test".to_owned();
        options.url += "?options=-c%20synchronous_commit%3Doff";
    });
    let rows = [
        ("statement_timeout", "12345ms"),
        ("lock_timeout", "678ms"),
        ("idle_in_transaction_session_timeout", "12345ms"),
        ("application_name", "settings-test"),
        ("synchronous_commit", "on"),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "60000"),
        ("client_connection_check_interval", "2s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_material", "off"),
        ("transaction_isolation", "read committed"),
    ];
    for (name, value) in rows {
        let (_, shown) =
            store.violations(&format!("SELECT current_setting('{name}') AS value"), 1).await.unwrap();
        assert_eq!(shown, [format!(r#"{{"value": "{value}"}}"#)], "{name}");
    }
    let (count, shown) = store
        .violations("SELECT current_user::text AS value FROM generate_series(1, 9);\n", 2)
        .await
        .unwrap();
    assert_eq!((count, shown), (9, vec![r#"{"value": "kilat_app"}"#.to_owned(); 2]));
}

/// What a migration has written stays written, whatever the URL says.
#[tokio::test]
async fn a_migration_has_the_same_sessions() {
    let postgres = TestPostgres::shared().await;
    let url = postgres.fresh_database().await;
    let (_, database) = url.rsplit_once('/').unwrap();
    let watch = "CREATE TABLE seen (value text);
        CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); END $$;
        CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see()";
    postgres.query(database, watch).await;
    store::migrate(&format!("{url}?options=-c%20synchronous_commit%3Doff")).await.unwrap();
    assert_eq!(postgres.query(database, "SELECT DISTINCT value FROM seen").await, "on");
}

/// Counted, not timed: a plan that scans a table is right on an empty one, is kept, and is ruin on a full
/// one.
#[tokio::test]
async fn no_batch_scans_a_table() {
    // The server makes its own plan for the first five executions of a statement, and keeps the sixth.
    const ROUNDS: usize = 10;
    const SCANS: &str = "SELECT relname, seq_scan FROM pg_stat_user_tables
        WHERE relname IN ('accounts', 'payments', 'operations', 'entries', 'dead_letters', 'open_holds') ORDER BY relname";
    let ledger = Ledger::open().await;
    // The migration has scanned them, too.
    all_reported(&ledger).await;
    let before = ledger.sql(SCANS).await;
    let store = ledger.another_store(|options| options.connections_max = 1);
    for id in ["A", "B"] {
        store.open_account(&account_key(id), currency("USD")).await.unwrap();
    }
    for round in 0..ROUNDS {
        let requests = ["X", "Y"].map(|name| request(&format!("{name}{round}"), "A", "B", usd(1)));
        store.deposit(vec![deposit(&format!("D{round}"), "A", usd(2))], at(10)).await.unwrap();
        store.reserve(requests.to_vec(), at(10)).await.unwrap();
        store.settle(settlements(&requests), at(20), 0).await.unwrap();
        store
            .record_rejections(vec![refused(&request(&format!("R{round}"), "A", "B", usd(1)))])
            .await
            .unwrap();
        store.known(&keys(&requests)).await.unwrap();
        store.records(&keys(&requests)).await.unwrap();
        store.status(&requests[0].facts.payment.key()).await.unwrap();
        store.account(&account_key("A")).await.unwrap();
        store.account_currencies(&[account_key("A")].into()).await.unwrap();
        store.traces(&[("default".to_owned(), "X0".to_owned())], Duration::ZERO).await.unwrap();
        let after = store.holds_watermark().await.unwrap();
        store.late_holds(after, Duration::ZERO, 10, BEFORE_ALL).await.unwrap();
        store.young_holds(after, Duration::ZERO, 10).await.unwrap();
        store.still_held(&keys(&requests)).await.unwrap();
        store.remembered_holds(None, 10).await.unwrap();
        store.forget_holds(&keys(&requests)).await.unwrap();
    }
    store.close().await;
    all_reported(&ledger).await;
    assert_eq!(ledger.sql(SCANS).await, before);
}

/// A session reports what it has read when it ends: waits until all others have.
pub(crate) async fn all_reported(ledger: &Ledger) {
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    await_answer(ledger, others, |count| count == "0").await;
}

#[tokio::test]
async fn migrations_may_run_at_once_and_again() {
    let ledger = Ledger::open().await;
    let url = ledger.owner_url().to_owned();
    let again = || {
        tokio::spawn({
            let url = url.clone();
            async move { store::migrate(&url).await }
        })
    };
    for outcome in [again(), again(), again()] {
        outcome.await.unwrap().unwrap();
    }
    ledger.fund("A", usd(1)).await;
}

/// A payment whose data Postgres does not take. The border lets none of it through; the store must not call
/// it an outage.
fn impossible() -> Vec<(&'static str, HoldRequest)> {
    let mut nul = request("NUL", "A", "B", usd(1));
    nul.facts.payment.description = Some("a\0b".to_owned());
    let mut nothing_arrives = request("NOTHING", "A", "B", usd(1));
    nothing_arrives.quote.destination_amount = usd(0);
    let mut own = request("OWN", "A", "B", usd(1));
    own.facts.payment.destination_account = own.facts.payment.source_account.clone();
    vec![
        ("a character that text cannot hold", nul),
        ("nothing arrives", nothing_arrives),
        ("a payment to itself", own),
        ("nothing leaves", request("ZERO", "A", "B", usd(0))),
    ]
}

#[tokio::test]
async fn objections_to_the_data_are_no_outage_and_leave_nothing() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(100)).await;
    ledger.open_account("B", currency("USD")).await;
    for (about, bad) in impossible() {
        let good = request("GOOD", "A", "B", usd(1));
        let error = ledger.store.reserve(vec![good, bad], at(10)).await.expect_err(about);
        assert!(matches!(error, StoreError::Unexpected(_)) && !error.is_outage(), "{about}: {error:?}");
        assert_eq!(
            ledger.sql("SELECT count(*), (SELECT held FROM accounts WHERE id = 'A') FROM payments").await,
            "0|0",
            "{about}"
        );
    }
    ledger.hold(&[request("GOOD", "A", "B", usd(1))]).await;
}

/// What this build may not do or does not know is nothing that a payment has brought: it is told as an outage,
/// so that nothing is buried for it, and once it is as it was the same store goes on.
#[tokio::test]
async fn rights_and_schema_are_an_outage() {
    /// The first may still meet a plan from before.
    const ATTEMPTS: u32 = 3;
    // A column that must not be null cannot be had while a row leaves it null.
    const EMPTY: &str = "DELETE FROM payments; UPDATE accounts SET held = 0";
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(100)).await;
    ledger.open_account("B", currency("USD")).await;
    let store = ledger.another_store(|options| options.connections_max = 1);
    let payments = ["KNOWN", "NEW"].map(|id| request(id, "A", "B", usd(1)));
    for (about, damage, repair) in [
        ("a right", "REVOKE INSERT ON payments FROM kilat_app", "GRANT INSERT ON payments TO kilat_app"),
        ("a table", "ALTER TABLE payments RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO payments"),
        (
            "a column that is gone",
            "ALTER TABLE payments RENAME traceparent TO elsewhere",
            "ALTER TABLE payments RENAME elsewhere TO traceparent",
        ),
        (
            "a type that cannot be written",
            "ALTER TABLE payments ALTER metadata TYPE jsonb USING metadata::jsonb",
            "ALTER TABLE payments ALTER metadata TYPE text",
        ),
        (
            "a type that cannot be read",
            "ALTER TABLE payments ALTER risk_score TYPE integer",
            "ALTER TABLE payments ALTER risk_score TYPE smallint",
        ),
        (
            "another type of a name",
            "ALTER TABLE payments ALTER source_account TYPE bytea USING source_account::bytea,
                ALTER destination_account TYPE bytea USING destination_account::bytea",
            "ALTER TABLE payments
                ALTER source_account TYPE text COLLATE \"C\" USING convert_from(source_account, 'UTF8'),
                ALTER destination_account TYPE text COLLATE \"C\" USING convert_from(destination_account, 'UTF8')",
        ),
        (
            "a type of what is locked",
            "ALTER TABLE accounts ALTER entry_count TYPE integer",
            "ALTER TABLE accounts ALTER entry_count TYPE bigint",
        ),
        (
            "a column that we do not know",
            "ALTER TABLE payments ADD region text NOT NULL",
            "ALTER TABLE payments DROP region",
        ),
    ] {
        ledger.sql(EMPTY).await;
        let needs_no_rows = damage.contains("NOT NULL");
        let known = &payments[..if needs_no_rows { 0 } else { 1 }];
        insist(ATTEMPTS, || store.reserve(known.to_vec(), at(10))).await;
        ledger.sql(damage).await;
        for _ in 0..ATTEMPTS {
            let error = store.reserve(payments.to_vec(), at(10)).await.expect_err(about);
            assert!(error.is_outage(), "{about}: {error:?}");
        }
        ledger.sql(repair).await;
        let told = recorded(insist(ATTEMPTS, || store.reserve(payments.to_vec(), at(10))).await);
        assert_eq!(told.iter().map(status).collect::<Vec<_>>(), ["RESERVED"; 2], "{about}");
    }
}

/// Where the schema asks for what some payments have and others do not, the others go on: it is told as a fault
/// of those that it refuses.
#[tokio::test]
async fn a_column_that_some_payments_leave_null_is_no_outage() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(100)).await;
    ledger.open_account("B", currency("USD")).await;
    ledger.sql("ALTER TABLE payments ALTER description SET NOT NULL").await;
    let without = request("WITHOUT", "A", "B", usd(1));
    let mut with = request("WITH", "A", "B", usd(1));
    with.facts.payment.description = Some("rent".to_owned());
    for batch in [vec![without.clone()], vec![with.clone(), without]] {
        let error = ledger.store.reserve(batch, at(10)).await.expect_err("one has no description");
        assert!(matches!(error, StoreError::Unexpected(_)) && !error.is_outage(), "{error:?}");
        let left = "SELECT count(*), (SELECT held FROM accounts WHERE id = 'A') FROM payments";
        assert_eq!(ledger.sql(left).await, "0|0");
    }
    ledger.hold(&[with]).await;
}

/// No request has a part in how a session is opened, whatever the server has against it.
#[tokio::test]
async fn a_session_that_is_refused_is_an_outage() {
    let ledger = Ledger::open().await;
    let store = ledger.another_store(|options| options.url += "?options=-c%20work_mem%3Dnonsense");
    for (about, error) in [
        ("a transaction", reserve_one(store.clone(), "P").await.err()),
        ("a read", store.account(&account_key("A")).await.err()),
        ("a sign of life", store.ping().await.err()),
    ] {
        let error = error.unwrap_or_else(|| panic!("{about} is answered"));
        assert!(error.is_outage() && format!("{error:?}").contains("22023"), "{about}: {error:?}");
    }
}

/// A connection keeps the plans of its statements. One whose answer a migration has changed is refused for as
/// long as the connection lives, so it must not live on.
#[tokio::test]
async fn a_changed_column_ends_the_connections_that_remember_it() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(100)).await;
    ledger.open_account("B", currency("USD")).await;
    let store = ledger.another_store(|options| options.connections_max = 1);
    let hold = |id: &'static str| store.reserve(vec![request(id, "A", "B", usd(1))], at(10));
    hold("BEFORE").await.unwrap();
    for (column_type, id) in [("integer", "DURING"), ("smallint", "AFTER")] {
        ledger.sql(&format!("ALTER TABLE payments ALTER COLUMN risk_score TYPE {column_type}")).await;
        let error = hold(id).await.expect_err(&format!("{id}: the plan is outdated"));
        assert!(error.is_outage(), "{error:?}");
        hold(id).await.unwrap();
    }
    let requests = ["BEFORE", "DURING", "AFTER"].map(|id| request(id, "A", "B", usd(1)));
    let answers = store.settle(settlements(&requests), at(20), 0).await.unwrap();
    let is_captured =
        |answer: &Settlement| matches!(answer, Settlement::Recorded(record) if status(record) == "CAPTURED");
    assert!(answers.iter().all(is_captured), "{answers:?}");
    store.status(&crate::common::payment_key("AFTER")).await.unwrap();
}

#[tokio::test]
async fn waiting_too_long_is_an_outage() {
    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(30);
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(100)).await;
    let mut rival = ledger.session(devstack::OWNER).await;
    try_sql(&mut rival, "BEGIN; SELECT FROM accounts WHERE id = 'A' FOR UPDATE").await.unwrap();
    // The statement is ended by the server; a free connection is not found in time.
    for (statement_timeout, acquire_timeout, holds_the_connection) in
        [(SHORT, LONG, false), (LONG, SHORT, true)]
    {
        let store = ledger.another_store(|options| {
            (options.statement_timeout, options.acquire_timeout, options.connections_max) =
                (statement_timeout, acquire_timeout, 1);
        });
        let waiting = holds_the_connection.then(|| tokio::spawn(reserve_one(store.clone(), "P1")));
        if holds_the_connection {
            let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            await_answer(&ledger, blocked, |count| count != "0").await;
        }
        let error = reserve_one(store, "P2").await.expect_err("the account is locked");
        assert!(error.is_outage(), "{error:?}");
        if let Some(waiting) = waiting {
            try_sql(&mut rival, "COMMIT").await.unwrap();
            waiting.await.unwrap().unwrap();
        }
    }
    assert_eq!(ledger.sql("SELECT id FROM payments").await, "P1");
}

async fn reserve_one(store: Store, id: &'static str) -> Result<(), StoreError> {
    store.reserve(vec![request(id, "A", "B", usd(1))], at(10)).await.map(|_| ())
}

/// Asks until the answer is the one awaited. Each look takes the time of starting a psql.
pub(crate) async fn await_answer(ledger: &Ledger, sql: &str, is_awaited: impl Fn(&str) -> bool) {
    const LOOKS_MAX: u32 = 1_000;
    for _ in 0..LOOKS_MAX {
        if is_awaited(&ledger.sql(sql).await) {
            return;
        }
    }
    panic!("never so: {sql}");
}
