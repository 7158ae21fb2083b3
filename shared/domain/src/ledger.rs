//! Double entry: what a payment or deposit writes, balanced by construction, and what holds may be made.

use crate::fx::Conversion;
use crate::system_account::{SystemAccount, SystemAccounts, SystemKind};
use crate::{AccountId, Currency, Money, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// An account of the ledger by its id: a customer's, or one of ours. Only ours have a colon in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerAccount(String);

impl LedgerAccount {
    /// A customer's account.
    pub fn customer(id: &AccountId) -> LedgerAccount {
        LedgerAccount(id.as_str().to_owned())
    }

    /// The account's id in the ledger.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SystemAccount> for LedgerAccount {
    fn from(account: SystemAccount) -> LedgerAccount {
        LedgerAccount(account.to_string())
    }
}

impl std::fmt::Display for LedgerAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One signed line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose balance changes.
    pub account: LedgerAccount,
    /// By how much; never zero.
    pub amount: Money,
}

/// The entries of one operation. Only the constructors here make one, and each balances per currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postings(Vec<Entry>);

impl Postings {
    /// A payment within one currency.
    pub fn transfer(source: &AccountId, destination: &AccountId, amount: Money) -> Postings {
        let back = Money::new(-amount.minor, amount.currency);
        Postings::of([
            (LedgerAccount::customer(source), back),
            (LedgerAccount::customer(destination), amount),
        ])
    }

    /// A payment over two currencies: through our liquidity, the spread as a fee of the destination's
    /// currency.
    pub fn conversion(
        source: &AccountId,
        destination: &AccountId,
        amount: Money,
        arrives: Currency,
        conversion: Conversion,
        ours: &SystemAccounts,
    ) -> Postings {
        let arriving = |minor: i64| Money::new(minor, arrives);
        let system = |kind: SystemKind, currency: Currency| LedgerAccount::from(ours.current(kind, currency));
        Postings::of([
            (LedgerAccount::customer(source), Money::new(-amount.minor, amount.currency)),
            (system(SystemKind::Fx, amount.currency), amount),
            (system(SystemKind::Fx, arrives), arriving(-conversion.gross)),
            (system(SystemKind::Fee, arrives), arriving(conversion.gross - conversion.net)),
            (LedgerAccount::customer(destination), arriving(conversion.net)),
        ])
    }

    /// Money that comes in from outside.
    pub fn deposit(account: &AccountId, amount: Money, ours: &SystemAccounts) -> Postings {
        let back = Money::new(-amount.minor, amount.currency);
        let outside = LedgerAccount::from(ours.current(SystemKind::External, amount.currency));
        Postings::of([(outside, back), (LedgerAccount::customer(account), amount)])
    }

    fn of<const N: usize>(lines: [(LedgerAccount, Money); N]) -> Postings {
        let nonzero = lines.into_iter().filter(|(_, amount)| amount.minor != 0);
        Postings(nonzero.map(|(account, amount)| Entry { account, amount }).collect())
    }

    /// The entries in the order they are written.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

/// Whether money may leave an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccountStatus {
    /// Money may leave it.
    Active,
    /// No money may leave it: new holds are refused.
    Frozen,
}

/// A source account as it stands while a batch of holds is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAccount {
    /// Its one currency.
    pub currency: Currency,
    /// Whether money may leave it.
    pub status: AccountStatus,
    /// The sum of its entries, in minor units.
    pub balance: i64,
    /// What open holds keep back, in minor units.
    pub held: i64,
}

impl SourceAccount {
    /// What a new hold may take, in minor units.
    pub fn available(&self) -> i64 {
        self.balance.saturating_sub(self.held)
    }

    /// Holds `amount` if the account can afford it. Payments of one account are judged in order against this
    /// running state.
    pub fn hold(&mut self, amount: Money) -> Result<(), Refusal> {
        if self.status == AccountStatus::Frozen {
            return Err(Refusal::AccountFrozen);
        }
        if self.currency != amount.currency {
            return Err(Refusal::CurrencyMismatch);
        }
        if self.available() < amount.minor {
            return Err(Refusal::InsufficientFunds);
        }
        self.held = self.held.checked_add(amount.minor).ok_or(Refusal::AmountTooLarge)?;
        Ok(())
    }
}

/// An account's balance and how many entries made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// The sum of the entries, in minor units.
    pub minor: i64,
    /// The number of the last entry.
    pub entry_count: i64,
}

/// An entry with its place in the account's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedEntry {
    /// Whose balance changes, and by how much.
    pub entry: Entry,
    /// Its number in the account's statement, from 1.
    pub number: i64,
    /// The account's balance after it, in minor units.
    pub balance_after: i64,
}

/// Why postings cannot be applied. What it means is the caller's to say: a customer's account that is full is
/// a refusal, all else is a ledger that does not look as it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostingError {
    /// An account of the postings is not among the balances.
    #[error("{} is not in the ledger", whose(.0))]
    UnknownAccount(LedgerAccount),
    /// An account of the postings is of another currency than its entry.
    #[error("{} is of another currency", whose(.0))]
    OtherCurrency(LedgerAccount),
    /// A balance would leave the 64-bit range.
    #[error("the balance of {} would overflow", whose(.0))]
    Overflow(LedgerAccount),
}

/// An account as log lines may name it: ours by its name, a customer's not. Only names of ours have a colon.
fn whose(account: &LedgerAccount) -> &str {
    if account.0.contains(':') { &account.0 } else { "a customer's account" }
}

/// Balances that postings are applied to in order.
#[derive(Debug, Clone, Default)]
pub struct Book {
    balances: HashMap<LedgerAccount, Balance>,
}

impl Book {
    /// Puts an account's present balance into the book.
    pub fn insert(&mut self, account: LedgerAccount, balance: Balance) {
        self.balances.insert(account, balance);
    }

    /// The account's balance, if the book has it.
    pub fn balance(&self, account: &LedgerAccount) -> Option<Balance> {
        self.balances.get(account).copied()
    }

    /// Applies one operation's postings: all of them or none.
    pub fn post(&mut self, postings: &Postings) -> Result<Vec<NumberedEntry>, PostingError> {
        let mut changed: Vec<(LedgerAccount, Balance)> = Vec::with_capacity(postings.0.len());
        let mut numbered = Vec::with_capacity(postings.0.len());
        for entry in &postings.0 {
            let account = || entry.account.clone();
            let pending = changed
                .iter()
                .rev()
                .find(|(account, _)| *account == entry.account)
                .map(|(_, balance)| *balance);
            let before = pending
                .or_else(|| self.balance(&entry.account))
                .ok_or_else(|| PostingError::UnknownAccount(account()))?;
            let minor = before
                .minor
                .checked_add(entry.amount.minor)
                .ok_or_else(|| PostingError::Overflow(account()))?;
            let after = Balance { minor, entry_count: before.entry_count + 1 };
            numbered.push(NumberedEntry {
                entry: entry.clone(),
                number: after.entry_count,
                balance_after: minor,
            });
            changed.push((entry.account.clone(), after));
        }
        self.balances.extend(changed);
        Ok(numbered)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
