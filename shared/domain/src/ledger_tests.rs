use super::*;
use crate::fx::{self, Rate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

#[test]
fn postings_follow_the_shape_of_the_operation() {
    let (usd, eur) = (currency("USD"), currency("EUR"));
    let conversion = Conversion { gross: 92, net: 90, residue: 5 };
    let free = Conversion { gross: 92, net: 92, residue: 0 };
    let (source, destination) = (account("S"), account("D"));
    let (ours, mut third) = (SystemAccounts::of(0), SystemAccounts::of(3));
    third.reach(SystemAccount { part: 2, ..SystemAccount::first(SystemKind::Fx, usd, 3) });
    let rows: [(Postings, &[(&str, i64)]); 5] = [
        (Postings::transfer(&source, &destination, Money::new(100, usd)), &[("S", -100), ("D", 100)]),
        (
            Postings::conversion(&source, &destination, Money::new(100, usd), eur, conversion, &ours),
            &[("S", -100), ("fx:USD", 100), ("fx:EUR", -92), ("fee:EUR", 2), ("D", 90)],
        ),
        (
            Postings::conversion(&source, &destination, Money::new(100, usd), eur, free, &ours),
            &[("S", -100), ("fx:USD", 100), ("fx:EUR", -92), ("D", 92)],
        ),
        (
            Postings::conversion(&source, &destination, Money::new(100, usd), eur, free, &third),
            &[("S", -100), ("fx:USD:3.2", 100), ("fx:EUR:3", -92), ("D", 92)],
        ),
        (Postings::deposit(&source, Money::new(100, usd), &ours), &[("external:USD", -100), ("S", 100)]),
    ];
    for (postings, expected) in rows {
        let lines: Vec<_> =
            postings.entries().iter().map(|entry| (entry.account.as_str(), entry.amount.minor)).collect();
        assert_eq!(lines, expected);
    }
}

#[test]
fn holds_are_judged_in_order_against_the_running_state() {
    use Refusal::{AccountFrozen, CurrencyMismatch, InsufficientFunds};
    let (usd, eur) = (currency("USD"), currency("EUR"));
    let rows = [
        (AccountStatus::Active, Money::new(60, usd), Ok(()), 60),
        (AccountStatus::Active, Money::new(60, usd), Err(InsufficientFunds), 60),
        (AccountStatus::Active, Money::new(40, usd), Ok(()), 100),
        (AccountStatus::Active, Money::new(1, usd), Err(InsufficientFunds), 100),
        (AccountStatus::Active, Money::new(1, eur), Err(CurrencyMismatch), 100),
        (AccountStatus::Frozen, Money::new(1, usd), Err(AccountFrozen), 100),
    ];
    let mut source = SourceAccount { currency: usd, status: AccountStatus::Active, balance: 100, held: 0 };
    for (status, amount, expected, held) in rows {
        source.status = status;
        assert_eq!((source.hold(amount), source.held), (expected, held));
    }
}

#[test]
fn a_book_posts_all_or_nothing() {
    let usd = currency("USD");
    let mut book = Book::default();
    book.insert(LedgerAccount::customer(&account("S")), Balance { minor: 100, entry_count: 4 });
    book.insert(LedgerAccount::customer(&account("D")), Balance { minor: i64::MAX, entry_count: 0 });
    let unknown = Postings::transfer(&account("S"), &account("X"), Money::new(1, usd));
    assert_eq!(
        book.post(&unknown),
        Err(PostingError::UnknownAccount(LedgerAccount::customer(&account("X"))))
    );
    let overflow = Postings::transfer(&account("S"), &account("D"), Money::new(1, usd));
    assert_eq!(book.post(&overflow), Err(PostingError::Overflow(LedgerAccount::customer(&account("D")))));
    assert_eq!(
        book.balance(&LedgerAccount::customer(&account("S"))),
        Some(Balance { minor: 100, entry_count: 4 })
    );
}

/// One random payment between random currencies, as far as it can be converted.
fn payment() -> impl Strategy<Value = (Money, Currency, Option<Rate>, u32)> {
    let code = || prop::sample::select(vec!["USD", "EUR", "JPY", "KWD", "IDR", "GBP"]);
    (1..=10_000_000_000_i64, code(), code(), 1..=9_999_999_i64, 1..=9_999_999_i64, 0..=300_u32).prop_map(
        |(minor, from, to, numerator, denominator, bps)| {
            let rate = (from != to).then_some(Rate { numerator, denominator });
            (Money::new(minor, currency(from)), currency(to), rate, bps)
        },
    )
}

/// Acceptance: over 100,000 random conversions the entries of each currency sum to zero and nothing is
/// created.
#[test]
fn a_hundred_thousand_conversions_sum_to_zero_per_currency() {
    let mut runner =
        TestRunner::new(Config { cases: 100_000, failure_persistence: None, ..Config::default() });
    let totals = std::cell::RefCell::new(BTreeMap::<&str, i128>::new());
    let outcome = runner.run(&payment(), |(amount, arrives, rate, bps)| {
        let (source, destination) = (account("S"), account("D"));
        let postings = match rate {
            None => Postings::transfer(&source, &destination, amount),
            Some(rate) => match fx::convert(amount, rate, bps) {
                Ok(conversion) => Postings::conversion(
                    &source,
                    &destination,
                    amount,
                    arrives,
                    conversion,
                    &SystemAccounts::of(0),
                ),
                Err(_) => return Ok(()),
            },
        };
        let mut sums = BTreeMap::<&str, i128>::new();
        for entry in postings.entries() {
            prop_assert_ne!(entry.amount.minor, 0);
            *sums.entry(entry.amount.currency.code()).or_default() += i128::from(entry.amount.minor);
            *totals.borrow_mut().entry(entry.amount.currency.code()).or_default() +=
                i128::from(entry.amount.minor);
        }
        prop_assert!(sums.values().all(|sum| *sum == 0), "{sums:?}");
        // The house never pays for rounding: what arrives is worth at most what left at the mid-market rate.
        if let Some(rate) = rate {
            let arrived = postings.entries().last().map_or(0, |entry| i128::from(entry.amount.minor));
            prop_assert!(
                arrived * i128::from(rate.denominator)
                    <= i128::from(amount.minor) * i128::from(rate.numerator)
            );
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("seed {:?}: {failure}", runner.rng()));
    assert!(totals.into_inner().values().all(|sum| *sum == 0));
}
