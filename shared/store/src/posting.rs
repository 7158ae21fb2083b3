//! The one owner of ledger writes: what operations do to balances, holds and entries.
//!
//! Every operation of a batch writes one row that says what was decided (a payment's, or one of
//! `operations`), any number of entries, and at most one change of a hold. All of it is one statement of
//! common table expressions, `recorded`, `posted` and `moved`, each of which proves by `RETURNING` what it
//! wrote. The accounts are locked before, so that the numbers and balances which the entries carry still
//! hold.

use crate::columns::{PgQuery, columns, last_parameter};
use crate::locks::{AccountRow, AccountState, Rows};
use domain::ledger::{Balance, Book, NumberedEntry};
use domain::{AccountId, Tenant, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// What an entry belongs to, as the check of `entries.operation_kind` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationKind {
    /// A payment that is settled.
    Payment,
    /// Money that comes in from outside.
    Deposit,
}

impl OperationKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            OperationKind::Payment => "payment",
            OperationKind::Deposit => "deposit",
        }
    }
}

/// What one operation does to the ledger, beside the row of its own.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) tenant: Tenant,
    pub(crate) id: String,
    pub(crate) entries: Vec<NumberedEntry>,
    /// By how much what is held of an account changes, in minor units: more for a hold, less for its release.
    pub(crate) hold: Option<(AccountId, i64)>,
}

/// The balances of the locked accounts: one book per tenant.
pub(crate) fn books(accounts: &Rows<AccountRow, AccountState>) -> HashMap<Tenant, Book> {
    let mut books: HashMap<Tenant, Book> = HashMap::new();
    for ((tenant, account), state) in &accounts.found {
        let balance = Balance { minor: state.balance, entry_count: state.entry_count };
        books.entry(tenant.clone()).or_default().insert(account.clone(), balance);
    }
    books
}

/// The statement that writes operations of one kind.
pub(crate) struct LedgerWrite {
    /// With entries and without: a batch that only holds or releases does not touch `entries`.
    posting: String,
    holding: String,
}

impl LedgerWrite {
    /// `recorded` writes the operations' own rows, the statement's first parameters, and returns a line for
    /// each.
    pub(crate) fn new(kind: OperationKind, recorded: &str) -> LedgerWrite {
        let recorded = format!("WITH recorded AS ({recorded})");
        let (names, values, posted_at) =
            (EntryColumns::TABLE.names(), EntryColumns::TABLE.values(), last_parameter(&recorded) + 1);
        let posted = format!(
            "{recorded},
             posted AS (
                INSERT INTO entries ({names}, operation_kind, posted_at) SELECT {values}, '{}', ${posted_at}::timestamptz FROM {}
                RETURNING number)",
            kind.as_str(),
            EntryColumns::TABLE.rows(posted_at + 1)
        );
        let with_moves = |before: &str, posted_count: &str| {
            let moves = MoveColumns::TABLE.rows(last_parameter(before) + 1);
            format!(
                "{before},
             moved AS (
                UPDATE accounts a SET balance = a.balance + n.balance, held = a.held + n.held, entry_count = a.entry_count + n.entry_count
                FROM {moves} WHERE a.tenant = n.tenant AND a.id = n.id
                RETURNING a.id)
             SELECT (SELECT count(*) FROM recorded) AS recorded, {posted_count} AS posted, (SELECT count(*) FROM moved) AS moved"
            )
        };
        let (posting, holding) =
            (with_moves(&posted, "(SELECT count(*) FROM posted)"), with_moves(&recorded, "0::bigint"));
        LedgerWrite { posting, holding }
    }

    /// Writes the operations, posted at `now`; whether all of it was written. What was not must not stay
    /// either: roll back and judge again. `bind` gives the parameters of the operations' own rows, one row
    /// each.
    pub(crate) async fn run(
        &'static self,
        connection: &mut PgConnection,
        operations: &[Operation],
        now: Timestamp,
        bind: impl FnOnce(PgQuery<'static>) -> PgQuery<'static>,
    ) -> Result<bool, sqlx::Error> {
        let lines = || {
            operations
                .iter()
                .flat_map(|operation| operation.entries.iter().map(move |line| (operation, line)))
        };
        let (posted, moves) = (lines().count(), moves(operations));
        let query = match posted {
            0 => bind(sqlx::query(self.holding.as_str())),
            _ => EntryColumns::of(lines())
                .bind(bind(sqlx::query(self.posting.as_str())).bind(now.to_datetime())),
        };
        let row = MoveColumns::of(moves.iter()).bind(query).fetch_one(&mut *connection).await?;
        let wrote = |column: &str, expected: usize| {
            row.try_get::<i64, _>(column).map(|count| usize::try_from(count) == Ok(expected))
        };
        Ok(wrote("recorded", operations.len())? && wrote("posted", posted)? && wrote("moved", moves.len())?)
    }
}

columns! {
    EntryColumns<'r> of line: (&'r Operation, &'r NumberedEntry) {
        tenant: &'r str as "text" = line.0.tenant.as_str();
        account_id: &'r str as "text" = line.1.entry.account.as_str();
        number: i64 as "bigint" = line.1.number;
        operation_id: &'r str as "text" = line.0.id.as_str();
        currency: &'r str as "text" = line.1.entry.amount.currency.code();
        amount: i64 as "bigint" = line.1.entry.amount.minor;
        balance_after: i64 as "bigint" = line.1.balance_after;
    }
}

/// How one account changes by a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Move {
    balance: i64,
    held: i64,
    entries: i64,
}

columns! {
    MoveColumns<'r> of line: (&'r (&'r str, &'r str), &'r Move) {
        tenant: &'r str as "text" = line.0.0;
        id: &'r str as "text" = line.0.1;
        balance: i64 as "bigint" = line.1.balance;
        held: i64 as "bigint" = line.1.held;
        entry_count: i64 as "bigint" = line.1.entries;
    }
}

/// By tenant and account, in the order of the locks.
fn moves(operations: &[Operation]) -> BTreeMap<(&str, &str), Move> {
    let mut moves: BTreeMap<(&str, &str), Move> = BTreeMap::new();
    for operation in operations {
        let tenant = operation.tenant.as_str();
        for line in &operation.entries {
            let change = moves.entry((tenant, line.entry.account.as_str())).or_default();
            change.balance = change.balance.saturating_add(line.entry.amount.minor);
            change.entries += 1;
        }
        if let Some((account, minor)) = &operation.hold {
            let change = moves.entry((tenant, account.as_str())).or_default();
            change.held = change.held.saturating_add(*minor);
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ledger::{LedgerAccount, Postings};
    use domain::{Currency, Money};

    fn account(id: &str) -> AccountId {
        AccountId::parse(id).unwrap()
    }

    /// An operation that moves `minor` from A to B, if any, and changes what is held of A by `held`.
    fn operation(book: &mut Book, minor: i64, held: Option<i64>) -> Operation {
        let postings = Postings::transfer(
            &account("A"),
            &account("B"),
            Money::new(minor, Currency::parse("USD").unwrap()),
        );
        let hold = held.map(|held| (account("A"), held));
        Operation {
            tenant: Tenant::default(),
            id: "1".to_owned(),
            entries: book.post(&postings).unwrap(),
            hold,
        }
    }

    #[test]
    fn a_batch_moves_each_account_once() {
        let moved = |balance, held, entries| Move { balance, held, entries };
        for (operations, a, b) in [
            (vec![(0, Some(5)), (0, Some(7))], Some(moved(0, 12, 0)), None),
            (vec![(0, Some(-5)), (0, None)], Some(moved(0, -5, 0)), None),
            (vec![(3, Some(-3)), (4, Some(-4))], Some(moved(-7, -7, 2)), Some(moved(7, 0, 2))),
            (vec![(3, Some(-3)), (0, Some(-9)), (2, None)], Some(moved(-5, -12, 2)), Some(moved(5, 0, 2))),
            (vec![(0, None)], None, None),
        ] {
            let mut book = Book::default();
            for id in ["A", "B"] {
                book.insert(LedgerAccount::customer(&account(id)), Balance { minor: 100, entry_count: 8 });
            }
            let batch: Vec<Operation> =
                operations.iter().map(|(minor, held)| operation(&mut book, *minor, *held)).collect();
            let moves = moves(&batch);
            let of = |id| moves.get(&("default", id)).copied();
            assert_eq!((of("A"), of("B")), (a, b), "{operations:?}");
        }
    }

    #[test]
    fn parameters_follow_each_other() {
        let write = LedgerWrite::new(OperationKind::Deposit, "SELECT $1, $2, $3");
        for (statement, last) in [(&write.posting, 16), (&write.holding, 8)] {
            assert_eq!(last_parameter(statement), last, "{statement}");
            assert!((1..=last).all(|place| statement.contains(&format!("${place}"))), "{statement}");
        }
        assert!(write.posting.contains("'deposit'"), "{}", write.posting);
    }
}
