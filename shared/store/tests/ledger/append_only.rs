//! What the ledger has written stays, whoever asks: privileges stop the services, triggers and checks stop
//! the rest.

use crate::common::{Ledger, SERVICES, at, currency, recorded, request, try_sql, usd};

const FORBIDDEN: &str = "42501";
const CHECK_BROKEN: &str = "23514";

/// What the services' role may not do: the statement, the code of the objection, and what the objection
/// names.
const REFUSED_TO_SERVICES: [(&str, &str, &str); 21] = [
    ("UPDATE entries SET amount = 1", FORBIDDEN, "entries"),
    ("DELETE FROM entries", FORBIDDEN, "entries"),
    ("TRUNCATE entries", FORBIDDEN, "entries"),
    ("UPDATE operations SET amount = 1", FORBIDDEN, "operations"),
    ("DELETE FROM operations", FORBIDDEN, "operations"),
    ("TRUNCATE operations", FORBIDDEN, "operations"),
    ("UPDATE payments SET amount = 1", FORBIDDEN, "payments"),
    ("UPDATE payments SET destination_account = 'A'", FORBIDDEN, "payments"),
    ("UPDATE payments SET rules = '{}'", FORBIDDEN, "payments"),
    ("DELETE FROM payments", FORBIDDEN, "payments"),
    // Settle may refuse, but never without saying who and when.
    (
        "UPDATE payments SET status = 'FAILED', reason = 'x', finished_at = now() WHERE id = 'P2'",
        CHECK_BROKEN,
        "failed_has_a_reason",
    ),
    ("UPDATE accounts SET currency = 'EUR'", FORBIDDEN, "accounts"),
    ("DELETE FROM accounts", FORBIDDEN, "accounts"),
    ("UPDATE dead_letters SET reason = ''", FORBIDDEN, "dead_letters"),
    ("DELETE FROM dead_letters", FORBIDDEN, "dead_letters"),
    ("DELETE FROM watermarks", FORBIDDEN, "watermarks"),
    ("UPDATE open_holds SET held_at = now()", FORBIDDEN, "open_holds"),
    ("TRUNCATE open_holds", FORBIDDEN, "open_holds"),
    ("ALTER TABLE entries DISABLE TRIGGER ALL", FORBIDDEN, "must be owner"),
    ("SET session_replication_role = replica", FORBIDDEN, "session_replication_role"),
    ("CREATE TABLE mine ()", FORBIDDEN, "schema public"),
];

/// What not even the owner may do.
const REFUSED_TO_ALL: [(&str, &str, &str); 15] = [
    ("UPDATE entries SET amount = 1", FORBIDDEN, "append-only"),
    ("DELETE FROM entries", FORBIDDEN, "append-only"),
    ("TRUNCATE entries", FORBIDDEN, "append-only"),
    ("UPDATE operations SET amount = 1", FORBIDDEN, "append-only"),
    ("DELETE FROM operations", FORBIDDEN, "append-only"),
    ("TRUNCATE operations", FORBIDDEN, "append-only"),
    (
        "UPDATE accounts SET balance = -1, held = 0 WHERE id = 'B'",
        CHECK_BROKEN,
        "customers_are_never_overdrawn",
    ),
    ("UPDATE accounts SET balance = 99 WHERE id = 'A'", CHECK_BROKEN, "customers_are_never_overdrawn"),
    ("UPDATE accounts SET held = 901 WHERE id = 'A'", CHECK_BROKEN, "customers_are_never_overdrawn"),
    ("UPDATE accounts SET held = -1 WHERE id = 'A'", CHECK_BROKEN, "holds_are_not_negative"),
    ("UPDATE accounts SET kind = 'system' WHERE id = 'A'", CHECK_BROKEN, "system_accounts_have_a_colon"),
    (
        "UPDATE payments SET status = 'FAILED', finished_at = now() WHERE id = 'P2'",
        CHECK_BROKEN,
        "failed_has_a_reason",
    ),
    ("UPDATE payments SET status = 'CAPTURED' WHERE id = 'P2'", CHECK_BROKEN, "ended_has_a_time"),
    ("UPDATE payments SET destination_account = 'A'", CHECK_BROKEN, "accounts_differ"),
    ("UPDATE payments SET reserved_at = NULL", CHECK_BROKEN, "held_was_quoted"),
];

#[tokio::test]
async fn what_is_written_stays() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(1_000)).await;
    ledger.open_account("B", currency("USD")).await;
    let payments = ["P1", "P2"].map(|id| request(id, "A", "B", usd(100)));
    ledger.hold(&payments).await;
    ledger.capture(&payments[..1]).await;
    let services = REFUSED_TO_SERVICES.map(|row| (SERVICES, row));
    let owner = REFUSED_TO_ALL.map(|row| (devstack::OWNER, row));
    for (role, (sql, code, fragment)) in services.into_iter().chain(owner) {
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
    let record =
        recorded(ledger.store.reserve(vec![request("P", "A", "B", usd(1_001))], at(10)).await.unwrap())
            .remove(0);
    assert_eq!(
        crate::common::refusal(&record),
        Some(domain::Refusal::InsufficientFunds),
        "a customer's may not"
    );
}
