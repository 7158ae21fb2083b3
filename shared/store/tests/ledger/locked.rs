//! Rows that another transaction has locked: who needs them waits, the others do not.

use crate::common::{
    Ledger, account_key, at, converted, currency, deposit, payment_key, recorded, refused, request,
    settlements, status, try_sql, usd,
};
use crate::wiretap::Wiretap;
use domain::Money;
use domain::fx::Rate;
use sqlx::postgres::PgConnection;
use std::net::SocketAddr;
use std::time::Duration;
use store::{Answer, DepositOutcome, HoldRequest, Settlement, Store, StoreError};

/// As long as a test waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_millis(50);

/// A ledger, and a store that does not wait long for locks.
async fn open() -> (Ledger, Store) {
    let ledger = Ledger::open().await;
    for id in ["A", "B"] {
        ledger.fund(id, usd(1_000)).await;
    }
    ledger.open_account("SHOP", currency("USD")).await;
    ledger.fund("E", Money::new(1_000, currency("EUR"))).await;
    let store = impatient(&ledger);
    (ledger, store)
}

/// Another process, which has met no locked row yet.
fn impatient(ledger: &Ledger) -> Store {
    ledger.another_store(|options| options.lock_timeout = LOCK_TIMEOUT)
}

/// A transaction that has run this and stays open.
async fn rival(ledger: &Ledger, sql: &str) -> PgConnection {
    let mut session = ledger.session(devstack::OWNER).await;
    try_sql(&mut session, &format!("BEGIN; {sql}")).await.unwrap();
    session
}

async fn end(mut rival: PgConnection) {
    try_sql(&mut rival, "ROLLBACK").await.unwrap();
}

fn held(answers: &[Answer]) -> Vec<&'static str> {
    answers
        .iter()
        .map(|answer| if let Answer::Recorded(record) = answer { status(record) } else { "locked" })
        .collect()
}

fn ends(settlements: &[Settlement]) -> Vec<&'static str> {
    let end = |settlement: &Settlement| match settlement {
        Settlement::Recorded(record) => status(record),
        Settlement::Locked => "locked",
        Settlement::NoRow => "no row",
        Settlement::Unpostable(_) => "unpostable",
    };
    settlements.iter().map(end).collect()
}

#[tokio::test]
async fn a_locked_account_holds_up_its_own_payments_alone() {
    let (ledger, store) = open().await;
    let known = request("KNOWN", "A", "SHOP", usd(1));
    ledger.hold(std::slice::from_ref(&known)).await;
    let locker = rival(&ledger, "UPDATE accounts SET status = 'FROZEN' WHERE id = 'A'").await;
    let requests = [
        request("P1", "A", "SHOP", usd(1)),
        request("P2", "B", "SHOP", usd(1)),
        request("P3", "NOBODY", "SHOP", usd(1)),
        known.clone(),
    ];
    // What is locked is not missing, what is missing is not locked, and a row answers whatever else is
    // locked.
    let expected = ["locked", "RESERVED", "FAILED", "RESERVED"];
    assert_eq!(held(&store.reserve(requests.to_vec(), at(10)).await.unwrap()), expected);
    // A refusal needs no account.
    let refusal = refused(&request("R", "A", "SHOP", usd(1)));
    assert_eq!(held(&store.record_rejections(vec![refusal]).await.unwrap()), ["FAILED"]);
    let deposits = || {
        vec![
            deposit("D1", "A", usd(1)),
            deposit("D2", "B", usd(1)),
            deposit("FUND-A", "A", usd(1_000)),
            deposit("D3", "NOBODY", usd(1)),
        ]
    };
    let outcomes = impatient(&ledger).deposit(deposits(), at(10)).await.unwrap();
    let replayed = DepositOutcome::Replayed(usd(1_000));
    assert_eq!(
        outcomes,
        [
            DepositOutcome::Locked,
            DepositOutcome::Posted(usd(1_001)),
            replayed.clone(),
            DepositOutcome::NoAccount
        ]
    );
    end(locker).await;

    // A process that remembers nothing goes on at once, one that does a second later.
    assert_eq!(held(&impatient(&ledger).reserve(requests.to_vec(), at(10)).await.unwrap())[0], "RESERVED");
    while held(&store.reserve(requests.to_vec(), at(10)).await.unwrap())[0] == "locked" {
        // The memory of a locked row ends with time and with nothing else.
        tokio::time::sleep(LOCK_TIMEOUT).await;
    }
    let outcomes = impatient(&ledger).deposit(deposits(), at(10)).await.unwrap();
    assert_eq!(
        outcomes,
        [
            DepositOutcome::Posted(usd(1_001)),
            DepositOutcome::Replayed(usd(1_001)),
            replayed,
            DepositOutcome::NoAccount
        ]
    );
    ledger.assert_sound("after the lock").await;
}

/// Payments that are held: within a currency from A and from B, and a conversion from B.
async fn hold_three(ledger: &Ledger) -> Vec<HoldRequest> {
    let across = converted(
        request("P3", "B", "E", usd(10)),
        currency("EUR"),
        Rate { numerator: 9, denominator: 10 },
        25,
    )
    .unwrap();
    let requests = vec![request("P1", "A", "SHOP", usd(1)), request("P2", "B", "SHOP", usd(1)), across];
    ledger.hold(&requests).await;
    requests
}

#[tokio::test]
async fn a_locked_row_holds_up_the_settlements_that_need_it_alone() {
    let rows: [(&str, [&str; 4]); 5] = [
        ("SELECT FROM payments WHERE id = 'P1' FOR UPDATE", ["locked", "CAPTURED", "CAPTURED", "no row"]),
        ("SELECT FROM accounts WHERE id = 'A' FOR UPDATE", ["locked", "CAPTURED", "CAPTURED", "no row"]),
        ("SELECT FROM accounts WHERE id = 'SHOP' FOR UPDATE", ["locked", "locked", "CAPTURED", "no row"]),
        // Made before, so that it is there to be locked.
        (
            "SELECT FROM accounts WHERE id = 'fee:EUR' FOR UPDATE",
            ["CAPTURED", "CAPTURED", "locked", "no row"],
        ),
        ("SELECT FROM payments FOR UPDATE", ["locked", "locked", "locked", "no row"]),
    ];
    for (sql, expected) in rows {
        let (ledger, store) = open().await;
        let mut requests = hold_three(&ledger).await;
        let locker = rival(&ledger, sql).await;
        requests.push(request("NEVER", "A", "SHOP", usd(1)));
        assert_eq!(ends(&store.settle(settlements(&requests), at(20), 0).await.unwrap()), expected, "{sql}");
        end(locker).await;
        let told = impatient(&ledger).settle(settlements(&requests), at(20), 0).await.unwrap();
        assert_eq!(ends(&told), ["CAPTURED", "CAPTURED", "CAPTURED", "no row"], "{sql}");
        ledger.assert_sound(sql).await;
    }
}

#[tokio::test]
async fn what_was_locked_a_moment_ago_costs_nobody_anything() {
    let (ledger, _) = open().await;
    let address: SocketAddr = ledger.owner_url().split(['@', '/']).nth(3).unwrap().parse().unwrap();
    let wiretap = Wiretap::start(address).await;
    let store = ledger.another_store(|options| {
        options.lock_timeout = LOCK_TIMEOUT;
        options.url = options.url.replace(&address.to_string(), &wiretap.address.to_string());
    });
    let requests = hold_three(&ledger).await;
    let locker = rival(
        &ledger,
        "SELECT FROM accounts WHERE id = 'A' FOR UPDATE; SELECT FROM payments WHERE id = 'P2' FOR UPDATE",
    )
    .await;
    let batch = [request("NEW", "A", "SHOP", usd(1)), request("P2", "B", "SHOP", usd(1))];
    let (mut is_free_of_charge, mut looks) = (false, 0);
    // Once at most does a machine have to think for a second between two of these calls.
    while !is_free_of_charge && looks < 10 {
        looks += 1;
        assert_eq!(
            ends(&store.settle(settlements(&requests[..2]), at(20), 0).await.unwrap()),
            ["locked", "locked"]
        );
        let before = wiretap.trips();
        assert_eq!(
            ends(&store.settle(settlements(&requests[..2]), at(20), 0).await.unwrap()),
            ["locked", "locked"]
        );
        assert_eq!(held(&store.reserve(batch.to_vec(), at(20)).await.unwrap()), ["locked", "locked"]);
        assert_eq!(
            store.deposit(vec![deposit("D", "A", usd(1))], at(20)).await.unwrap(),
            [DepositOutcome::Locked]
        );
        is_free_of_charge = wiretap.trips() == before;
    }
    assert!(is_free_of_charge, "locked rows are asked about again and again");
    assert_eq!(
        ends(&store.settle(settlements(&requests), at(20), 0).await.unwrap())[2],
        "CAPTURED",
        "the others are asked about"
    );
    end(locker).await;
}

/// A row of `payments` that nobody else may insert.
pub(crate) fn insert_payment(ids: impl Iterator<Item = String>) -> String {
    let one = |id: String| {
        format!(
            "('default', '{id}', 'FAILED', 'A', 'SHOP', 'USD', 1, '\\x00', 1, now(), 'risk', 'risk_rejected', now(), now())"
        )
    };
    let columns = "tenant, id, status, source_account, destination_account, currency, amount, fingerprint, accepted_seq, accepted_at, \
                   refused_by, reason, refused_at, finished_at";
    format!("INSERT INTO payments ({columns}) VALUES {}", ids.map(one).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn an_insert_that_waits_holds_up_its_own_payment_alone() {
    const SIZE: usize = 40;
    let (ledger, store) = open().await;
    let requests: Vec<HoldRequest> =
        (0..SIZE).map(|number| request(&format!("P{number}"), "A", "SHOP", usd(1))).collect();
    let rejections: Vec<_> =
        (0..SIZE).map(|number| refused(&request(&format!("R{number}"), "A", "SHOP", usd(1)))).collect();
    let deposits: Vec<_> = (0..SIZE).map(|number| deposit(&format!("D{number}"), "B", usd(1))).collect();
    let insert_operation =
        "INSERT INTO operations (tenant, kind, id, account_id, currency, amount, balance_after)
                            VALUES ('default', 'deposit', 'D17', 'B', 'USD', 1, 1)";
    let insert = insert_payment(["P17".to_owned(), "R0".to_owned()].into_iter());
    let locker = rival(&ledger, &format!("{insert}; {insert_operation}")).await;
    let places =
        |is_locked: &dyn Fn(usize) -> bool| (0..SIZE).filter(|place| is_locked(*place)).collect::<Vec<_>>();
    let answers = store.reserve(requests.clone(), at(10)).await.unwrap();
    assert_eq!(places(&|place| answers[place] == Answer::Locked), [17]);
    let told = store.record_rejections(rejections.clone()).await.unwrap();
    assert_eq!(places(&|place| told[place] == Answer::Locked), [0]);
    let outcomes = store.deposit(deposits.clone(), at(10)).await.unwrap();
    assert_eq!(places(&|place| outcomes[place] == DepositOutcome::Locked), [17]);
    assert!(
        outcomes
            .iter()
            .enumerate()
            .all(|(place, outcome)| place == 17 || matches!(outcome, DepositOutcome::Posted(_))),
        "{outcomes:?}"
    );
    end(locker).await;
    let fresh = impatient(&ledger);
    assert_eq!(
        recorded(fresh.reserve(requests, at(10)).await.unwrap()).iter().map(status).collect::<Vec<_>>(),
        ["RESERVED"; SIZE]
    );
    assert_eq!(recorded(fresh.record_rejections(rejections).await.unwrap()).len(), SIZE);
    assert_eq!(fresh.deposit(deposits, at(10)).await.unwrap()[17], DepositOutcome::Posted(usd(1_040)));
    ledger.assert_sound("after the inserts").await;
}

#[tokio::test]
async fn what_holds_up_everything_is_an_outage() {
    const SIZE: usize = 40;
    let every_key = insert_payment((0..SIZE).map(|number| format!("N{number}")));
    // What is locked, and whether reserve, settle and deposits are told of an outage.
    let rows: [(&str, &str, [bool; 3]); 4] = [
        ("every key of the batch", &every_key, [true, false, false]),
        ("inserts into payments", "LOCK TABLE payments IN SHARE MODE", [true, true, false]),
        ("accounts", "LOCK TABLE accounts", [true, true, true]),
        ("entries", "LOCK TABLE entries", [false, true, true]),
    ];
    for (about, sql, expected) in rows {
        let (ledger, store) = open().await;
        let held = hold_three(&ledger).await;
        let requests: Vec<HoldRequest> =
            (0..SIZE).map(|number| request(&format!("N{number}"), "A", "SHOP", usd(1))).collect();
        let deposits = (0..SIZE).map(|number| deposit(&format!("D{number}"), "B", usd(1))).collect();
        let locker = rival(&ledger, sql).await;
        let errors = [
            store.reserve(requests.clone(), at(10)).await.err(),
            store.settle(settlements(&held), at(20), 0).await.err(),
            store.deposit(deposits, at(10)).await.err(),
        ];
        assert_eq!(
            errors.each_ref().map(|error| error.as_ref().is_some_and(StoreError::is_outage)),
            expected,
            "{about}: {errors:?}"
        );
        end(locker).await;
        assert_eq!(
            recorded(impatient(&ledger).reserve(requests, at(10)).await.unwrap()).len(),
            SIZE,
            "{about}"
        );
        ledger.assert_sound(about).await;
    }
}

#[tokio::test]
async fn an_unknown_status_is_not_taken_for_another() {
    let (ledger, store) = open().await;
    let requests = hold_three(&ledger).await;
    ledger.sql("ALTER TABLE accounts DROP CONSTRAINT accounts_status_check; UPDATE accounts SET status = 'CLOSED' WHERE id = 'A'").await;
    let errors = [
        store.reserve(vec![request("NEW", "A", "SHOP", usd(1))], at(10)).await.err(),
        store.settle(settlements(&requests), at(20), 0).await.err(),
        store.deposit(vec![deposit("D", "A", usd(1))], at(10)).await.err(),
        store.account(&account_key("A")).await.err(),
    ];
    for (place, error) in errors.into_iter().enumerate() {
        assert!(
            matches!(&error, Some(StoreError::Corrupt(what)) if what == "accounts.status"),
            "call {place}: {error:?}"
        );
    }
    assert_eq!(
        ends(&store.settle(settlements(&requests[1..]), at(20), 0).await.unwrap()),
        ["CAPTURED", "CAPTURED"]
    );
    assert_eq!(ledger.store.records(&[payment_key("NEW")]).await.unwrap().len(), 0);
}
