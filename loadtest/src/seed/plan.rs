//! Which accounts a file asks for, and how much money each needs.

use crate::error::LoadtestError;
use crate::rows::{self, AccountRow, PaymentRow};
use domain::money::AMOUNT_MINOR_MAX;
use domain::{AccountId, Currency, Money};
use std::collections::HashMap;
use std::path::Path;

/// The accounts of a file, in the order it names them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to open and fund.
    pub(crate) accounts: Vec<PlannedAccount>,
    /// Payments that no gateway accepts, and for which nothing is opened.
    pub(crate) skipped: u64,
}

/// An account to open and fund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedAccount {
    pub(crate) id: AccountId,
    pub(crate) currency: Currency,
    /// What is to be deposited, in minor units.
    pub(crate) minor: i64,
}

impl PlannedAccount {
    /// The deposits that make up the sum: one operation may only move so much.
    pub(crate) fn deposits(&self) -> impl Iterator<Item = i64> {
        let (whole, rest) = (self.minor / AMOUNT_MINOR_MAX, self.minor % AMOUNT_MINOR_MAX);
        (0..whole).map(|_| AMOUNT_MINOR_MAX).chain(Some(rest).filter(|rest| *rest > 0))
    }
}

/// Reads the accounts' file: `id,currency,opening_balance`.
pub(crate) fn of_accounts(path: &Path) -> Result<Plan, LoadtestError> {
    let mut plan = Plan::default();
    rows::read(path, |line, row: AccountRow| {
        let bad = |problem: String| LoadtestError::Line { path: path.to_owned(), line, problem };
        let id = AccountId::parse(row.id).map_err(|error| bad(format!("id {error}")))?;
        let currency = Currency::parse(&row.currency).map_err(|error| bad(format!("currency: {error}")))?;
        let balance = Money::parse(&row.opening_balance, currency)
            .map_err(|error| bad(format!("opening_balance {error}")))?;
        if balance.minor < 0 {
            return Err(bad("opening_balance must not be negative".to_owned()));
        }
        plan.accounts.push(PlannedAccount { id, currency, minor: balance.minor });
        Ok(())
    })?;
    Ok(plan)
}

/// Reads payments: every account they name, in its first-seen currency, with the sum of what leaves it.
pub(crate) fn of_payments(path: &Path) -> Result<Plan, LoadtestError> {
    let mut plan = Plan::default();
    let mut places: HashMap<AccountId, usize> = HashMap::new();
    rows::read(path, |_, row: PaymentRow| {
        let Some(sides) = sides(&row) else {
            plan.skipped += 1;
            return Ok(());
        };
        for (id, currency, spent) in sides {
            let place = *places.entry(id.clone()).or_insert_with(|| {
                plan.accounts.push(PlannedAccount { id, currency, minor: 0 });
                plan.accounts.len() - 1
            });
            let account = &mut plan.accounts[place];
            // In another currency than the account's the payment is refused, whatever money there is.
            if let Some(spent) = spent.filter(|spent| spent.currency == account.currency) {
                account.minor = account.minor.saturating_add(spent.minor);
            }
        }
        Ok(())
    })?;
    Ok(plan)
}

/// Both accounts of a payment with their currencies, and what leaves the source; nothing for a payment that
/// will be refused for its form.
fn sides(row: &PaymentRow) -> Option<[(AccountId, Currency, Option<Money>); 2]> {
    let currency = Currency::parse(&row.currency).ok()?;
    let arriving = row.destination_currency.as_deref().map_or(Ok(currency), Currency::parse).ok()?;
    let amount = Money::parse_payable(&row.amount, currency).ok()?;
    let source = AccountId::parse(row.source_account.as_str()).ok()?;
    let destination = AccountId::parse(row.destination_account.as_str()).ok()?;
    Some([(source, currency, Some(amount)), (destination, arriving, None)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(
        name: &str,
        content: &str,
        read: fn(&Path) -> Result<Plan, LoadtestError>,
    ) -> Result<Plan, LoadtestError> {
        let path = std::env::temp_dir().join(format!("kilat-seed-{}-{name}.csv", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let plan = read(&path);
        std::fs::remove_file(path).unwrap();
        plan
    }

    fn planned(id: &str, currency: &str, minor: i64) -> PlannedAccount {
        PlannedAccount {
            id: AccountId::parse(id).unwrap(),
            currency: Currency::parse(currency).unwrap(),
            minor,
        }
    }

    #[test]
    fn payments_name_their_accounts_and_the_money_they_need() {
        let content = "id,currency,amount,source_account,destination_account,destination_currency\n\
            P1,USD,10.50,A,B,\n\
            P2,USD,1.50,A,C,EUR\n\
            P3,EUR,3,B,A,\n\
            P4,EUR,2.25,C,A,USD\n\
            P5,USD,100.00,C,A,\n\
            P6,USD,-1,D,A,\n\
            P7,XXX,1,D,A,\n\
            P8,JPY,1.5,D,A,\n\
            P9,JPY,500.00,D,A,USD\n";
        let plan = plan_of("payments", content, of_payments).unwrap();
        let accounts = vec![
            planned("A", "USD", 1_200),
            planned("B", "USD", 0),
            planned("C", "EUR", 225),
            planned("D", "JPY", 500),
        ];
        assert_eq!(plan, Plan { accounts, skipped: 3 });
    }

    #[test]
    fn account_files_are_read_whole_or_not_at_all() {
        let head = "id,currency,opening_balance\n";
        let rows = [
            (
                "ACC_1,USD,100.00\nACC_2,JPY,0\n",
                Ok(vec![planned("ACC_1", "USD", 10_000), planned("ACC_2", "JPY", 0)]),
            ),
            ("ACC_1,USD,100.00\nACC 2,JPY,0\n", Err("line 3: id must be")),
            ("ACC_1,XYZ,100.00\n", Err("line 2: currency")),
            ("ACC_1,USD,1.001\n", Err("line 2: opening_balance has more decimals")),
            ("ACC_1,USD,-1\n", Err("line 2: opening_balance must not be negative")),
        ];
        for (number, (content, expected)) in rows.into_iter().enumerate() {
            let found = plan_of(&format!("accounts-{number}"), &format!("{head}{content}"), of_accounts);
            match expected {
                Ok(accounts) => assert_eq!(found.unwrap(), Plan { accounts, skipped: 0 }, "{content}"),
                Err(problem) => {
                    let text = found.unwrap_err().to_string();
                    assert!(text.contains(problem), "{content}: {text}");
                }
            }
        }
    }

    #[test]
    fn large_sums_come_in_several_deposits() {
        let rows = [
            (0, vec![]),
            (5, vec![5]),
            (AMOUNT_MINOR_MAX, vec![AMOUNT_MINOR_MAX]),
            (2 * AMOUNT_MINOR_MAX + 1, vec![AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX, 1]),
        ];
        for (minor, deposits) in rows {
            assert_eq!(planned("A", "IDR", minor).deposits().collect::<Vec<_>>(), deposits);
        }
    }
}
