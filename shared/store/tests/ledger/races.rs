//! Transactions that the server ends in favour of others: the batch is judged again, so many times and no
//! more.

use crate::common::{Ledger, at, currency, recorded, refused, request, status, try_sql, usd};
use crate::locked::insert_payment;
use crate::sessions::await_answer;
use crate::writes::{WRITES, Write};
use store::StoreError;

/// How often a batch is judged.
const ATTEMPTS_MAX: u32 = 10;

/// Sessions that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// The store's batches never meet in a circle, but somebody with `psql` may. The server looks for one when a
/// session has waited for a while: whoever closes it is the one that loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_loses_a_deadlock_is_judged_again() {
    let ledger = Ledger::open().await;
    ledger.open_account("SHOP", currency("USD")).await;
    for id in ["A", "B", "C"] {
        ledger.fund(id, usd(100)).await;
    }
    let patience = |role, time| {
        format!("ALTER ROLE {role} IN DATABASE {} SET deadlock_timeout = '{time}'", ledger.database())
    };
    ledger.sql(&patience("kilat_app", "10ms")).await;
    ledger.sql(&patience(devstack::OWNER, "10min")).await;
    let (mut first, mut second) =
        (ledger.session(devstack::OWNER).await, ledger.session(devstack::OWNER).await);
    try_sql(&mut first, "BEGIN; SELECT FROM accounts WHERE id = 'B' FOR UPDATE").await.unwrap();
    try_sql(&mut second, "BEGIN; SELECT FROM accounts WHERE id = 'C' FOR UPDATE").await.unwrap();
    let store = ledger.another_store(|_| {});
    let asked = tokio::spawn({
        let store = store.clone();
        let requests =
            ["A", "B", "C"].map(|source| request(&format!("P{source}"), source, "SHOP", usd(10))).to_vec();
        async move { store.reserve(requests, at(10)).await }
    });
    // It has A and waits for B; the second waits for A; and when it has B it waits for C, which the second has.
    await_answer(&ledger, WAITING, |count| count == "1").await;
    let crossing = tokio::spawn(async move {
        try_sql(&mut second, "SELECT FROM accounts WHERE id = 'A' FOR UPDATE; COMMIT").await
    });
    await_answer(&ledger, WAITING, |count| count == "2").await;
    try_sql(&mut first, "COMMIT").await.unwrap();
    crossing.await.unwrap().expect("the batch has lost");
    let told = recorded(asked.await.unwrap().unwrap());
    assert_eq!(told.iter().map(status).collect::<Vec<_>>(), ["RESERVED"; 3]);
    store.close().await;
    drop(first);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    await_answer(&ledger, deadlocks, |count| count == "1").await;
    ledger.assert_sound("after the deadlock").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_loses_again_and_again_is_an_outage_and_leaves_nothing() {
    for Write { name, ask, traces, counts, told } in WRITES {
        for losses in [1, ATTEMPTS_MAX - 1, ATTEMPTS_MAX] {
            let about = format!("{name} loses {losses} times");
            let ledger = Write::ledger().await;
            // Sequences count what is rolled back, too.
            ledger
                .sql(&format!(
                    "CREATE SEQUENCE attempts;
                     CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                        IF nextval('public.attempts') <= {losses} THEN
                            RAISE 'another was faster' USING ERRCODE = 'serialization_failure';
                        END IF;
                        RETURN NULL;
                     END $$;
                     CREATE TRIGGER lose BEFORE INSERT OR UPDATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION lose();
                     CREATE TRIGGER lose BEFORE INSERT ON operations FOR EACH STATEMENT EXECUTE FUNCTION lose()"
                ))
                .await;
            let attempts = async || ledger.sql("SELECT last_value FROM attempts").await;
            let mut answer = ask(ledger.store.clone()).await;
            if losses == ATTEMPTS_MAX {
                let error = answer.expect_err(&about);
                assert!(
                    matches!(error, StoreError::Contention(ATTEMPTS_MAX)) && error.is_outage(),
                    "{about}: {error:?}"
                );
                assert_eq!(attempts().await, losses.to_string(), "{about}");
                assert_eq!(ledger.sql(traces).await, counts[0], "{about}");
                answer = ask(ledger.store.clone()).await;
            }
            assert_eq!(answer.unwrap(), told[0], "{about}");
            assert_eq!(attempts().await, (losses + 1).to_string(), "{about}");
            assert_eq!(ledger.sql(traces).await, counts[1], "{about}");
            ledger.assert_sound(&about).await;
        }
    }
}

/// The statement that inserts waits for a key that another transaction inserts, and when that commits it cannot
/// see the row: the batch is judged again, by a statement that can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_another_inserts_meanwhile_is_answered_by_its_row() {
    let ledger = Ledger::open().await;
    ledger.open_account("SHOP", currency("USD")).await;
    ledger.fund("A", usd(100)).await;
    for is_refused in [false, true] {
        let id = format!("P{is_refused}");
        let mut rival = ledger.session(devstack::OWNER).await;
        let insert = insert_payment(std::iter::once(id.clone()));
        let insert = insert.replace("'\\x00'", "decode(repeat('00', 32), 'hex')");
        try_sql(&mut rival, &format!("BEGIN; {insert}")).await.unwrap();
        let batch = [request("FIRST", "A", "SHOP", usd(1)), request(&id, "A", "SHOP", usd(1))];
        let store = ledger.another_store(|_| {});
        let asked = tokio::spawn(async move {
            let told = if is_refused {
                store.record_rejections(batch.each_ref().map(refused).to_vec()).await
            } else {
                store.reserve(batch.to_vec(), at(10)).await
            };
            recorded(told.unwrap())
        });
        await_answer(&ledger, WAITING, |count| count == "1").await;
        try_sql(&mut rival, "COMMIT").await.unwrap();
        let told = asked.await.unwrap();
        // The first batch holds FIRST, and the second finds it held.
        assert_eq!(told.iter().map(status).collect::<Vec<_>>(), ["RESERVED", "FAILED"], "{id}");
        assert_eq!(told[1].facts.accepted_seq, 1, "{id}: it is the rival's row that answers");
    }
    ledger.assert_sound("after the rivals").await;
}
