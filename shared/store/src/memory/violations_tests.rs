//! Each sentence is told of a ledger that was broken on purpose.

use super::*;
use crate::memory::{MemoryLedger, MemoryOptions};
use crate::{HoldRequest, SettleRequest, StageLedger};
use domain::facts::{AppliedRate, Screening};
use domain::fx::Rate;
use domain::{AccountKey, Facts, Timestamp};
use std::sync::Arc;

fn money(minor: i64, currency: &str) -> Money {
    Money::new(minor, Currency::parse(currency).unwrap())
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

fn payment_key(id: &str) -> PaymentKey {
    PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(id).unwrap() }
}

/// A payment of 100 dollars that brings 90 euros, of which 2 are a fee.
fn request(id: &str) -> HoldRequest {
    let (payment, at) = (payment(id), Timestamp::default());
    let conversion = AppliedRate {
        rate: Rate { numerator: 92, denominator: 100 },
        spread_bps: 217,
        gross_minor: 92,
        residue: 0,
        as_of: at,
    };
    HoldRequest {
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: at },
        screening: Screening { score: 1, at },
        quote: Quote { destination_amount: money(90, "EUR"), conversion: Some(conversion), at },
        is_quote_outdated: false,
        trace: None,
    }
}

fn payment(id: &str) -> Payment {
    Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: account("A"),
        destination_account: account("E"),
        amount: money(100, "USD"),
        destination_currency: None,
        description: None,
        metadata: None,
    }
}

/// A ledger with two deposits, a payment that has moved and one that is held.
async fn tables() -> Tables {
    let ledger = MemoryLedger::new(MemoryOptions::new(Arc::new(Timestamp::default)));
    for (id, currency) in [("A", "USD"), ("E", "EUR")] {
        let key = AccountKey { tenant: Tenant::default(), id: account(id) };
        ledger.open_account(&key, money(1_000, currency)).unwrap();
    }
    let now = Timestamp::default();
    ledger.reserve(vec![request("MOVED"), request("HELD")], now).await.unwrap();
    let settle = SettleRequest {
        payment: payment_key("MOVED"),
        source: account("A"),
        destination: account("E"),
        conversion: Some((money(0, "USD").currency, money(0, "EUR").currency)),
    };
    ledger.settle(vec![settle], now, 0).await.unwrap();
    ledger.server.state().tables.clone()
}

fn row(id: &str) -> AccountRow {
    customer_row(&Tenant::default(), &account(id))
}

fn lines<'t>(tables: &'t mut Tables, kind: OperationKind, id: &str) -> &'t mut Vec<EntryLine> {
    tables.entries.get_mut(&(kind, Tenant::default(), id.to_owned())).unwrap()
}

fn moved(tables: &mut Tables) -> &mut Vec<EntryLine> {
    lines(tables, OperationKind::Payment, "MOVED")
}

fn payment_row<'t>(tables: &'t mut Tables, id: &str) -> &'t mut PaymentRow {
    tables.payments.get_mut(&payment_key(id)).unwrap()
}

/// What is done to the ledger, and the sentence that it breaks, perhaps among others.
const CORRUPTIONS: [(&str, fn(&mut Tables)); 18] = [
    ("operations_sum_to_zero", |tables| moved(tables)[0].amount.minor += 1),
    ("operations_have_two_sides", |tables| moved(tables).truncate(1)),
    ("entries_belong_to_an_operation", |tables| drop(tables.payments.remove(&payment_key("MOVED")))),
    ("entries_belong_to_an_operation", |tables| tables.deposits.clear()),
    ("entries_carry_their_accounts_currency", |tables| tables.accounts.retain(|key, _| *key != row("E"))),
    ("entries_carry_their_accounts_currency", |tables| {
        tables.accounts.get_mut(&row("E")).unwrap().currency = money(0, "JPY").currency;
    }),
    ("balances_are_sums", |tables| tables.accounts.get_mut(&row("E")).unwrap().balance += 1),
    ("entries_are_numbered_without_gap", |tables| moved(tables)[0].number += 1),
    ("entries_are_numbered_without_gap", |tables| {
        tables.accounts.get_mut(&row("A")).unwrap().entry_count += 1
    }),
    ("running_balances_are_exact", |tables| moved(tables)[0].balance_after += 1),
    ("customers_were_never_overdrawn", |tables| moved(tables)[0].balance_after = -1),
    ("customers_cover_their_holds", |tables| tables.accounts.get_mut(&row("A")).unwrap().held = 901),
    ("held_is_the_sum_of_reserved_payments", |tables| {
        tables.accounts.get_mut(&row("A")).unwrap().held = 0;
    }),
    ("held_is_the_sum_of_reserved_payments", |tables| tables.accounts.retain(|key, _| *key != row("A"))),
    ("captured_means_one_settlement", |tables| {
        let again = moved(tables).clone();
        moved(tables).extend(again);
    }),
    ("unsettled_payments_have_no_entries", |tables| {
        payment_row(tables, "MOVED").record.state = payment_row(tables, "HELD").record.state.clone();
    }),
    ("payments_match_their_accounts", |tables| {
        payment_row(tables, "HELD").record.facts.payment.destination_currency =
            Some(money(0, "USD").currency);
    }),
    ("deposits_have_their_two_entries", |tables| {
        lines(tables, OperationKind::Deposit, "A")[1].balance_after += 1;
    }),
];

#[tokio::test]
async fn each_sentence_is_told_when_it_is_broken() {
    let sound = tables().await;
    assert_eq!(sound.violations(), Vec::<String>::new());
    for (sentence, corrupt) in CORRUPTIONS {
        let mut tables = sound.clone();
        corrupt(&mut tables);
        let told = tables.violations();
        assert!(told.iter().any(|told| told.starts_with(sentence)), "{sentence}: {told:?}");
    }
}

#[tokio::test]
async fn a_ledger_that_is_broken_everywhere_is_told_of_in_part() {
    let mut tables = tables().await;
    let lines = moved(&mut tables);
    let line = lines[0].clone();
    lines.extend((0..1_000).map(|_| line.clone()));
    assert_eq!(tables.violations().len(), TOLD_MAX);
}
