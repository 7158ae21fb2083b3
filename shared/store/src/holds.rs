//! Reserve: hold the money of a batch of quoted payments, or record why not.

use crate::locked_rows::RowKey;
use crate::locks::{AccountRow, AccountState, customer_row};
use crate::posting::{LedgerWrite, Operation, OperationKind};
use crate::session::{PostgresSession, Session};
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError, record};
use domain::facts::{Quote, RecordState, Rejection, Reserved, Screening};
use domain::{Facts, PaymentRecord, Refusal, StageName, Timestamp, TraceContext};
use sqlx::postgres::PgConnection;
use std::sync::LazyLock;

/// A quoted payment whose money is to be held.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// What is known since it was accepted.
    pub facts: Facts,
    /// What risk found.
    pub screening: Screening,
    /// What will arrive.
    pub quote: Quote,
    /// The quote is too old for a new row: without one, the payment is refused.
    pub is_quote_outdated: bool,
    /// Its span at reserve, where the payment is traced.
    pub trace: Option<TraceContext>,
}

/// What the ledger says of a payment that it was to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its row as it stands: new, or from before.
    Recorded(Box<PaymentRecord>),
    /// Another transaction has locked what it needs. Nothing was decided: ask again in a while.
    Locked,
}

impl Answer {
    /// What a row that is there, or is not, says of its payment.
    pub(crate) fn of(record: Option<&PaymentRecord>) -> Answer {
        record.map_or(Answer::Locked, |record| Answer::Recorded(Box::new(record.clone())))
    }
}

/// Inserts the rows and raises the holds.
static RESERVE: LazyLock<LedgerWrite> =
    LazyLock::new(|| LedgerWrite::new(OperationKind::Payment, &record::insertion()));

impl Store {
    /// Judges each request once, in order, and answers with each payment's row as it stands. `now` is when
    /// the holds are made. Five round trips.
    pub async fn reserve(
        &self,
        requests: Vec<HoldRequest>,
        now: Timestamp,
    ) -> Result<Vec<Answer>, StoreError> {
        let rows = |request: &HoldRequest| {
            vec![RowKey::Payment(request.facts.payment.key()), RowKey::Account(source_row(request))]
        };
        let judge = |piece: Piece<HoldRequest>| {
            self.transact(piece, move |connection, piece, locks| {
                Box::pin(reserve(PostgresSession { connection, locks }, piece, now))
            })
        };
        self.judge_all(requests, rows, || Answer::Locked, judge).await
    }
}

/// The account that a payment's money leaves.
fn source_row(request: &HoldRequest) -> AccountRow {
    customer_row(&request.facts.payment.tenant, &request.facts.payment.source_account)
}

/// One attempt, in a transaction that has begun.
pub(crate) async fn reserve(
    mut session: impl Session,
    requests: &[HoldRequest],
    now: Timestamp,
) -> Result<Attempt<Vec<Answer>>, Broken> {
    let mut sources = session.lock_accounts(&requests.iter().map(source_row).collect()).await?;
    let keys = requests.iter().map(|request| request.facts.payment.key());
    let mut known = session.records(keys.collect()).await?;
    let mut fresh = Vec::new();
    for request in requests {
        let (key, source) = (request.facts.payment.key(), source_row(request));
        if known.contains_key(&key) || sources.locked.contains(&source) {
            continue;
        }
        let record = judge(request, sources.found.get_mut(&source), now);
        fresh.push(record.clone());
        known.insert(key, record);
    }
    let answers =
        requests.iter().map(|request| Answer::of(known.get(&request.facts.payment.key()))).collect();
    if fresh.is_empty() {
        return Ok(Attempt::Nothing(answers));
    }
    let operations: Vec<Operation> = fresh.iter().map(operation).collect();
    let is_written = session.write_holds(&fresh, &operations, now).await?;
    Ok(if is_written { Attempt::Commit(answers) } else { Attempt::Again })
}

/// Inserts the rows and raises the holds; whether all of it was written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    records: &[PaymentRecord],
    operations: &[Operation],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let written = RESERVE.run(connection, operations, now, |query| record::bind(query, records)).await;
    record::unless_taken(written)
}

/// One payment against the running state of its source account.
fn judge(request: &HoldRequest, source: Option<&mut AccountState>, now: Timestamp) -> PaymentRecord {
    let held = match source {
        None => Err(Refusal::AccountNotFound),
        Some(_) if request.is_quote_outdated => Err(Refusal::FxRateStale),
        Some(account) => account.hold(request.facts.payment.amount),
    };
    let (screening, quote) = (request.screening.clone(), request.quote.clone());
    let state = match held {
        Ok(()) => RecordState::Reserved(Reserved { screening, quote, at: now }),
        Err(reason) => RecordState::Failed {
            screening: Some(screening),
            quote: Some(quote),
            reserved_at: None,
            rejection: Rejection { stage: StageName::Reserve, reason, rules: Vec::new(), at: now },
            finished_at: now,
        },
    };
    PaymentRecord { facts: request.facts.clone(), state, trace: request.trace }
}

/// What a new row does to the ledger: it holds money, or nothing where it was refused.
fn operation(record: &PaymentRecord) -> Operation {
    let payment = &record.facts.payment;
    let is_held = matches!(record.state, RecordState::Reserved(_));
    let hold = is_held.then(|| (payment.source_account.clone(), payment.amount.minor));
    Operation { tenant: payment.tenant.clone(), id: payment.id.to_string(), entries: Vec::new(), hold }
}
