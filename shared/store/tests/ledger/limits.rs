//! Balances near the end of the 64-bit range, and accounts of ours that are not where they were.

use crate::common::{
    Ledger, at, converted, currency, deposit, recorded, request, settled, settlements, status, usd,
};
use domain::facts::{RecordState, Rejection};
use domain::fx::Rate;
use domain::ledger::{LedgerAccount, PostingError};
use domain::money::AMOUNT_MINOR_MAX;
use domain::system_account::{SystemAccount, SystemKind};
use domain::{AccountId, Money, Refusal, StageName};
use store::{DepositOutcome, HoldRequest, Settlement, Store, StoreError};

/// The largest batches there are.
const DEPOSITS: usize = 256;
const PAYMENTS: usize = 1_000;

fn euros(minor: i64) -> Money {
    Money::new(minor, currency("EUR"))
}

/// Deposits of the largest amount, in batches, to these accounts in turn.
async fn pay_in(store: &Store, prefix: &str, accounts: &[&str], count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(DEPOSITS) {
        let one = |number: &usize| {
            deposit(&format!("{prefix}{number}"), accounts[number % accounts.len()], usd(AMOUNT_MINOR_MAX))
        };
        let outcomes = store.deposit(chunk.iter().map(one).collect(), at(5)).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, DepositOutcome::Posted(_))), "{outcomes:?}");
    }
}

/// The rows of an account of ours with their balances in units of 10^15.
async fn rows(ledger: &Ledger, account: &str) -> Vec<(String, i64)> {
    let sql = format!(
        "SELECT id, balance / 1000000000000000 FROM accounts WHERE id LIKE '{account}%' ORDER BY length(id), id"
    );
    let line = |line: &str| {
        line.split_once('|').map(|(id, balance)| (id.to_owned(), balance.parse().unwrap())).unwrap()
    };
    ledger.sql(&sql).await.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_never_overflow_the_world_outside() {
    let ledger = Ledger::open().await;
    for id in ["A", "B", "C"] {
        ledger.open_account(id, currency("USD")).await;
    }
    // Two processes take turns and then go at it at once: each finds out by itself that the other has gone
    // on.
    let other = ledger.another_store(|_| {});
    pay_in(&ledger.store, "FIRST", &["A", "B"], 4_200).await;
    pay_in(&other, "SECOND", &["A", "B"], 300).await;
    tokio::join!(
        pay_in(&ledger.store, "THIRD", &["A", "B"], 2_400),
        pay_in(&other, "FOURTH", &["A", "B"], 2_400)
    );
    assert_eq!(
        ledger.store.deposit(vec![deposit("LAST", "C", usd(7))], at(6)).await.unwrap(),
        [DepositOutcome::Posted(usd(7))]
    );
    assert_eq!(
        other.deposit(vec![deposit("LAST", "C", usd(7))], at(6)).await.unwrap(),
        [DepositOutcome::Replayed(usd(7))]
    );
    // A process that begins anew finds where the account is.
    let third = ledger.another_store(|_| {});
    assert_eq!(
        third.deposit(vec![deposit("NEW", "C", usd(1))], at(6)).await.unwrap(),
        [DepositOutcome::Posted(usd(8))]
    );

    let rows = rows(&ledger, "external:USD").await;
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["external:USD", "external:USD:0.2", "external:USD:0.3"]);
    assert!(
        rows[..2].iter().all(|(_, balance)| (-5_000..=-4_000).contains(balance)),
        "one batch beyond the bound at most: {rows:?}"
    );
    assert_eq!(rows.iter().map(|(_, balance)| balance).sum::<i64>(), -9_300);
    ledger.assert_sound("after more than a row can hold").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversions_never_overflow_our_liquidity_or_fees() {
    const CONVERSIONS: usize = 5_100;
    let ledger = Ledger::open().await;
    ledger.open_account("S", currency("USD")).await;
    ledger.open_account("D", currency("EUR")).await;
    let amount = usd(AMOUNT_MINOR_MAX);
    assert_eq!(
        ledger.store.deposit(vec![deposit("1", "S", usd(i64::MAX))], at(5)).await.unwrap(),
        [DepositOutcome::Posted(usd(i64::MAX))]
    );
    // Nearly everything is the fee, so that it fills as fast as the liquidity on both sides.
    let one = |number: usize| {
        let one = request(&format!("P{number}"), "S", "D", amount);
        converted(one, currency("EUR"), Rate { numerator: 1, denominator: 1 }, 9_999).unwrap()
    };
    for chunk in (0..CONVERSIONS).map(one).collect::<Vec<HoldRequest>>().chunks(PAYMENTS) {
        ledger.hold(chunk).await;
        let records = settled(ledger.store.settle(settlements(chunk), at(20), 3).await.unwrap());
        assert!(records.iter().all(|record| status(record) == "CAPTURED"));
    }
    // The fee is a little less than the amount: it goes on a batch later.
    for (account, first, second) in
        [("fx:USD:3", 4_000, 1_100), ("fx:EUR:3", -4_000, -1_100), ("fee:EUR:3", 4_999, 99)]
    {
        let expected = [(account.to_owned(), first), (format!("{account}.2"), second)];
        assert_eq!(rows(&ledger, account).await, expected);
    }
    ledger.assert_sound("after the conversions").await;
}

#[tokio::test]
async fn a_destination_that_cannot_take_it_refuses() {
    let ledger = Ledger::open().await;
    ledger.fund("FULL", usd(i64::MAX - 100)).await;
    ledger.fund("S", usd(1_000)).await;
    ledger.open_account("OTHER", currency("USD")).await;
    let requests = [("P1", "FULL", 60), ("P2", "FULL", 41), ("P3", "FULL", 40), ("P4", "OTHER", 5)]
        .map(|(id, to, minor)| request(id, "S", to, usd(minor)));
    let held = ledger.hold(&requests).await;
    let told = settled(ledger.store.settle(settlements(&requests), at(20), 0).await.unwrap());
    assert_eq!(told.iter().map(status).collect::<Vec<_>>(), ["CAPTURED", "FAILED", "CAPTURED", "CAPTURED"]);
    let RecordState::Reserved(reserved) = held[1].state.clone() else { panic!("{:?}", held[1]) };
    let rejection = Rejection {
        stage: StageName::Settle,
        reason: Refusal::DestinationLimit,
        rules: Vec::new(),
        at: at(20),
    };
    let failed = RecordState::Failed {
        screening: Some(reserved.screening),
        quote: Some(reserved.quote),
        reserved_at: Some(reserved.at),
        rejection,
        finished_at: at(20),
    };
    assert_eq!(told[1].state, failed);
    assert_eq!(
        ledger.sql("SELECT balance, held FROM accounts WHERE id = 'S'").await,
        "895|0",
        "the hold is released"
    );
    assert_eq!(ledger.sql("SELECT balance FROM accounts WHERE id = 'FULL'").await, i64::MAX.to_string());
    // A redelivery is told from the row, also once there would be room.
    ledger.hold(&[request("AWAY", "FULL", "OTHER", usd(50))]).await;
    ledger.capture(&[request("AWAY", "FULL", "OTHER", usd(50))]).await;
    for store in [ledger.store.clone(), ledger.another_store(|_| {})] {
        assert_eq!(settled(store.settle(settlements(&requests), at(30), 0).await.unwrap()), told);
        assert_eq!(recorded(store.reserve(requests.to_vec(), at(30)).await.unwrap()), told);
    }
    // A batch of nothing but refusals.
    let last = [request("LAST", "S", "FULL", usd(51))];
    ledger.hold(&last).await;
    assert_eq!(
        status(&settled(ledger.store.settle(settlements(&last), at(40), 0).await.unwrap())[0]),
        "FAILED"
    );
    ledger.assert_sound("after the refusals").await;
}

/// A conversion that is held, of a ledger whose store has met our accounts in both currencies.
async fn held_conversion(ledger: &Ledger) -> Vec<HoldRequest> {
    ledger.fund("S", usd(1_000)).await;
    ledger.fund("E", euros(1_000)).await;
    let convert = |id: &str| {
        converted(
            request(id, "S", "E", usd(100)),
            currency("EUR"),
            Rate { numerator: 9, denominator: 10 },
            25,
        )
        .unwrap()
    };
    ledger.hold(&[convert("BEFORE")]).await;
    ledger.capture(&[convert("BEFORE")]).await;
    ledger.hold(&[convert("P")]).await;
    vec![convert("P")]
}

#[tokio::test]
async fn accounts_of_ours_that_vanished_are_made_anew() {
    let ledger = Ledger::open().await;
    let requests = held_conversion(&ledger).await;
    // The store goes by what it remembers: a row that is there, and one that it had gone on to, of a ledger
    // since set back.
    ledger.open_account("FULL", currency("USD")).await;
    ledger.store.deposit(vec![deposit("LARGE", "FULL", usd(1 << 62))], at(5)).await.unwrap();
    ledger.store.deposit(vec![deposit("NEXT", "FULL", usd(1))], at(5)).await.unwrap();
    assert_eq!(ledger.sql("SELECT count(*) FROM accounts WHERE id = 'external:USD:0.2'").await, "1");
    ledger.sql("SET session_replication_role = replica; DELETE FROM entries; DELETE FROM operations").await;
    ledger.sql("DELETE FROM accounts WHERE kind = 'system'").await;
    let told = settled(ledger.store.settle(settlements(&requests), at(20), 0).await.unwrap());
    assert_eq!(status(&told[0]), "CAPTURED");
    ledger.sql("DELETE FROM accounts WHERE kind = 'system'").await;
    assert_eq!(
        ledger.store.deposit(vec![deposit("D", "S", usd(1))], at(30)).await.unwrap(),
        [DepositOutcome::Posted(usd(801))]
    );
    assert_eq!(
        ledger.sql("SELECT id FROM accounts WHERE kind = 'system' AND currency = 'USD' ORDER BY id").await,
        "external:USD\nfee:USD\nfx:USD"
    );
}

#[tokio::test]
async fn accounts_of_ours_that_cannot_be_made_are_a_fault() {
    let ledger = Ledger::open().await;
    let requests = held_conversion(&ledger).await;
    ledger.open_account("X", currency("USD")).await;
    let within = request("WITHIN", "S", "X", usd(1));
    ledger.hold(std::slice::from_ref(&within)).await;
    ledger
        .sql(
            "CREATE FUNCTION make_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER make_nothing BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION make_nothing();
             DELETE FROM accounts WHERE kind = 'system'",
        )
        .await;
    let both = settlements(&[requests[0].clone(), within]);
    let told = ledger.store.settle(both, at(20), 0).await.unwrap();
    let missing = LedgerAccount::from(SystemAccount::first(SystemKind::Fx, currency("USD"), 0));
    assert_eq!(told[0], Settlement::Unpostable(PostingError::UnknownAccount(missing)));
    assert!(
        matches!(&told[1], Settlement::Recorded(record) if status(record) == "CAPTURED"),
        "{:?}",
        told[1]
    );
    let error = ledger.store.deposit(vec![deposit("D", "S", usd(1))], at(30)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("external:USD")), "{error:?}");
    // A customer's account that is gone is one payment's fault alone.
    ledger.sql("DELETE FROM accounts WHERE id = 'E'; DROP TRIGGER make_nothing ON accounts").await;
    let told = ledger.store.settle(settlements(&requests), at(20), 0).await.unwrap();
    let gone = LedgerAccount::customer(&AccountId::parse("E").unwrap());
    assert_eq!(told, [Settlement::Unpostable(PostingError::UnknownAccount(gone.clone()))]);
    // Nor is another account by its name the one that the payment was quoted for.
    ledger.open_account("E", currency("JPY")).await;
    let told = ledger.store.settle(settlements(&requests), at(20), 0).await.unwrap();
    assert_eq!(told, [Settlement::Unpostable(PostingError::OtherCurrency(gone))]);
}
