//! What the ledger has written stays, whoever asks: privileges stop the services, triggers and checks stop the rest.

use crate::common::{Ledger, SERVICES, at, currency, recorded, request, try_sql, usd};

const FORBIDDEN: &str = "42501";
const CHECK_BROKEN: &str = "23514";

#[tokio::test]
async fn what_is_written_stays() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let payments = ["P1", "P2"].map(|id| request(id, "A", "B", usd(100)));
    ledger.hold(&payments).await;
    ledger.capture(&payments[..1]).await;
    let owner = devstack::OWNER;
    let refused_rows = [
        (SERVICES, "UPDATE entries SET amount = 1", FORBIDDEN, "entries"),
        (SERVICES, "DELETE FROM entries", FORBIDDEN, "entries"),
        (SERVICES, "TRUNCATE entries", FORBIDDEN, "entries"),
        (SERVICES, "UPDATE operations SET amount = 1", FORBIDDEN, "operations"),
        (SERVICES, "DELETE FROM operations", FORBIDDEN, "operations"),
        (SERVICES, "TRUNCATE operations", FORBIDDEN, "operations"),
        (SERVICES, "UPDATE payments SET amount = 1", FORBIDDEN, "payments"),
        (SERVICES, "UPDATE payments SET destination_account = 'A'", FORBIDDEN, "payments"),
        (SERVICES, "UPDATE payments SET rules = '{}'", FORBIDDEN, "payments"),
        (SERVICES, "DELETE FROM payments", FORBIDDEN, "payments"),
        // Settle may refuse, but never without saying who and when.
        (
            SERVICES,
            "UPDATE payments SET status = 'FAILED', reason = 'x', finished_at = now() WHERE id = 'P2'",
            CHECK_BROKEN,
            "failed_has_a_reason",
        ),
        (SERVICES, "UPDATE accounts SET currency = 'EUR'", FORBIDDEN, "accounts"),
        (SERVICES, "DELETE FROM accounts", FORBIDDEN, "accounts"),
        (SERVICES, "UPDATE dead_letters SET reason = ''", FORBIDDEN, "dead_letters"),
        (SERVICES, "DELETE FROM dead_letters", FORBIDDEN, "dead_letters"),
        (SERVICES, "DELETE FROM watermarks", FORBIDDEN, "watermarks"),
        (SERVICES, "UPDATE open_holds SET held_at = now()", FORBIDDEN, "open_holds"),
        (SERVICES, "TRUNCATE open_holds", FORBIDDEN, "open_holds"),
        (SERVICES, "ALTER TABLE entries DISABLE TRIGGER ALL", FORBIDDEN, "must be owner"),
        (SERVICES, "SET session_replication_role = replica", FORBIDDEN, "session_replication_role"),
        (SERVICES, "CREATE TABLE mine ()", FORBIDDEN, "schema public"),
        (owner, "UPDATE entries SET amount = 1", FORBIDDEN, "append-only"),
        (owner, "DELETE FROM entries", FORBIDDEN, "append-only"),
        (owner, "TRUNCATE entries", FORBIDDEN, "append-only"),
        (owner, "UPDATE operations SET amount = 1", FORBIDDEN, "append-only"),
        (owner, "DELETE FROM operations", FORBIDDEN, "append-only"),
        (owner, "TRUNCATE operations", FORBIDDEN, "append-only"),
        (owner, "UPDATE accounts SET balance = -1, held = 0 WHERE id = 'B'", CHECK_BROKEN, "customers_are_never_overdrawn"),
        (owner, "UPDATE accounts SET balance = 99 WHERE id = 'A'", CHECK_BROKEN, "customers_are_never_overdrawn"),
        (owner, "UPDATE accounts SET held = 901 WHERE id = 'A'", CHECK_BROKEN, "customers_are_never_overdrawn"),
        (owner, "UPDATE accounts SET held = -1 WHERE id = 'A'", CHECK_BROKEN, "holds_are_not_negative"),
        (owner, "UPDATE accounts SET kind = 'system' WHERE id = 'A'", CHECK_BROKEN, "system_accounts_have_a_colon"),
        (owner, "UPDATE payments SET status = 'FAILED', finished_at = now() WHERE id = 'P2'", CHECK_BROKEN, "failed_has_a_reason"),
        (owner, "UPDATE payments SET status = 'CAPTURED' WHERE id = 'P2'", CHECK_BROKEN, "ended_has_a_time"),
        (owner, "UPDATE payments SET destination_account = 'A'", CHECK_BROKEN, "accounts_differ"),
        (owner, "UPDATE payments SET reserved_at = NULL", CHECK_BROKEN, "held_was_quoted"),
    ];
    for (role, sql, code, fragment) in refused_rows {
        let (found, message) = try_sql(&mut ledger.session(role).await, sql).await.expect_err(sql);
        assert!(found == code && message.contains(fragment), "{role}: {sql}: {found} {message}");
    }
    ledger.assert_sound("after all attempts").await;
}

#[tokio::test]
async fn system_accounts_may_go_below_zero() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    assert_eq!(ledger.sql("SELECT balance FROM accounts WHERE id = 'external:USD'").await, "-1000");
    let record = recorded(ledger.store.reserve(vec![request("P", "A", "B", usd(1_001))], at(10)).await.unwrap()).remove(0);
    assert_eq!(crate::common::refusal(&record), Some(domain::Refusal::InsufficientFunds), "a customer's may not");
}
