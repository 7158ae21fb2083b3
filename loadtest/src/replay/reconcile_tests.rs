use super::super::report::{Report, Summary};
use super::super::script::testing::script_of;
use super::*;
use crate::client::Ending;
use devstack::testing::TestPostgres;
use store::StoreOptions;

/// A ledger with a migrated schema, and a way to write to it as its owner.
struct Ledger {
    store: Store,
    database: String,
    postgres: &'static TestPostgres,
}

impl Ledger {
    async fn new() -> Ledger {
        let postgres = TestPostgres::shared().await;
        let url = postgres.fresh_database().await;
        store::migrate(&url).await.unwrap();
        let options = StoreOptions {
            url: url.clone(),
            application_name: "loadtest test".to_owned(),
            connections_max: 2,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(30),
            plans: store::Plans::Free,
        };
        let store = Store::connect_lazily(&options).unwrap();
        Ledger { store, database: url.rsplit('/').next().unwrap().to_owned(), postgres }
    }

    /// Writes a row of one currency, accepted now.
    async fn write(&self, id: &str, status: &str) {
        let reserved = if status == "FAILED" { "NULL" } else { "now()" };
        let finished = if status == "RESERVED" { "NULL" } else { "now()" };
        let refusal =
            if status == "FAILED" { "'reserve', 'insufficient_funds', now()" } else { "NULL, NULL, NULL" };
        let sql = format!(
            "INSERT INTO payments (tenant, id, status, source_account, destination_account, currency, amount, fingerprint, accepted_seq,
                accepted_at, risk_score, screened_at, destination_currency, destination_amount, quoted_at, reserved_at, finished_at,
                refused_by, reason, refused_at)
             VALUES ('default', '{id}', '{status}', 'A', 'B', 'USD', 150, decode(repeat('00', 32), 'hex'), 1,
                now(), 1, now(), 'USD', 150, now(), {reserved}, {finished}, {refusal})"
        );
        self.postgres.query(&self.database, &sql).await;
    }

    async fn debit(&self, id: &str, number: u32) {
        let sql = format!(
            "INSERT INTO entries VALUES ('default', 'A', {number}, 'payment', '{id}', 'USD', -150, 0, now())"
        );
        self.postgres.query(&self.database, &sql).await;
    }
}

/// A board on which these payments were accepted.
fn accepted(name: &str, ids: &[&str]) -> Board {
    let started = Instant::now();
    let board = Board::new(script_of(name, ids).into(), started);
    for row in 0..ids.len() {
        board.sending(row, started);
        board.answered(row, started, Ending::Done { replayed: false, unclear: false }, 0);
    }
    board
}

#[tokio::test]
async fn ends_are_waited_for_and_read() {
    let ledger = Ledger::new().await;
    let board = accepted("ends", &["P1", "P2", "P3"]);
    ledger.write("P1", "CAPTURED").await;
    ledger.write("P2", "FAILED").await;
    ledger.write("P3", "RESERVED").await;
    let reconciling = reconcile(&board, &ledger.store, Instant::now() + Duration::from_secs(60));
    let ending = async {
        // Longer than one look at the ledger: the first looks must find the payment open.
        sleep(Duration::from_millis(1_500)).await;
        ledger
            .postgres
            .query(
                &ledger.database,
                "UPDATE payments SET status = 'CAPTURED', finished_at = now() WHERE id = 'P3'",
            )
            .await;
    };
    let (outcome, ()) = tokio::join!(reconciling, ending);
    outcome.unwrap();
    let Report { accepted, settled, failed, lost, .. } = Summary::of(&board, 0, false).report;
    assert_eq!((accepted, settled, failed, lost), (3, 2, 1, 0));
}

#[tokio::test]
async fn what_has_not_ended_with_the_drain_is_lost() {
    let ledger = Ledger::new().await;
    let board = accepted("lost", &["P1", "P2"]);
    ledger.write("P1", "RESERVED").await;
    reconcile(&board, &ledger.store, Instant::now() + Duration::from_millis(100)).await.unwrap();
    assert_eq!(Summary::of(&board, 0, false).report.lost, 2);
}

#[tokio::test]
async fn two_settlements_of_a_sent_payment_are_a_duplicate() {
    let ledger = Ledger::new().await;
    let board = accepted("duplicates", &["P1", "P2"]);
    for (id, number) in [("P1", 1), ("P2", 2), ("P1", 3), ("ELSEWHERE", 4), ("ELSEWHERE", 5)] {
        ledger.debit(id, number).await;
    }
    assert_eq!(duplicates(&board, &ledger.store).await.unwrap(), 1);
}

#[tokio::test]
async fn a_ledger_that_comes_back_is_asked_again() {
    let postgres = TestPostgres::start().await;
    let url = postgres.fresh_database().await;
    store::migrate(&url).await.unwrap();
    let store = Store::connect_lazily(&StoreOptions {
        url,
        application_name: "loadtest test".to_owned(),
        connections_max: 1,
        acquire_timeout: Duration::from_millis(200),
        statement_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(30),
        plans: store::Plans::Free,
    })
    .unwrap();
    store.ping().await.unwrap();
    postgres.stop().await;
    let board = accepted("away", &["P1"]);
    // The drain is over already, and the connection is a dead one.
    let reconciling = reconcile(&board, &store, Instant::now());
    let (outcome, ()) = tokio::join!(reconciling, postgres.restart());
    outcome.unwrap();
    assert_eq!(Summary::of(&board, 0, false).report.lost, 1);
}
