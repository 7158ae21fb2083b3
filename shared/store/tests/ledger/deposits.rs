//! Deposits and openings: each once by its id, and told again as it went.

use crate::common::{Ledger, account_key, at, currency, deposit, usd};
use domain::{Currency, Money};
use std::collections::BTreeSet;
use store::{Deposit, DepositOutcome, Opening};

#[tokio::test]
async fn a_deposit_comes_in_once() {
    use DepositOutcome::{Mismatch, NoAccount, Posted, Replayed, TooLarge};
    let ledger = Ledger::open().await;
    for id in ["A", "B", "FULL"] {
        ledger.open_account(id, currency("USD")).await;
    }
    let yen = |minor: i64| Money::new(minor, currency("JPY"));
    // In this order: each row finds what those before it left.
    let rows: Vec<(&str, Vec<Deposit>, Vec<DepositOutcome>)> = vec![
        ("an empty batch", vec![], vec![]),
        ("the first", vec![deposit("1", "A", usd(100))], vec![Posted(usd(100))]),
        ("another", vec![deposit("2", "A", usd(50))], vec![Posted(usd(150))]),
        ("again: the balance of the first time", vec![deposit("1", "A", usd(100))], vec![Replayed(usd(100))]),
        ("another amount", vec![deposit("1", "A", usd(101))], vec![Mismatch]),
        ("another account", vec![deposit("1", "B", usd(100))], vec![Mismatch]),
        ("another currency", vec![deposit("1", "A", yen(100))], vec![Mismatch]),
        ("another account, which is not there", vec![deposit("1", "NOBODY", usd(100))], vec![Mismatch]),
        ("an account that is not there", vec![deposit("3", "NOBODY", usd(1))], vec![NoAccount]),
        ("an account of another currency", vec![deposit("3", "A", yen(1))], vec![NoAccount]),
        ("an id that was refused is free", vec![deposit("3", "B", usd(7))], vec![Posted(usd(7))]),
        (
            "twice in one batch, then with another amount",
            vec![
                deposit("4", "A", usd(10)),
                deposit("5", "A", usd(1)),
                deposit("4", "A", usd(10)),
                deposit("4", "A", usd(11)),
            ],
            vec![Posted(usd(160)), Posted(usd(161)), Replayed(usd(160)), Mismatch],
        ),
        (
            "one bad among good ones",
            vec![deposit("6", "B", usd(1)), deposit("7", "NOBODY", usd(1)), deposit("8", "B", usd(2))],
            vec![Posted(usd(8)), NoAccount, Posted(usd(10))],
        ),
        (
            "as much as fits",
            vec![deposit("9", "FULL", usd(i64::MAX - 1_000))],
            vec![Posted(usd(i64::MAX - 1_000))],
        ),
        ("one unit too many", vec![deposit("10", "FULL", usd(1_001))], vec![TooLarge]),
    ];
    for (about, deposits, expected) in rows {
        assert_eq!(ledger.store.deposit(deposits, at(10)).await.unwrap(), expected, "{about}");
    }
    ledger.assert_sound("after the deposits").await;
    assert_eq!(ledger.sql("SELECT count(*) FROM operations").await, "8");
}

#[tokio::test]
async fn an_account_is_opened_once_and_keeps_its_currency() {
    let ledger = Ledger::open().await;
    let rows = [
        ("A", "USD", "new"),
        ("A", "USD", "again"),
        ("A", "EUR", "other"),
        ("B", "EUR", "new"),
        ("A", "USD", "again"),
    ];
    for (id, code, expected) in rows {
        let opening = ledger.store.open_account(&account_key(id), currency(code)).await.unwrap();
        let seen = match opening {
            Opening::Opened(_) => "new",
            Opening::Replayed(_) => "again",
            Opening::OtherCurrency => "other",
        };
        assert_eq!(seen, expected, "{id} {code}");
        if let Opening::Opened(account) | Opening::Replayed(account) = opening {
            let zero = Money::new(0, currency(code));
            assert_eq!(
                (account.key, account.currency, account.balance, account.held),
                (account_key(id), currency(code), zero, zero)
            );
        }
    }
}

#[tokio::test]
async fn accounts_are_found_by_their_ids() {
    let ledger = Ledger::open().await;
    ledger.fund("A", usd(500)).await;
    ledger.open_account("Z", currency("JPY")).await;
    ledger.hold(&[crate::common::request("P", "A", "Z", usd(200))]).await;
    let account = ledger.store.account(&account_key("A")).await.unwrap().unwrap();
    assert_eq!((account.balance, account.held, account.available()), (usd(500), usd(200), usd(300)));
    assert_eq!(ledger.store.account(&account_key("NOBODY")).await.unwrap(), None);
    let asked: BTreeSet<_> = ["Z", "NOBODY", "A"].map(account_key).into();
    let mut found: Vec<(String, Currency)> = ledger
        .store
        .account_currencies(&asked)
        .await
        .unwrap()
        .into_iter()
        .map(|(key, currency)| (key.id.to_string(), currency))
        .collect();
    found.sort();
    assert_eq!(found, [("A".to_owned(), currency("USD")), ("Z".to_owned(), currency("JPY"))]);
    assert!(ledger.store.account_currencies(&BTreeSet::new()).await.unwrap().is_empty());
}
