//! Deposits: money from outside, each once by its operation id.

use crate::locked_rows::RowKey;
use crate::locks::{AccountRow, customer_row};
use crate::operations::{self, Recorded};
use crate::posting::{LedgerWrite, Operation, OperationKind, books};
use crate::session::{PostgresSession, Session};
use crate::system_accounts::{Judged, Ours, with_system_accounts};
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError};
use domain::ledger::{LedgerAccount, PostingError, Postings};
use domain::system_account::SystemKind;
use domain::{AccountKey, Currency, Money, OperationId, Tenant, Timestamp};
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Deposits go to the system accounts of the first shard, whichever shard the account's payments travel in.
pub(crate) const SHARD: u16 = 0;

/// Money that is to come in.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// The account that it goes to.
    pub account: AccountKey,
    /// Unique per tenant.
    pub id: OperationId,
    /// How much, in the account's currency.
    pub amount: Money,
}

/// How a deposit went. Balances are those right after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DepositOutcome {
    /// The money came in.
    Posted(Money),
    /// It had come in before by this id.
    Replayed(Money),
    /// The id was used for another deposit.
    Mismatch,
    /// There is no such account, or not in this currency.
    NoAccount,
    /// The balance would leave the 64-bit range.
    TooLarge,
    /// Another transaction has locked what it needs. Nothing was decided: ask again in a while.
    Locked,
}

/// Records deposits, posts their entries and moves the balances.
static DEPOSIT: LazyLock<LedgerWrite> = LazyLock::new(|| operations::write(OperationKind::Deposit));

struct Input {
    piece: Piece<Deposit>,
    ours: Ours,
    now: Timestamp,
}

impl Store {
    /// Posts a batch of deposits, each at most once, and answers each in order. Five round trips, one more
    /// when a currency is seen for the first time.
    pub async fn deposit(
        &self,
        deposits: Vec<Deposit>,
        now: Timestamp,
    ) -> Result<Vec<DepositOutcome>, StoreError> {
        let rows = |deposit: &Deposit| {
            let tenant = &deposit.account.tenant;
            let outside = self.current_row(tenant, SystemKind::External, deposit.amount.currency, SHARD);
            let accounts =
                [customer_row(tenant, &deposit.account.id), (tenant.clone(), outside)].map(RowKey::Account);
            [RowKey::Operation(OperationKind::Deposit, tenant.clone(), deposit.id.clone())]
                .into_iter()
                .chain(accounts)
                .collect()
        };
        let judge = async |piece: Piece<Deposit>| {
            let attempt = |ours| {
                let input = Input { piece: piece.clone(), ours, now };
                self.transact(input, |connection, input, locks| {
                    let session = PostgresSession { connection, locks };
                    Box::pin(deposit_all(session, &input.piece, &input.ours, input.now))
                })
            };
            with_system_accounts(self, currencies(&piece), SHARD, attempt).await
        };
        self.judge_all(deposits, rows, || DepositOutcome::Locked, judge).await
    }
}

/// The currencies that our accounts are posted to in.
pub(crate) fn currencies(deposits: &[Deposit]) -> BTreeSet<(Tenant, Currency)> {
    deposits.iter().map(|deposit| (deposit.account.tenant.clone(), deposit.amount.currency)).collect()
}

/// One attempt, in a transaction that has begun.
pub(crate) async fn deposit_all(
    mut session: impl Session,
    deposits: &[Deposit],
    ours: &Ours,
    now: Timestamp,
) -> Result<Attempt<Judged<Vec<DepositOutcome>>>, Broken> {
    let touched =
        deposits.iter().flat_map(|deposit| [account_row(deposit), outside_row(deposit, ours)]).collect();
    let accounts = session.lock_accounts(&touched).await?;
    if let Some(obstacle) = ours.obstacle(&touched, &accounts) {
        return Ok(Attempt::Nothing(obstacle));
    }
    let mut books = books(&accounts);
    let keys = deposits.iter().map(|deposit| (deposit.account.tenant.clone(), deposit.id.clone()));
    let mut known = session.deposits(keys.collect()).await?;
    let (mut fresh, mut operations) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(deposits.len());
    for deposit in deposits {
        let (tenant, account) = account_row(deposit);
        let key = (tenant.clone(), deposit.id.clone());
        let needed = [account_row(deposit), outside_row(deposit, ours)];
        let outcome = match (known.get(&key), accounts.found.get(&needed[0])) {
            (Some(before), _) => replay(before, deposit),
            _ if needed.iter().any(|row| accounts.locked.contains(row)) => DepositOutcome::Locked,
            (None, found) if found.is_none_or(|state| state.currency != deposit.amount.currency) => {
                DepositOutcome::NoAccount
            }
            (None, _) => match books.entry(tenant.clone()).or_default().post(&postings(deposit, ours)) {
                Err(PostingError::Overflow(full)) if full == account => DepositOutcome::TooLarge,
                // The customer's account was found above, so it is one of ours: no refusal of this deposit.
                Err(fault) => return Err(StoreError::Corrupt(fault.to_string()).into()),
                Ok(entries) => {
                    let balance_after = entries.last().map_or(0, |line| line.balance_after);
                    let recorded = Recorded {
                        account_id: deposit.account.id.to_string(),
                        amount: deposit.amount,
                        balance_after,
                    };
                    fresh.push(recorded.clone());
                    known.insert(key, recorded);
                    operations.push(Operation { tenant, id: deposit.id.to_string(), entries, hold: None });
                    DepositOutcome::Posted(Money::new(balance_after, deposit.amount.currency))
                }
            },
        };
        outcomes.push(outcome);
    }
    let outcomes = Judged::Answered(outcomes);
    if operations.is_empty() {
        return Ok(Attempt::Nothing(outcomes));
    }
    let is_written = session.write_deposits(&fresh, &operations, now).await?;
    Ok(if is_written { Attempt::Commit(outcomes) } else { Attempt::Again })
}

/// Records deposits and posts their entries; whether all of it was written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    recorded: &[Recorded],
    operations: &[Operation],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    DEPOSIT.run(connection, operations, now, |query| operations::bind(query, operations, recorded)).await
}

fn account_row(deposit: &Deposit) -> AccountRow {
    customer_row(&deposit.account.tenant, &deposit.account.id)
}

/// The row of the other side.
fn outside_row(deposit: &Deposit, ours: &Ours) -> AccountRow {
    let tenant = &deposit.account.tenant;
    (
        tenant.clone(),
        LedgerAccount::from(ours.of(tenant).current(SystemKind::External, deposit.amount.currency)),
    )
}

fn postings(deposit: &Deposit, ours: &Ours) -> Postings {
    Postings::deposit(&deposit.account.id, deposit.amount, ours.of(&deposit.account.tenant))
}

fn replay(before: &Recorded, deposit: &Deposit) -> DepositOutcome {
    if before.account_id == deposit.account.id.as_str() && before.amount == deposit.amount {
        DepositOutcome::Replayed(Money::new(before.balance_after, before.amount.currency))
    } else {
        DepositOutcome::Mismatch
    }
}
