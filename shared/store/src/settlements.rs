//! Settle: post the entries of a batch of held payments and release their holds.

use crate::record::{self, record_columns};
use crate::transaction::Attempt;
use crate::{Store, StoreError};
use domain::facts::RecordState;
use domain::fx::Conversion;
use domain::ledger::{Balance, Book, LedgerAccount, NumberedEntry, PostingError, Postings};
use domain::{Currency, PaymentKey, PaymentRecord, Tenant, Timestamp};
use sqlx::{Postgres, Row, Transaction};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why one payment of a batch cannot be settled. A fault, never a refusal: its money is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleFault {
    /// Reserved messages come from rows, so there must be one.
    #[error("a reserved payment has no row")]
    NoRow,
    /// The ledger does not look as it must.
    #[error(transparent)]
    Posting(#[from] PostingError),
}

/// A payment as it stands after its batch.
type Settled = Result<PaymentRecord, SettleFault>;

/// A ledger account within its tenant.
type AccountRow = (Tenant, LedgerAccount);

struct Input {
    keys: Vec<PaymentKey>,
    now: Timestamp,
    shard: u16,
}

impl Store {
    /// Captures each payment that is held, and answers with each row as it stands. Five round trips, one more when a
    /// currency is seen for the first time. `now` is the time of the entries; `shard` says whose system accounts are posted to.
    pub async fn settle(
        &self,
        keys: Vec<PaymentKey>,
        currencies: BTreeSet<(Tenant, Currency)>,
        now: Timestamp,
        shard: u16,
    ) -> Result<Vec<Settled>, StoreError> {
        self.ensure_system_accounts(&currencies, shard).await?;
        self.transact(Input { keys, now, shard }, |transaction, input| Box::pin(settle(transaction, input))).await
    }
}

async fn settle(transaction: &mut Transaction<'static, Postgres>, input: &Input) -> Result<Attempt<Vec<Settled>>, StoreError> {
    let mut records = lock_payments(transaction, &input.keys).await?;
    let planned: BTreeMap<PaymentKey, Postings> =
        records.iter().filter_map(|(key, record)| Some((key.clone(), postings(record, input.shard)?))).collect();
    let mut outcome = Outcome::default();
    if !planned.is_empty() {
        let mut books = lock_accounts(transaction, &planned).await?;
        outcome.post_all(&planned, &mut books);
    }
    for (key, fault) in &outcome.faults {
        tracing::error!(payment = %key.id, %fault, "a held payment cannot be posted");
    }
    for key in &outcome.captured {
        if let Some(record) = records.get_mut(key) {
            capture(record, input.now);
        }
    }
    let answers = input.keys.iter().map(|key| match outcome.faults.get(key) {
        Some(fault) => Err(SettleFault::Posting(fault.clone())),
        None => records.get(key).cloned().ok_or(SettleFault::NoRow),
    });
    let answers = answers.collect();
    if outcome.captured.is_empty() {
        return Ok(Attempt::Nothing(answers));
    }
    if write(transaction, &outcome, &records, input.now).await? { Ok(Attempt::Commit(answers)) } else { Ok(Attempt::Again) }
}

/// Locks the payments that exist, in id order, and reads them.
async fn lock_payments(
    transaction: &mut Transaction<'static, Postgres>,
    keys: &[PaymentKey],
) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
    let distinct: BTreeSet<&PaymentKey> = keys.iter().collect();
    let (tenants, ids): (Vec<&str>, Vec<&str>) = distinct.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
    let rows = sqlx::query(concat!(
        "SELECT ",
        record_columns!(),
        " FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id) JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
          ORDER BY p.tenant, p.id
          FOR NO KEY UPDATE OF p"
    ))
    .bind(tenants)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    rows.iter().map(|row| record::decode(row).map(|record| (record.payment.key(), record))).collect()
}

/// What a held payment posts; nothing for one that has ended.
fn postings(record: &PaymentRecord, shard: u16) -> Option<Postings> {
    let RecordState::Reserved(reserved) = &record.state else {
        return None;
    };
    let payment = &record.payment;
    let arrives = reserved.quote.destination_amount;
    Some(match &reserved.quote.conversion {
        None => Postings::transfer(&payment.source_account, &payment.destination_account, payment.amount),
        Some(applied) => {
            let conversion = Conversion { gross: applied.gross_minor, net: arrives.minor, residue: applied.residue };
            Postings::conversion(&payment.source_account, &payment.destination_account, payment.amount, arrives.currency, conversion, shard)
        }
    })
}

/// Locks every account that the postings touch, in id order, and reads the balances: one book per tenant.
async fn lock_accounts(
    transaction: &mut Transaction<'static, Postgres>,
    planned: &BTreeMap<PaymentKey, Postings>,
) -> Result<HashMap<Tenant, Book>, StoreError> {
    let touched = planned.iter().flat_map(|(key, postings)| postings.entries().iter().map(|entry| (&key.tenant, &entry.account)));
    let accounts: BTreeSet<(&Tenant, &LedgerAccount)> = touched.collect();
    let (tenants, ids): (Vec<&str>, Vec<&str>) = accounts.iter().map(|(tenant, account)| (tenant.as_str(), account.as_str())).unzip();
    let rows = sqlx::query(
        "SELECT a.tenant, a.id, a.balance, a.entry_count
         FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
         JOIN accounts a ON a.tenant = k.tenant AND a.id = k.id
         ORDER BY a.tenant, a.id
         FOR NO KEY UPDATE OF a",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    let balances: HashMap<(&str, &str), Balance> = rows
        .iter()
        .map(|row| {
            Ok((
                (row.try_get("tenant")?, row.try_get("id")?),
                Balance { minor: row.try_get("balance")?, entry_count: row.try_get("entry_count")? },
            ))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    let mut books: HashMap<Tenant, Book> = HashMap::new();
    for (tenant, account) in accounts {
        if let Some(balance) = balances.get(&(tenant.as_str(), account.as_str())) {
            books.entry(tenant.clone()).or_default().insert(account.clone(), *balance);
        }
    }
    Ok(books)
}

/// What a batch comes to before it is written.
#[derive(Default)]
struct Outcome {
    captured: Vec<PaymentKey>,
    faults: BTreeMap<PaymentKey, PostingError>,
    entries: Vec<(PaymentKey, NumberedEntry)>,
    moves: BTreeMap<AccountRow, Move>,
}

/// How one account changes by a whole batch.
#[derive(Default)]
struct Move {
    delta: i64,
    entries: i64,
}

impl Outcome {
    /// Posts the payments in id order; one that cannot be posted leaves the others alone.
    fn post_all(&mut self, planned: &BTreeMap<PaymentKey, Postings>, books: &mut HashMap<Tenant, Book>) {
        for (key, postings) in planned {
            match books.entry(key.tenant.clone()).or_default().post(postings) {
                Ok(numbered) => self.add(key, numbered),
                Err(fault) => {
                    self.faults.insert(key.clone(), fault);
                }
            }
        }
    }

    fn add(&mut self, key: &PaymentKey, numbered: Vec<NumberedEntry>) {
        for line in numbered {
            let change = self.moves.entry((key.tenant.clone(), line.entry.account.clone())).or_default();
            change.delta = change.delta.saturating_add(line.entry.amount.minor);
            change.entries += 1;
            self.entries.push((key.clone(), line));
        }
        self.captured.push(key.clone());
    }
}

fn capture(record: &mut PaymentRecord, now: Timestamp) {
    if let RecordState::Reserved(reserved) = &record.state {
        record.state = RecordState::Captured { reserved: reserved.clone(), finished_at: now };
    }
}

/// Captures, posts and releases in one statement; whether all of it was written. The entries of a payment that was not
/// captured never stay: one row fewer in `captured`, and the whole transaction is rolled back and judged again. (Joining the
/// entries with `captured` would say so in SQL, at the price of comparing each with each.)
async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    outcome: &Outcome,
    records: &HashMap<PaymentKey, PaymentRecord>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut released: BTreeMap<AccountRow, i64> = BTreeMap::new();
    for record in outcome.captured.iter().filter_map(|key| records.get(key)) {
        let source = (record.payment.tenant.clone(), LedgerAccount::customer(&record.payment.source_account));
        *released.entry(source).or_default() += record.payment.amount.minor;
    }
    let (tenants, ids): (Vec<&str>, Vec<&str>) = outcome.captured.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
    let lines = EntryColumns::of(&outcome.entries);
    let changes: Vec<(&str, &str, i64, i64, i64)> = outcome
        .moves
        .iter()
        .map(|(row, change)| (row.0.as_str(), row.1.as_str(), change.delta, released.get(row).copied().unwrap_or(0), change.entries))
        .collect();
    let row = sqlx::query(
        "WITH captured AS (
            UPDATE payments p SET status = 'CAPTURED', finished_at = $3
            FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
            WHERE p.tenant = k.tenant AND p.id = k.id AND p.status = 'RESERVED'
            RETURNING p.tenant, p.id),
         posted AS (
            INSERT INTO entries (tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after, posted_at)
            SELECT e.tenant, e.account_id, e.number, 'payment', e.operation_id, e.currency, e.amount, e.balance_after, $3
            FROM UNNEST($4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::bigint[])
                AS e(tenant, account_id, number, operation_id, currency, amount, balance_after)
            RETURNING number),
         moved AS (
            UPDATE accounts a SET balance = a.balance + m.delta, held = a.held - m.released, entry_count = a.entry_count + m.entries
            FROM UNNEST($11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[]) AS m(tenant, id, delta, released, entries)
            WHERE a.tenant = m.tenant AND a.id = m.id
            RETURNING a.id)
         SELECT (SELECT count(*) FROM captured) AS captured, (SELECT count(*) FROM posted) AS posted, (SELECT count(*) FROM moved) AS moved",
    )
    .bind(tenants)
    .bind(ids)
    .bind(now.to_datetime())
    .bind(lines.tenant)
    .bind(lines.account_id)
    .bind(lines.number)
    .bind(lines.operation_id)
    .bind(lines.currency)
    .bind(lines.amount)
    .bind(lines.balance_after)
    .bind(changes.iter().map(|change| change.0).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.1).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.2).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.3).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.4).collect::<Vec<_>>())
    .fetch_one(&mut **transaction)
    .await?;
    let wrote = |column: &str, expected: usize| row.try_get::<i64, _>(column).map(|count| usize::try_from(count) == Ok(expected));
    Ok(wrote("captured", outcome.captured.len())? && wrote("posted", outcome.entries.len())? && wrote("moved", outcome.moves.len())?)
}

/// Entries as `UNNEST` takes them.
#[derive(Default)]
struct EntryColumns {
    tenant: Vec<String>,
    account_id: Vec<String>,
    number: Vec<i64>,
    operation_id: Vec<String>,
    currency: Vec<&'static str>,
    amount: Vec<i64>,
    balance_after: Vec<i64>,
}

impl EntryColumns {
    fn of(entries: &[(PaymentKey, NumberedEntry)]) -> EntryColumns {
        let mut columns = EntryColumns::default();
        for (key, line) in entries {
            columns.tenant.push(key.tenant.to_string());
            columns.account_id.push(line.entry.account.as_str().to_owned());
            columns.number.push(line.number);
            columns.operation_id.push(key.id.to_string());
            columns.currency.push(line.entry.amount.currency.code());
            columns.amount.push(line.entry.amount.minor);
            columns.balance_after.push(line.balance_after);
        }
        columns
    }
}
