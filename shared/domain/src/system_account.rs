//! Our own accounts: for each purpose, currency and shard one row, and the next row when that one is full.
//!
//! No sequence of requests can overflow one. Every operation moves at most `AMOUNT_MINOR_MAX` (10^15) over a
//! system account, once: a deposit and the two sides of a conversion are bounded by it, a fee by the gross
//! amount. A batch has at most [`OPERATIONS_MAX`] (1,000) operations and posts to a row only if its balance
//! was nearer to zero than `FULL_AT` before the batch, so after it it is nearer than 5 x 10^18, and an `i64`
//! ends beyond 9.2 x 10^18.

use crate::Currency;
use std::collections::HashMap;

/// Operations of one batch at most.
pub const OPERATIONS_MAX: usize = 1_000;

/// The distance from zero, in minor units, from which on a row takes no further batch.
const FULL_AT: u64 = 4_000_000_000_000_000_000;

/// What an account of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemKind {
    /// The world outside: the other side of every deposit.
    External,
    /// Where the spread is earned.
    Fee,
    /// The liquidity that conversions go through.
    Fx,
}

impl SystemKind {
    /// Every kind there is.
    pub const ALL: [SystemKind; 3] = [SystemKind::External, SystemKind::Fee, SystemKind::Fx];

    /// The first part of the account's name.
    const fn as_str(self) -> &'static str {
        match self {
            SystemKind::External => "external",
            SystemKind::Fee => "fee",
            SystemKind::Fx => "fx",
        }
    }
}

/// One row of an account of ours. Displayed as its id in the ledger: `fx:USD`, `fx:USD:3` in shard 3, and
/// when that is full `fx:USD:0.2` or `fx:USD:3.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemAccount {
    /// What it is for.
    pub kind: SystemKind,
    /// Its one currency.
    pub currency: Currency,
    /// Whose it is: each shard has rows, and thereby locks, of its own.
    pub shard: u16,
    /// Which of its rows, from 1.
    pub part: u32,
}

impl SystemAccount {
    /// The row that an account begins with.
    pub const fn first(kind: SystemKind, currency: Currency, shard: u16) -> SystemAccount {
        SystemAccount { kind, currency, shard, part: 1 }
    }

    /// The row after this one.
    pub const fn next(self) -> SystemAccount {
        SystemAccount { part: self.part.saturating_add(1), ..self }
    }

    /// Whether a row with this balance takes no further batch. It stays so, since nothing more is posted to
    /// it.
    pub const fn is_full(balance_minor: i64) -> bool {
        balance_minor.unsigned_abs() >= FULL_AT
    }

    /// What the ids of the account's rows after the first have in common: the number of the row follows.
    pub fn later_rows_prefix(self) -> String {
        format!("{}:{}:{}.", self.kind.as_str(), self.currency, self.shard)
    }

    /// The row with this id, if the id is spelled as one.
    pub fn parse(id: &str) -> Option<SystemAccount> {
        let mut words = id.splitn(3, ':');
        let kind =
            words.next().and_then(|word| SystemKind::ALL.into_iter().find(|kind| kind.as_str() == word))?;
        let currency = Currency::parse(words.next()?).ok()?;
        let (shard, part) =
            match words.next().map(|numbers| numbers.split_once('.').unwrap_or((numbers, "1"))) {
                None => (0, 1),
                Some((shard, part)) => (shard.parse().ok()?, part.parse().ok()?),
            };
        let account = SystemAccount { kind, currency, shard, part };
        // One row, one spelling.
        (part > 0 && account.to_string() == id).then_some(account)
    }
}

impl std::fmt::Display for SystemAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SystemAccount { kind, currency, shard, part } = self;
        write!(formatter, "{}:{currency}", kind.as_str())?;
        match (shard, part) {
            (0, 1) => Ok(()),
            (shard, 1) => write!(formatter, ":{shard}"),
            (shard, part) => write!(formatter, ":{shard}.{part}"),
        }
    }
}

/// Which row of each of our accounts is posted to at present, in one tenant and shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemAccounts {
    shard: u16,
    parts: HashMap<(SystemKind, Currency), u32>,
}

impl SystemAccounts {
    /// Those of a shard, each at its first row until told otherwise.
    pub fn of(shard: u16) -> SystemAccounts {
        SystemAccounts { shard, parts: HashMap::new() }
    }

    /// The row that is posted to.
    pub fn current(&self, kind: SystemKind, currency: Currency) -> SystemAccount {
        let part = self.parts.get(&(kind, currency)).copied().unwrap_or(1);
        SystemAccount { part, ..SystemAccount::first(kind, currency, self.shard) }
    }

    /// Whether it was told that this account is there.
    pub fn knows(&self, kind: SystemKind, currency: Currency) -> bool {
        self.parts.contains_key(&(kind, currency))
    }

    /// This row is there, so none before it is posted to any more.
    pub fn reach(&mut self, account: SystemAccount) {
        let part = self.parts.entry((account.kind, account.currency)).or_insert(1);
        *part = account.part.max(*part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerAccount;
    use crate::money::AMOUNT_MINOR_MAX;

    fn usd() -> Currency {
        Currency::parse("USD").unwrap()
    }

    #[test]
    fn a_row_has_one_name() {
        use SystemKind::{External, Fee, Fx};
        let rows = [
            ("external:USD", External, 0, 1),
            ("external:USD:0.2", External, 0, 2),
            ("external:USD:3", External, 3, 1),
            ("external:USD:3.2", External, 3, 2),
            ("fee:USD", Fee, 0, 1),
            ("fx:USD:65535.4294967295", Fx, u16::MAX, u32::MAX),
        ];
        for (id, kind, shard, part) in rows {
            let account = SystemAccount { kind, currency: usd(), shard, part };
            assert_eq!((account.to_string().as_str(), SystemAccount::parse(id)), (id, Some(account)));
            assert_eq!(LedgerAccount::from(account).as_str(), id);
            assert_eq!(id.starts_with(&account.later_rows_prefix()), part > 1, "{id}");
        }
        let others = [
            "ACC",
            "external",
            "external:",
            "external:XXX",
            "other:USD",
            "external:USD:0",
            "external:USD:0.1",
            "external:USD:3.1",
        ];
        for id in others.into_iter().chain([
            "external:USD:3.0",
            "external:USD:",
            "external:USD:03",
            "external:USD:+3",
            "external:USD:0.2.1",
        ]) {
            assert_eq!(SystemAccount::parse(id), None, "{id}");
        }
    }

    #[test]
    fn the_current_row_only_moves_on() {
        let mut accounts = SystemAccounts::of(3);
        let first = SystemAccount::first(SystemKind::Fx, usd(), 3);
        assert_eq!(
            (accounts.current(SystemKind::Fx, usd()), accounts.knows(SystemKind::Fx, usd())),
            (first, false)
        );
        for (reached, current) in
            [(first, first), (first.next().next(), first.next().next()), (first.next(), first.next().next())]
        {
            accounts.reach(reached);
            assert_eq!(
                (accounts.current(SystemKind::Fx, usd()), accounts.knows(SystemKind::Fx, usd())),
                (current, true)
            );
        }
        assert_eq!(
            accounts.current(SystemKind::Fee, usd()),
            SystemAccount::first(SystemKind::Fee, usd(), 3),
            "each on its own"
        );
        let last = SystemAccount { part: u32::MAX, ..first };
        assert_eq!(last.next(), last);
    }

    #[test]
    fn a_row_is_full_far_enough_from_the_end() {
        let bound = i64::try_from(FULL_AT).unwrap();
        let rows = [
            (0, false),
            (bound - 1, false),
            (1 - bound, false),
            (bound, true),
            (-bound, true),
            (i64::MAX, true),
            (i64::MIN, true),
        ];
        for (balance, expected) in rows {
            assert_eq!(SystemAccount::is_full(balance), expected, "{balance}");
        }
        // The largest batch from just below the bound, with room for a second one.
        assert!(
            (bound - 1).checked_add(2 * i64::try_from(OPERATIONS_MAX).unwrap() * AMOUNT_MINOR_MAX).is_some()
        );
    }
}
