//! Every invariant is silent on a ledger that the store itself has written, and fires on a corruption made on
//! purpose.

use super::*;
use crate::client::testing::{Gateway, Script};
use devstack::testing::TestPostgres;
use domain::facts::{AppliedRate, PaymentRecord, Quote, RecordState, Rejection, Screening};
use domain::fx::{Rate, convert};
use domain::{
    AccountId, AccountKey, Currency, Facts, Money, OperationId, Payment, PaymentId, Refusal, StageName,
    Tenant, Timestamp,
};
use std::time::Duration;
use store::{DeadLetter, Deposit, HoldRequest, SettleRequest, Settlement, StoreOptions};

/// Corruptions by the invariant that each must break; run by the superuser with every trigger off.
const CORRUPTIONS: &[(&str, &str)] = &[
    (
        "operations_sum_to_zero",
        "UPDATE entries SET amount = amount - 1 WHERE account_id = 'A_USD' AND number = 2",
    ),
    (
        "currencies_sum_to_zero",
        "INSERT INTO entries SELECT tenant, account_id, 99, operation_kind, 'other', currency, 5, balance_after, posted_at FROM entries WHERE account_id = 'A_USD' AND number = 1",
    ),
    ("operations_have_two_sides", "DELETE FROM entries WHERE account_id = 'external:USD' AND number = 1"),
    (
        "entries_belong_to_an_operation",
        "UPDATE entries SET operation_id = 'nobody' WHERE operation_id = 'P_WITHIN'",
    ),
    ("entries_belong_to_an_operation", "DELETE FROM operations WHERE id = 'D_A'"),
    (
        "entries_carry_their_accounts_currency",
        "UPDATE entries SET currency = 'GBP' WHERE account_id = 'A_USD' AND number = 2",
    ),
    ("entries_carry_their_accounts_currency", "DELETE FROM accounts WHERE id = 'B_USD'"),
    ("balances_are_sums", "UPDATE accounts SET balance = balance + 1 WHERE id = 'A_USD'"),
    ("balances_are_sums", "UPDATE accounts SET balance = 1 WHERE id = 'EMPTY_USD'"),
    (
        "entries_are_numbered_without_gap",
        "UPDATE accounts SET entry_count = entry_count + 1 WHERE id = 'A_USD'",
    ),
    (
        "entries_are_numbered_without_gap",
        "UPDATE entries SET number = 99 WHERE account_id = 'A_USD' AND number = 2",
    ),
    (
        "running_balances_are_exact",
        "UPDATE entries SET balance_after = balance_after + 1 WHERE account_id = 'A_USD' AND number = 1",
    ),
    (
        "customers_were_never_overdrawn",
        "UPDATE entries SET balance_after = -1 WHERE account_id = 'A_USD' AND number = 2",
    ),
    (
        "customers_cover_their_holds",
        "ALTER TABLE accounts DROP CONSTRAINT customers_are_never_overdrawn; UPDATE accounts SET held = balance + 1 WHERE id = 'A_USD'",
    ),
    ("held_is_the_sum_of_reserved_payments", "UPDATE accounts SET held = held - 1 WHERE id = 'A_USD'"),
    ("held_is_the_sum_of_reserved_payments", "UPDATE accounts SET held = 1 WHERE id = 'fx:USD'"),
    (
        "held_is_the_sum_of_reserved_payments",
        "UPDATE payments SET source_account = 'NOBODY' WHERE id = 'P_OPEN'",
    ),
    (
        "captured_means_one_debit",
        "INSERT INTO entries SELECT tenant, account_id, 99, operation_kind, operation_id, currency, amount, balance_after, posted_at FROM entries WHERE operation_id = 'P_WITHIN' AND amount < 0",
    ),
    (
        "captured_means_one_debit",
        "UPDATE payments SET status = 'CAPTURED', finished_at = now() WHERE id = 'P_OPEN'",
    ),
    ("captured_means_one_debit", "UPDATE payments SET amount = amount + 1 WHERE id = 'P_WITHIN'"),
    ("captured_means_one_debit", "UPDATE payments SET source_account = 'EMPTY_USD' WHERE id = 'P_WITHIN'"),
    (
        "captured_means_one_credit",
        "DELETE FROM entries WHERE operation_id = 'P_ACROSS' AND account_id = 'C_JPY'",
    ),
    (
        "captured_means_one_credit",
        "UPDATE payments SET destination_amount = destination_amount + 1 WHERE id = 'P_ACROSS'",
    ),
    (
        "captured_means_one_credit",
        "UPDATE payments SET destination_account = 'EMPTY_USD' WHERE id = 'P_ACROSS'",
    ),
    (
        "unsettled_payments_have_no_entries",
        "UPDATE payments SET status = 'RESERVED', finished_at = NULL WHERE id = 'P_WITHIN'",
    ),
    (
        "conversions_pass_through_fx_and_fee",
        "UPDATE entries SET account_id = 'fx:JPY', number = 99 WHERE operation_id = 'P_ACROSS' AND account_id = 'fee:JPY'",
    ),
    (
        "conversions_pass_through_fx_and_fee",
        "UPDATE payments SET gross_amount = gross_amount + 1 WHERE id = 'P_ACROSS'",
    ),
    (
        "conversions_pass_through_fx_and_fee",
        "INSERT INTO entries SELECT tenant, 'fee:USD', 99, operation_kind, operation_id, currency, amount, balance_after, posted_at FROM entries WHERE operation_id = 'P_WITHIN' AND amount > 0",
    ),
    (
        "destination_amounts_recompute",
        "UPDATE payments SET destination_amount = destination_amount + 1 WHERE id = 'P_ACROSS'",
    ),
    ("destination_amounts_recompute", "UPDATE payments SET residue = residue + 1 WHERE id = 'P_ACROSS'"),
    (
        "destination_amounts_recompute",
        "UPDATE payments SET destination_amount = destination_amount - 1, residue = residue + rate_denominator * 10000 WHERE id = 'P_ACROSS'",
    ),
    ("gross_amounts_recompute", "UPDATE payments SET gross_amount = gross_amount - 1 WHERE id = 'P_ACROSS'"),
    ("conversions_exactly_between_currencies", "UPDATE payments SET rate_as_of = NULL WHERE id = 'P_ACROSS'"),
    ("conversions_exactly_between_currencies", "UPDATE payments SET spread_bps = 0 WHERE id = 'P_WITHIN'"),
    (
        "conversions_exactly_between_currencies",
        "UPDATE payments SET destination_amount = 1 WHERE id = 'P_WITHIN'",
    ),
    ("conversions_exactly_between_currencies", "UPDATE payments SET quoted_at = NULL WHERE id = 'P_WITHIN'"),
    ("payments_match_their_accounts", "UPDATE accounts SET currency = 'GBP' WHERE id = 'B_USD'"),
    ("payments_match_their_accounts", "UPDATE accounts SET currency = 'GBP' WHERE id = 'A_USD'"),
    ("payments_match_their_accounts", "UPDATE payments SET requested_currency = 'GBP' WHERE id = 'P_OPEN'"),
    (
        "payments_match_their_accounts",
        "UPDATE payments SET destination_account = 'NOBODY' WHERE id = 'P_OPEN'",
    ),
    ("payments_match_their_accounts", "UPDATE payments SET source_account = 'NOBODY' WHERE id = 'P_FULL'"),
    ("deposits_have_their_two_entries", "UPDATE operations SET amount = amount + 1 WHERE id = 'D_A'"),
    (
        "deposits_have_their_two_entries",
        "UPDATE operations SET balance_after = balance_after + 1 WHERE id = 'D_A'",
    ),
    ("deposits_have_their_two_entries", "DELETE FROM entries WHERE operation_id = 'D_A'"),
    (
        "deposits_have_their_two_entries",
        "UPDATE entries SET account_id = 'fee:USD' WHERE account_id = 'external:USD:0.2'",
    ),
    (
        "deposits_have_their_two_entries",
        "UPDATE entries SET account_id = 'external:USD:x' WHERE account_id = 'external:USD:0.2'",
    ),
    ("services_can_only_append", "GRANT UPDATE ON entries TO kilat_app"),
    ("services_can_only_append", "GRANT DELETE ON operations TO kilat_app"),
    ("services_can_only_append", "GRANT TRUNCATE ON payments TO kilat_app"),
    ("services_can_only_append", "GRANT UPDATE (amount) ON payments TO kilat_app"),
    ("services_can_only_append", "GRANT UPDATE (rules) ON payments TO kilat_app"),
    ("services_can_only_append", "GRANT UPDATE (resolved_at) ON audit_findings TO kilat_app"),
    ("append_only_triggers_stand", "DROP TRIGGER entries_are_append_only ON entries"),
    ("append_only_triggers_stand", "ALTER TABLE operations DISABLE TRIGGER operations_are_append_only"),
    ("holds_end", "UPDATE payments SET reserved_at = now() - interval '11 minutes' WHERE id = 'P_OPEN'"),
];

fn account(id: &str) -> AccountKey {
    AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn payment(id: &str, source: &str, destination: &str, minor: i64) -> Payment {
    Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: AccountId::parse(source).unwrap(),
        destination_account: AccountId::parse(destination).unwrap(),
        amount: Money::new(minor, currency("USD")),
        destination_currency: None,
        description: None,
        metadata: None,
    }
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap())
}

fn quote(payment: &Payment, arrives: &str, spread_bps: u32) -> Quote {
    if currency(arrives) == payment.amount.currency {
        return Quote { destination_amount: payment.amount, conversion: None, at: now() };
    }
    let rate = Rate { numerator: 15_707, denominator: 10_000 };
    let done = convert(payment.amount, rate, spread_bps).unwrap();
    let conversion =
        AppliedRate { rate, spread_bps, gross_minor: done.gross, residue: done.residue, as_of: now() };
    Quote {
        destination_amount: Money::new(done.net, currency(arrives)),
        conversion: Some(conversion),
        at: now(),
    }
}

fn hold(payment: Payment, arrives: &str, spread_bps: u32) -> HoldRequest {
    HoldRequest {
        screening: Screening { score: 1, at: now() },
        quote: quote(&payment, arrives, spread_bps),
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: now() },
        is_quote_outdated: false,
        trace: None,
    }
}

fn settle_request(hold: &HoldRequest) -> SettleRequest {
    let (from, to) = (hold.facts.payment.amount.currency, hold.quote.destination_amount.currency);
    SettleRequest {
        payment: hold.facts.payment.key(),
        source: hold.facts.payment.source_account.clone(),
        destination: hold.facts.payment.destination_account.clone(),
        conversion: (from != to).then_some((from, to)),
    }
}

fn open(url: &str) -> Store {
    Store::connect_lazily(&StoreOptions {
        url: url.to_owned(),
        application_name: "loadtest test".to_owned(),
        connections_max: 2,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(30),
        plans: store::Plans::Free,
    })
    .unwrap()
}

/// Writes a ledger with a payment of every kind, through the store as the stages do.
async fn write_good_ledger(store: &Store) {
    for (id, code) in
        [("A_USD", "USD"), ("B_USD", "USD"), ("C_JPY", "JPY"), ("EMPTY_USD", "USD"), ("FULL_USD", "USD")]
    {
        store.open_account(&account(id), currency(code)).await.unwrap();
    }
    // The first leaves no room in its account, and fills the row of ours behind it: the others go on in the
    // next.
    for (id, to, minor) in
        [("D_FULL", "FULL_USD", i64::MAX - 1_000), ("D_A", "A_USD", 100_000), ("D_B", "B_USD", 500)]
    {
        let id = OperationId::parse(id).unwrap();
        store
            .deposit(
                vec![Deposit { account: account(to), id, amount: Money::new(minor, currency("USD")) }],
                now(),
            )
            .await
            .unwrap();
    }
    let holds = vec![
        hold(payment("P_WITHIN", "A_USD", "B_USD", 10_000), "USD", 0),
        hold(payment("P_ACROSS", "A_USD", "C_JPY", 3_333), "JPY", 25),
        hold(payment("P_SPREADLESS", "B_USD", "C_JPY", 101), "JPY", 0),
        hold(payment("P_POOR", "EMPTY_USD", "B_USD", 1), "USD", 0),
        hold(payment("P_FULL", "A_USD", "FULL_USD", 1_001), "USD", 0),
    ];
    let requests: Vec<SettleRequest> = holds.iter().map(settle_request).collect();
    store.reserve(holds, now()).await.unwrap();
    let settled = store.settle(requests, now(), 0).await.unwrap();
    let is_captured = |settlement: &Settlement| matches!(settlement, Settlement::Recorded(record) if matches!(record.state, RecordState::Captured { .. }));
    assert_eq!(settled.iter().map(is_captured).collect::<Vec<_>>(), [true, true, true, false, false]);
    store.reserve(vec![hold(payment("P_OPEN", "A_USD", "C_JPY", 700), "JPY", 25)], now()).await.unwrap();
    let refused = payment("P_RISKY", "A_USD", "B_USD", 90_000);
    let rejection = Rejection {
        stage: StageName::Risk,
        reason: Refusal::RiskRejected,
        rules: vec!["r1".to_owned()],
        at: now(),
    };
    let state = RecordState::Failed {
        screening: None,
        quote: None,
        reserved_at: None,
        rejection,
        finished_at: now(),
    };
    let record = PaymentRecord {
        facts: Facts {
            fingerprint: refused.fingerprint(),
            payment: refused,
            accepted_seq: 2,
            accepted_at: now(),
        },
        state,
        trace: None,
    };
    store.record_rejections(vec![record]).await.unwrap();
}

/// Each section's name with what it found, of those that found anything.
async fn findings(store: &Store) -> Vec<(&'static str, Finding)> {
    let mut findings = Vec::new();
    for invariant in invariants::all() {
        match ask(store, &invariant).await {
            Finding::Holds => {}
            finding => findings.push((invariant.name, finding)),
        }
    }
    findings
}

#[tokio::test]
async fn every_invariant_is_silent_on_a_good_ledger_and_fires_on_its_corruptions() {
    // A server of its own: the corruptions of privileges reach every database.
    let postgres = TestPostgres::start().await;
    let good_url = postgres.fresh_database().await;
    let good = good_url.rsplit('/').next().unwrap().to_owned();
    store::migrate(&good_url).await.unwrap();
    let store = open(&good_url);
    write_good_ledger(&store).await;
    assert_eq!(findings(&store).await, [("open_dead_letters", Finding::Note("0 rows".to_owned()))]);
    // A database that is copied must have no sessions.
    store.close().await;
    for (number, (name, corruption)) in CORRUPTIONS.iter().enumerate() {
        let copy = format!("corrupt_{number}");
        postgres.query("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {good}")).await;
        postgres.query(&copy, &format!("SET session_replication_role = replica; {corruption}")).await;
        let store = open(&postgres.url(&copy));
        let found = findings(&store).await;
        let fired = |(found, finding): &(&str, Finding)| {
            found == name && matches!(finding, Finding::Broken(what) if what.contains("e.g. {"))
        };
        assert!(found.iter().any(fired), "{name} does not fire after {corruption}; what does: {found:?}");
        store.close().await;
    }
    for invariant in invariants::all().iter().filter(|invariant| invariant.kind == Kind::Invariant) {
        assert!(
            CORRUPTIONS.iter().any(|(name, _)| *name == invariant.name),
            "{} has no corruption",
            invariant.name
        );
    }
}

#[tokio::test]
async fn notes_and_unanswerable_questions_are_told_apart() {
    let postgres = TestPostgres::shared().await;
    let url = postgres.fresh_database().await;
    let store = open(&url);
    // Without a schema nothing can be asked, and nothing that cannot be asked holds.
    let unasked = findings(&store).await;
    assert_eq!(unasked.len(), invariants::all().len());
    for (name, finding) in unasked {
        assert!(matches!(&finding, Finding::Broken(_)), "{name}: {finding:?}");
    }
    store::migrate(&url).await.unwrap();
    let letter = DeadLetter {
        tenant: "default".to_owned(),
        id: "P1".to_owned(),
        stage: "risk",
        stream: "PAY_ACCEPTED".to_owned(),
        seq: 1,
        reason: "undecodable".to_owned(),
        payload: Vec::new(),
    };
    store.bury(&letter).await.unwrap();
    let found = findings(&store).await;
    assert!(
        matches!(found.as_slice(), [("open_dead_letters", Finding::Note(what))] if what.starts_with("1 row, e.g. {")),
        "{found:?}"
    );
}

#[tokio::test]
async fn balances_are_compared_with_what_the_gateway_serves() {
    let postgres = TestPostgres::shared().await;
    let url = postgres.fresh_database().await;
    store::migrate(&url).await.unwrap();
    let store = open(&url);
    store.open_account(&account("A_USD"), currency("USD")).await.unwrap();
    let served = |body: &'static str| vec![Script::Answer(200, "", "{}"), Script::Answer(200, "", body)];
    let rows = [
        (
            served(
                r#"{"account_id":"A_USD","currency":"USD","balance":"0.00","held":"0.00","available":"0.00"}"#,
            ),
            [true, true],
        ),
        (
            served(
                r#"{"account_id":"A_USD","currency":"USD","balance":"0.01","held":"0.00","available":"0.01"}"#,
            ),
            [true, false],
        ),
        (served("{}"), [true, false]),
        (vec![Script::Answer(503, "", "{}")], [false, false]),
    ];
    for (script, expected) in rows {
        let case = format!("{script:?}");
        let gateway = Gateway::start(script).await;
        let found = from_http::check(&gateway.targets, &store).await;
        assert_eq!(
            found.clone().map(|(_, finding)| finding == Finding::Holds),
            expected,
            "{case}: {found:?}"
        );
    }
}
