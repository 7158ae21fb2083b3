//! Settle: post the entries of a batch of held payments and release their holds.

use crate::columns::columns;
use crate::locked_rows::RowKey;
use crate::locks::{AccountRow, AccountState, Rows, customer_row};
use crate::posting::{LedgerWrite, Operation, OperationKind, books};
use crate::session::{PostgresSession, Session};
use crate::system_accounts::{Judged, Ours, with_system_accounts};
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError};
use domain::facts::{RecordState, Rejection, Reserved};
use domain::fx::Conversion;
use domain::ledger::{Book, Entry, PostingError, Postings};
use domain::system_account::{SystemAccounts, SystemKind};
use domain::{AccountId, Currency, PaymentKey, PaymentRecord, Refusal, StageName, Tenant, Timestamp};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

/// A payment that is to be settled. The row alone decides what is posted; the rest says which rows that will
/// need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRequest {
    /// The payment whose row is read.
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

columns! {
    EndColumns<'r> of end: &'r (PaymentKey, Option<Refusal>) {
        tenant: &'r str as "text" = end.0.tenant.as_str();
        id: &'r str as "text" = end.0.id.as_str();
        reason: Option<&'r str> as "text" = end.1.map(Refusal::code);
    }
}

/// Ends, posts and releases. The entries of a payment that did not end here never stay: one row fewer is
/// returned, and the whole transaction is rolled back and judged again. (Joining the entries with the ended
/// rows would say so in SQL, at the price of comparing each with each.)
static SETTLE: LazyLock<LedgerWrite> = LazyLock::new(|| {
    let ended = format!(
        "UPDATE payments p SET status = CASE WHEN n.reason IS NULL THEN 'CAPTURED' ELSE 'FAILED' END, finished_at = $4, reason = n.reason,
            refused_by = CASE WHEN n.reason IS NOT NULL THEN $5 END, refused_at = CASE WHEN n.reason IS NOT NULL THEN $4::timestamptz END
         FROM {}
         WHERE p.tenant = n.tenant AND p.id = n.id AND p.status = 'RESERVED'
         RETURNING p.id",
        EndColumns::TABLE.rows(1)
    );
    LedgerWrite::new(OperationKind::Payment, &ended)
});

struct Input {
    piece: Piece<SettleRequest>,
    ours: Ours,
    now: Timestamp,
}

impl Store {
    /// Captures each payment that is held, or fails it where its destination cannot take the money, and
    /// answers with each row as it stands. Five round trips, one more when a currency is seen for the first
    /// time. `now` is the time of the entries; `shard` says whose system accounts are posted to.
    pub async fn settle(
        &self,
        requests: Vec<SettleRequest>,
        now: Timestamp,
        shard: u16,
    ) -> Result<Vec<Settlement>, StoreError> {
        let judge = async |piece: Piece<SettleRequest>| {
            let attempt = |ours| {
                let input = Input { piece: piece.clone(), ours, now };
                self.transact(input, |connection, input, locks| {
                    let session = PostgresSession { connection, locks };
                    Box::pin(settle(session, &input.piece, &input.ours, input.now))
                })
            };
            with_system_accounts(self, currencies(&piece), shard, attempt).await
        };
        self.judge_all(requests, |request| self.rows(request, shard), || Settlement::Locked, judge).await
    }

    /// The rows that a settlement needs.
    fn rows(&self, request: &SettleRequest, shard: u16) -> Vec<RowKey> {
        let tenant = &request.payment.tenant;
        let system = |kind, currency| {
            RowKey::Account((tenant.clone(), self.current_row(tenant, kind, currency, shard)))
        };
        let customers =
            [&request.source, &request.destination].map(|id| RowKey::Account(customer_row(tenant, id)));
        let ours = request.conversion.map(|(from, to)| {
            [system(SystemKind::Fx, from), system(SystemKind::Fx, to), system(SystemKind::Fee, to)]
        });
        let payment = [RowKey::Payment(request.payment.clone())];
        payment.into_iter().chain(customers).chain(ours.into_iter().flatten()).collect()
    }
}

/// The currencies that our accounts are posted to in.
pub(crate) fn currencies(requests: &[SettleRequest]) -> BTreeSet<(Tenant, Currency)> {
    let converting =
        requests.iter().filter_map(|request| Some((&request.payment.tenant, request.conversion?)));
    converting
        .flat_map(|(tenant, (from, to))| [from, to].map(|currency| (tenant.clone(), currency)))
        .collect()
}

/// One attempt, in a transaction that has begun.
pub(crate) async fn settle(
    mut session: impl Session,
    requests: &[SettleRequest],
    ours: &Ours,
    now: Timestamp,
) -> Result<Attempt<Judged<Vec<Settlement>>>, Broken> {
    let mut payments =
        session.lock_payments(&requests.iter().map(|request| request.payment.clone()).collect()).await?;
    let planned = payments
        .found
        .iter()
        .filter_map(|(key, record)| Some((key.clone(), postings(record, ours.of(&key.tenant))?)));
    let mut planned: BTreeMap<PaymentKey, Postings> = planned.collect();
    let mut outcome = Outcome::default();
    if !planned.is_empty() {
        let touched = planned.iter().flat_map(|(key, postings)| rows_of(key, postings)).collect();
        let accounts = session.lock_accounts(&touched).await?;
        if let Some(obstacle) = ours.obstacle(&touched, &accounts) {
            return Ok(Attempt::Nothing(obstacle));
        }
        let waits = |key: &PaymentKey, postings: &Postings| {
            rows_of(key, postings).any(|row| accounts.locked.contains(&row))
        };
        payments.locked.extend(
            planned.iter().filter(|(key, postings)| waits(key, postings)).map(|(key, _)| key.clone()),
        );
        planned.retain(|key, _| !payments.locked.contains(key));
        outcome.set_aside_other_currencies(&mut planned, &accounts);
        outcome.post_all(&planned, &payments.found, books(&accounts));
    }
    outcome.end_all(&mut payments.found, now);
    let answers = requests.iter().map(|request| outcome.answer(&request.payment, &payments)).collect();
    if outcome.ended.is_empty() {
        return Ok(Attempt::Nothing(Judged::Answered(answers)));
    }
    let is_written = session.write_ends(&outcome.ended, &outcome.operations, now).await?;
    Ok(if is_written { Attempt::Commit(Judged::Answered(answers)) } else { Attempt::Again })
}

/// Ends payments, posts and releases; whether all of it was written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    ended: &[(PaymentKey, Option<Refusal>)],
    operations: &[Operation],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let end = |query| {
        EndColumns::of(ended.iter()).bind(query).bind(now.to_datetime()).bind(StageName::Settle.as_str())
    };
    SETTLE.run(connection, operations, now, end).await
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
            let conversion =
                Conversion { gross: applied.gross_minor, net: arrives.minor, residue: applied.residue };
            Postings::conversion(
                &payment.source_account,
                &payment.destination_account,
                payment.amount,
                arrives.currency,
                conversion,
                ours,
            )
        }
    })
}

/// What a held payment becomes when it ends.
pub(crate) fn ended_state(reserved: Reserved, refusal: Option<Refusal>, now: Timestamp) -> RecordState {
    match refusal {
        None => RecordState::Captured { reserved, finished_at: now },
        Some(reason) => RecordState::Failed {
            screening: Some(reserved.screening),
            quote: Some(reserved.quote),
            reserved_at: Some(reserved.at),
            rejection: Rejection { stage: StageName::Settle, reason, rules: Vec::new(), at: now },
            finished_at: now,
        },
    }
}

/// The accounts that a payment's entries belong to.
fn rows_of<'p>(key: &'p PaymentKey, postings: &'p Postings) -> impl Iterator<Item = AccountRow> + 'p {
    postings.entries().iter().map(|entry| (key.tenant.clone(), entry.account.clone()))
}

/// What a batch comes to before it is written.
#[derive(Default)]
struct Outcome {
    /// The payments that end, with the refusal of those that fail, and what each does to the ledger.
    ended: Vec<(PaymentKey, Option<Refusal>)>,
    operations: Vec<Operation>,
    faults: BTreeMap<PaymentKey, PostingError>,
}

impl Outcome {
    /// An account's currency never changes; but a ledger that was set back may have lost the account that a
    /// payment was quoted for, and have another by its name.
    fn set_aside_other_currencies(
        &mut self,
        planned: &mut BTreeMap<PaymentKey, Postings>,
        accounts: &Rows<AccountRow, AccountState>,
    ) {
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
            let (entries, refusal) = match books.entry(key.tenant.clone()).or_default().post(postings) {
                Ok(numbered) => (numbered, None),
                Err(PostingError::Overflow(account))
                    if account.as_str() == payment.destination_account.as_str() =>
                {
                    (Vec::new(), Some(Refusal::DestinationLimit))
                }
                Err(fault) => {
                    self.faults.insert(key.clone(), fault);
                    continue;
                }
            };
            let hold = Some((payment.source_account.clone(), -payment.amount.minor));
            self.operations.push(Operation {
                tenant: key.tenant.clone(),
                id: key.id.to_string(),
                entries,
                hold,
            });
            self.ended.push((key.clone(), refusal));
        }
    }

    /// Brings the records of this batch's payments to their end.
    fn end_all(&self, records: &mut HashMap<PaymentKey, PaymentRecord>, now: Timestamp) {
        for (key, refusal) in &self.ended {
            let Some(record) = records.get_mut(key) else { continue };
            let RecordState::Reserved(reserved) = record.state.clone() else { continue };
            record.state = ended_state(reserved, *refusal, now);
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
