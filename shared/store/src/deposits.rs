//! Deposits: money from outside, each once by its operation id.

use crate::locked_rows::RowKey;
use crate::locks::{AccountRow, Locks, customer_row};
use crate::settlements::books;
use crate::system_accounts::{Judged, Ours};
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError};
use domain::ledger::{LedgerAccount, NumberedEntry, PostingError, Postings};
use domain::system_account::SystemKind;
use domain::{AccountKey, Currency, Money, OperationId, Tenant, Timestamp};
use sqlx::{Postgres, Row, Transaction};
use std::collections::{BTreeMap, HashMap};

/// Deposits go to the system accounts of the first shard, whichever shard the account's payments travel in.
const SHARD: u16 = 0;

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

type OperationKey = (Tenant, OperationId);

struct Operation {
    account_id: String,
    amount: Money,
    balance_after: i64,
}

struct Written {
    deposit: Deposit,
    entries: Vec<NumberedEntry>,
    balance_after: i64,
}

struct Input {
    piece: Piece<Deposit>,
    ours: Ours,
    now: Timestamp,
}

impl Store {
    /// Posts a batch of deposits, each at most once, and answers each in order. Five round trips, one more when a currency
    /// is seen for the first time.
    pub async fn deposit(&self, deposits: Vec<Deposit>, now: Timestamp) -> Result<Vec<DepositOutcome>, StoreError> {
        let rows = |deposit: &Deposit| {
            let tenant = &deposit.account.tenant;
            let outside = self.current_row(tenant, SystemKind::External, deposit.amount.currency, SHARD);
            let accounts = [customer_row(tenant, &deposit.account.id), (tenant.clone(), outside)].map(RowKey::Account);
            [RowKey::Deposit(tenant.clone(), deposit.id.clone())].into_iter().chain(accounts).collect()
        };
        let judge = async |piece: Piece<Deposit>| {
            let currencies = piece.iter().map(|deposit| (deposit.account.tenant.clone(), deposit.amount.currency)).collect();
            let attempt = |ours| {
                let input = Input { piece: piece.clone(), ours, now };
                self.transact(input, |transaction, input, locks| Box::pin(deposit_all(transaction, input, locks)))
            };
            self.with_system_accounts(currencies, SHARD, attempt).await
        };
        self.judge_all(deposits, rows, || DepositOutcome::Locked, judge).await
    }
}

async fn deposit_all(
    transaction: &mut Transaction<'static, Postgres>,
    Input { piece, ours, now }: &Input,
    locks: &Locks,
) -> Result<Attempt<Judged<Vec<DepositOutcome>>>, Broken> {
    let touched = piece.iter().flat_map(|deposit| [account_row(deposit), outside_row(deposit, ours)]).collect();
    let accounts = locks.accounts(transaction, &touched).await?;
    if let Some(obstacle) = ours.obstacle(&touched, &accounts) {
        return Ok(Attempt::Nothing(obstacle));
    }
    let mut books = books(&accounts);
    let mut known = read_operations(transaction, piece).await?;
    let mut written = Vec::new();
    let mut outcomes = Vec::with_capacity(piece.len());
    for deposit in piece.iter() {
        let (tenant, account) = account_row(deposit);
        let key = (tenant.clone(), deposit.id.clone());
        let needed = [account_row(deposit), outside_row(deposit, ours)];
        let outcome = match (known.get(&key), accounts.found.get(&needed[0])) {
            (Some(before), _) => replay(before, deposit),
            _ if needed.iter().any(|row| accounts.locked.contains(row)) => DepositOutcome::Locked,
            (None, found) if found.is_none_or(|state| state.currency != deposit.amount.currency) => DepositOutcome::NoAccount,
            (None, _) => match books.entry(tenant.clone()).or_default().post(&postings(deposit, ours)) {
                Err(PostingError::Overflow(full)) if full == account => DepositOutcome::TooLarge,
                // The customer's account was found above, so it is one of ours: no refusal of this deposit.
                Err(fault) => return Err(StoreError::Corrupt(fault.to_string()).into()),
                Ok(entries) => {
                    let balance_after = entries.last().map_or(0, |line| line.balance_after);
                    let operation = Operation { account_id: deposit.account.id.to_string(), amount: deposit.amount, balance_after };
                    known.insert(key, operation);
                    written.push(Written { deposit: deposit.clone(), entries, balance_after });
                    DepositOutcome::Posted(Money::new(balance_after, deposit.amount.currency))
                }
            },
        };
        outcomes.push(outcome);
    }
    let outcomes = Judged::Answered(outcomes);
    if written.is_empty() {
        return Ok(Attempt::Nothing(outcomes));
    }
    if write(transaction, &written, *now).await? { Ok(Attempt::Commit(outcomes)) } else { Ok(Attempt::Again) }
}

fn account_row(deposit: &Deposit) -> AccountRow {
    customer_row(&deposit.account.tenant, &deposit.account.id)
}

/// The row of the other side.
fn outside_row(deposit: &Deposit, ours: &Ours) -> AccountRow {
    let tenant = &deposit.account.tenant;
    (tenant.clone(), LedgerAccount::from(ours.of(tenant).current(SystemKind::External, deposit.amount.currency)))
}

fn postings(deposit: &Deposit, ours: &Ours) -> Postings {
    Postings::deposit(&deposit.account.id, deposit.amount, ours.of(&deposit.account.tenant))
}

fn replay(before: &Operation, deposit: &Deposit) -> DepositOutcome {
    if before.account_id == deposit.account.id.as_str() && before.amount == deposit.amount {
        DepositOutcome::Replayed(Money::new(before.balance_after, before.amount.currency))
    } else {
        DepositOutcome::Mismatch
    }
}

async fn read_operations(
    transaction: &mut Transaction<'static, Postgres>,
    deposits: &[Deposit],
) -> Result<HashMap<OperationKey, Operation>, StoreError> {
    let (tenants, ids): (Vec<&str>, Vec<&str>) =
        deposits.iter().map(|deposit| (deposit.account.tenant.as_str(), deposit.id.as_str())).unzip();
    let rows = sqlx::query(
        "SELECT o.tenant, o.id, o.account_id, o.currency, o.amount, o.balance_after
         FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
         JOIN operations o ON o.tenant = k.tenant AND o.kind = 'deposit' AND o.id = k.id",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    let corrupt = |what: &str| StoreError::Corrupt(format!("operations.{what}"));
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let tenant = Tenant::parse(row.try_get::<String, _>("tenant")?).map_err(|_| corrupt("tenant"))?;
        let id = OperationId::parse(row.try_get::<String, _>("id")?).map_err(|_| corrupt("id"))?;
        let currency = Currency::parse(row.try_get("currency")?).map_err(|_| corrupt("currency"))?;
        let amount = Money::new(row.try_get("amount")?, currency);
        known.insert(
            (tenant, id),
            Operation { account_id: row.try_get("account_id")?, amount, balance_after: row.try_get("balance_after")? },
        );
    }
    Ok(known)
}

/// Inserts the operations and their entries and moves the balances; whether all of it was written.
async fn write(transaction: &mut Transaction<'static, Postgres>, written: &[Written], now: Timestamp) -> Result<bool, Broken> {
    let mut moves: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    let lines: Vec<(&Written, &NumberedEntry)> = written.iter().flat_map(|one| one.entries.iter().map(move |line| (one, line))).collect();
    for (one, line) in &lines {
        let change = moves.entry((one.deposit.account.tenant.as_str(), line.entry.account.as_str())).or_default();
        change.0 = change.0.saturating_add(line.entry.amount.minor);
        change.1 += 1;
    }
    let row = sqlx::query(
        "WITH recorded AS (
            INSERT INTO operations (tenant, kind, id, account_id, currency, amount, balance_after)
            SELECT n.tenant, 'deposit', n.id, n.account_id, n.currency, n.amount, n.balance_after
            FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                AS n(tenant, id, account_id, currency, amount, balance_after)
            ORDER BY n.tenant, n.id
            ON CONFLICT DO NOTHING
            RETURNING id),
         posted AS (
            INSERT INTO entries (tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after, posted_at)
            SELECT e.tenant, e.account_id, e.number, 'deposit', e.operation_id, e.currency, e.amount, e.balance_after, $7
            FROM UNNEST($8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::bigint[], $14::bigint[])
                AS e(tenant, account_id, number, operation_id, currency, amount, balance_after)
            RETURNING number),
         moved AS (
            UPDATE accounts a SET balance = a.balance + m.delta, entry_count = a.entry_count + m.entries
            FROM UNNEST($15::text[], $16::text[], $17::bigint[], $18::bigint[]) AS m(tenant, id, delta, entries)
            WHERE a.tenant = m.tenant AND a.id = m.id
            RETURNING a.id)
         SELECT (SELECT count(*) FROM recorded) AS recorded, (SELECT count(*) FROM posted) AS posted, (SELECT count(*) FROM moved) AS moved",
    )
    .bind(written.iter().map(|one| one.deposit.account.tenant.as_str()).collect::<Vec<_>>())
    .bind(written.iter().map(|one| one.deposit.id.as_str()).collect::<Vec<_>>())
    .bind(written.iter().map(|one| one.deposit.account.id.as_str()).collect::<Vec<_>>())
    .bind(written.iter().map(|one| one.deposit.amount.currency.code()).collect::<Vec<_>>())
    .bind(written.iter().map(|one| one.deposit.amount.minor).collect::<Vec<_>>())
    .bind(written.iter().map(|one| one.balance_after).collect::<Vec<_>>())
    .bind(now.to_datetime())
    .bind(lines.iter().map(|(one, _)| one.deposit.account.tenant.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, line)| line.entry.account.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, line)| line.number).collect::<Vec<_>>())
    .bind(lines.iter().map(|(one, _)| one.deposit.id.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, line)| line.entry.amount.currency.code()).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, line)| line.entry.amount.minor).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, line)| line.balance_after).collect::<Vec<_>>())
    .bind(moves.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(moves.keys().map(|key| key.1).collect::<Vec<_>>())
    .bind(moves.values().map(|change| change.0).collect::<Vec<_>>())
    .bind(moves.values().map(|change| change.1).collect::<Vec<_>>())
    .fetch_one(&mut **transaction)
    .await
    .map_err(Broken::at_insert)?;
    let wrote = |column: &str, expected: usize| row.try_get::<i64, _>(column).map(|count| usize::try_from(count) == Ok(expected));
    Ok(wrote("recorded", written.len())? && wrote("posted", lines.len())? && wrote("moved", moves.len())?)
}
