//! Settle: post the entries of a batch of held payments and release their holds.

use crate::locked_rows::RowKey;
use crate::locks::{AccountRow, AccountState, Locks, Rows, customer_row};
use crate::system_accounts::{Judged, Ours};
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError};
use domain::facts::{RecordState, Rejection};
use domain::fx::Conversion;
use domain::ledger::{Balance, Book, Entry, NumberedEntry, PostingError, Postings};
use domain::system_account::{SystemAccounts, SystemKind};
use domain::{AccountId, Currency, PaymentKey, PaymentRecord, Refusal, StageName, Tenant, Timestamp};
use sqlx::{Postgres, Row, Transaction};
use std::collections::{BTreeMap, HashMap};

/// A payment that is to be settled. The row alone decides what is posted; the rest says which rows that will need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRequest {
    /// Which payment.
    pub payment: PaymentKey,
    /// Where its money leaves.
    pub source: AccountId,
    /// Where it arrives.
    pub destination: AccountId,
    /// From which currency into which, if it converts.
    pub conversion: Option<(Currency, Currency)>,
}

/// A payment as it stands after its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Its row: captured or failed, now or before.
    Recorded(Box<PaymentRecord>),
    /// It has none. Reserved messages come from rows, so the ledger was set back since.
    NoRow,
    /// Another transaction has locked what it needs. Nothing was decided: ask again in a while.
    Locked,
    /// The ledger does not look as it must. A fault and no refusal: its money is held.
    Unpostable(PostingError),
}

struct Input {
    piece: Piece<SettleRequest>,
    ours: Ours,
    now: Timestamp,
}

impl Store {
    /// Captures each payment that is held, or fails it where its destination cannot take the money, and answers with each
    /// row as it stands. Five round trips, one more when a currency is seen for the first time. `now` is the time of the
    /// entries; `shard` says whose system accounts are posted to.
    pub async fn settle(&self, requests: Vec<SettleRequest>, now: Timestamp, shard: u16) -> Result<Vec<Settlement>, StoreError> {
        let judge = async |piece: Piece<SettleRequest>| {
            let converting = piece.iter().filter_map(|request| Some((&request.payment.tenant, request.conversion?)));
            let currencies = converting.flat_map(|(tenant, (from, to))| [from, to].map(|currency| (tenant.clone(), currency))).collect();
            let attempt = |ours| {
                let input = Input { piece: piece.clone(), ours, now };
                self.transact(input, |transaction, input, locks| Box::pin(settle(transaction, input, locks)))
            };
            self.with_system_accounts(currencies, shard, attempt).await
        };
        self.judge_all(requests, |request| self.rows(request, shard), || Settlement::Locked, judge).await
    }

    /// The rows that a settlement needs.
    fn rows(&self, request: &SettleRequest, shard: u16) -> Vec<RowKey> {
        let tenant = &request.payment.tenant;
        let system = |kind, currency| RowKey::Account((tenant.clone(), self.current_row(tenant, kind, currency, shard)));
        let customers = [&request.source, &request.destination].map(|id| RowKey::Account(customer_row(tenant, id)));
        let ours =
            request.conversion.map(|(from, to)| [system(SystemKind::Fx, from), system(SystemKind::Fx, to), system(SystemKind::Fee, to)]);
        let payment = [RowKey::Payment(request.payment.clone())];
        payment.into_iter().chain(customers).chain(ours.into_iter().flatten()).collect()
    }
}

async fn settle(
    transaction: &mut Transaction<'static, Postgres>,
    Input { piece, ours, now }: &Input,
    locks: &Locks,
) -> Result<Attempt<Judged<Vec<Settlement>>>, Broken> {
    let mut payments = locks.payments(transaction, &piece.iter().map(|request| request.payment.clone()).collect()).await?;
    let planned = payments.found.iter().filter_map(|(key, record)| Some((key.clone(), postings(record, ours.of(&key.tenant))?)));
    let mut planned: BTreeMap<PaymentKey, Postings> = planned.collect();
    let mut outcome = Outcome::default();
    if !planned.is_empty() {
        let touched = planned.iter().flat_map(|(key, postings)| rows_of(key, postings)).collect();
        let accounts = locks.accounts(transaction, &touched).await?;
        if let Some(obstacle) = ours.obstacle(&touched, &accounts) {
            return Ok(Attempt::Nothing(obstacle));
        }
        let waits = |key: &PaymentKey, postings: &Postings| rows_of(key, postings).any(|row| accounts.locked.contains(&row));
        payments.locked.extend(planned.iter().filter(|(key, postings)| waits(key, postings)).map(|(key, _)| key.clone()));
        planned.retain(|key, _| !payments.locked.contains(key));
        outcome.set_aside_other_currencies(&mut planned, &accounts);
        outcome.post_all(&planned, &payments.found, books(&accounts));
    }
    for (key, fault) in &outcome.faults {
        tracing::error!(payment = %key.id, %fault, "a held payment cannot be posted");
    }
    outcome.end_all(&mut payments.found, *now);
    let answers = piece.iter().map(|request| outcome.answer(&request.payment, &payments)).collect();
    if outcome.captured.is_empty() && outcome.refused.is_empty() {
        return Ok(Attempt::Nothing(Judged::Answered(answers)));
    }
    let is_written = write(transaction, &outcome, *now).await?;
    Ok(if is_written { Attempt::Commit(Judged::Answered(answers)) } else { Attempt::Again })
}

/// What a held payment posts; nothing for one that has ended.
fn postings(record: &PaymentRecord, ours: &SystemAccounts) -> Option<Postings> {
    let RecordState::Reserved(reserved) = &record.state else {
        return None;
    };
    let payment = &record.facts.payment;
    let arrives = reserved.quote.destination_amount;
    Some(match &reserved.quote.conversion {
        None => Postings::transfer(&payment.source_account, &payment.destination_account, payment.amount),
        Some(applied) => {
            let conversion = Conversion { gross: applied.gross_minor, net: arrives.minor, residue: applied.residue };
            Postings::conversion(&payment.source_account, &payment.destination_account, payment.amount, arrives.currency, conversion, ours)
        }
    })
}

/// The accounts that a payment's entries belong to.
fn rows_of<'p>(key: &'p PaymentKey, postings: &'p Postings) -> impl Iterator<Item = AccountRow> + 'p {
    postings.entries().iter().map(|entry| (key.tenant.clone(), entry.account.clone()))
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

/// What a batch comes to before it is written.
#[derive(Default)]
struct Outcome {
    captured: Vec<PaymentKey>,
    refused: Vec<PaymentKey>,
    faults: BTreeMap<PaymentKey, PostingError>,
    entries: Vec<(PaymentKey, NumberedEntry)>,
    moves: BTreeMap<AccountRow, Move>,
}

/// How one account changes by a whole batch.
#[derive(Default)]
struct Move {
    delta: i64,
    released: i64,
    entries: i64,
}

impl Outcome {
    /// An account's currency never changes; but a ledger that was set back may have lost the account that a payment was quoted
    /// for, and have another by its name.
    fn set_aside_other_currencies(&mut self, planned: &mut BTreeMap<PaymentKey, Postings>, accounts: &Rows<AccountRow, AccountState>) {
        planned.retain(|key, postings| {
            let differs = |entry: &&Entry| {
                let state = accounts.found.get(&(key.tenant.clone(), entry.account.clone()));
                state.is_some_and(|state| state.currency != entry.amount.currency)
            };
            match postings.entries().iter().find(differs) {
                None => true,
                Some(entry) => {
                    self.faults.insert(key.clone(), PostingError::OtherCurrency(entry.account.clone()));
                    false
                }
            }
        });
    }

    /// Posts the payments in id order; one that cannot be posted leaves the others alone.
    fn post_all(
        &mut self,
        planned: &BTreeMap<PaymentKey, Postings>,
        records: &HashMap<PaymentKey, PaymentRecord>,
        mut books: HashMap<Tenant, Book>,
    ) {
        for (key, postings) in planned {
            let Some(payment) = records.get(key).map(|record| &record.facts.payment) else { continue };
            match books.entry(key.tenant.clone()).or_default().post(postings) {
                Ok(numbered) => self.add(key, numbered),
                Err(PostingError::Overflow(account)) if account.as_str() == payment.destination_account.as_str() => {
                    self.refused.push(key.clone());
                }
                Err(fault) => {
                    self.faults.insert(key.clone(), fault);
                    continue;
                }
            }
            let source = self.moves.entry(customer_row(&key.tenant, &payment.source_account)).or_default();
            source.released = source.released.saturating_add(payment.amount.minor);
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

    /// Brings the records of this batch's payments to their end.
    fn end_all(&self, records: &mut HashMap<PaymentKey, PaymentRecord>, now: Timestamp) {
        let ended =
            self.captured.iter().map(|key| (key, None)).chain(self.refused.iter().map(|key| (key, Some(Refusal::DestinationLimit))));
        for (key, refusal) in ended {
            let Some(record) = records.get_mut(key) else { continue };
            let RecordState::Reserved(reserved) = record.state.clone() else { continue };
            record.state = match refusal {
                None => RecordState::Captured { reserved, finished_at: now },
                Some(reason) => RecordState::Failed {
                    screening: Some(reserved.screening),
                    quote: Some(reserved.quote),
                    reserved_at: Some(reserved.at),
                    rejection: Rejection { stage: StageName::Settle, reason, rules: Vec::new(), at: now },
                    finished_at: now,
                },
            };
        }
    }

    fn answer(&self, key: &PaymentKey, payments: &Rows<PaymentKey, PaymentRecord>) -> Settlement {
        match (self.faults.get(key), payments.found.get(key)) {
            _ if payments.locked.contains(key) => Settlement::Locked,
            (Some(fault), _) => Settlement::Unpostable(fault.clone()),
            (None, Some(record)) => Settlement::Recorded(Box::new(record.clone())),
            (None, None) => Settlement::NoRow,
        }
    }
}

/// Ends, posts and releases in one statement; whether all of it was written. The entries of a payment that did not end here
/// never stay: one row fewer in `ended`, and the whole transaction is rolled back and judged again. (Joining the entries
/// with `ended` would say so in SQL, at the price of comparing each with each.)
async fn write(transaction: &mut Transaction<'static, Postgres>, outcome: &Outcome, now: Timestamp) -> Result<bool, StoreError> {
    let captured = outcome.captured.iter().map(|key| (key, None));
    let ended: Vec<(&PaymentKey, Option<&str>)> =
        captured.chain(outcome.refused.iter().map(|key| (key, Some(Refusal::DestinationLimit.code())))).collect();
    let lines = EntryColumns::of(&outcome.entries);
    let row = sqlx::query(
        "WITH ended AS (
            UPDATE payments p SET status = CASE WHEN k.reason IS NULL THEN 'CAPTURED' ELSE 'FAILED' END, finished_at = $4, reason = k.reason,
                refused_by = CASE WHEN k.reason IS NOT NULL THEN $5 END, refused_at = CASE WHEN k.reason IS NOT NULL THEN $4 END
            FROM UNNEST($1::text[], $2::text[], $3::text[]) AS k(tenant, id, reason)
            WHERE p.tenant = k.tenant AND p.id = k.id AND p.status = 'RESERVED'
            RETURNING p.tenant, p.id),
         posted AS (
            INSERT INTO entries (tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after, posted_at)
            SELECT e.tenant, e.account_id, e.number, 'payment', e.operation_id, e.currency, e.amount, e.balance_after, $4
            FROM UNNEST($6::text[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])
                AS e(tenant, account_id, number, operation_id, currency, amount, balance_after)
            RETURNING number),
         moved AS (
            UPDATE accounts a SET balance = a.balance + m.delta, held = a.held - m.released, entry_count = a.entry_count + m.entries
            FROM UNNEST($13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[]) AS m(tenant, id, delta, released, entries)
            WHERE a.tenant = m.tenant AND a.id = m.id
            RETURNING a.id)
         SELECT (SELECT count(*) FROM ended) AS ended, (SELECT count(*) FROM posted) AS posted, (SELECT count(*) FROM moved) AS moved",
    )
    .bind(ended.iter().map(|(key, _)| key.tenant.as_str()).collect::<Vec<_>>())
    .bind(ended.iter().map(|(key, _)| key.id.as_str()).collect::<Vec<_>>())
    .bind(ended.iter().map(|(_, reason)| *reason).collect::<Vec<_>>())
    .bind(now.to_datetime())
    .bind(StageName::Settle.as_str())
    .bind(lines.tenant)
    .bind(lines.account_id)
    .bind(lines.number)
    .bind(lines.operation_id)
    .bind(lines.currency)
    .bind(lines.amount)
    .bind(lines.balance_after)
    .bind(outcome.moves.keys().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
    .bind(outcome.moves.keys().map(|(_, account)| account.as_str()).collect::<Vec<_>>())
    .bind(outcome.moves.values().map(|change| change.delta).collect::<Vec<_>>())
    .bind(outcome.moves.values().map(|change| change.released).collect::<Vec<_>>())
    .bind(outcome.moves.values().map(|change| change.entries).collect::<Vec<_>>())
    .fetch_one(&mut **transaction)
    .await?;
    let wrote = |column: &str, expected: usize| row.try_get::<i64, _>(column).map(|count| usize::try_from(count) == Ok(expected));
    Ok(wrote("ended", ended.len())? && wrote("posted", outcome.entries.len())? && wrote("moved", outcome.moves.len())?)
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
