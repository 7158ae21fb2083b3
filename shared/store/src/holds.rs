//! Reserve: hold the money of a batch of quoted payments, or record why not.

use crate::record::{RecordColumns, insert_records, record_columns};
use crate::transaction::Attempt;
use crate::{Store, StoreError, record};
use domain::facts::{Quote, RecordState, Rejection, Reserved, Screening};
use domain::ledger::{AccountStatus, SourceAccount};
use domain::{AccountId, AccountKey, Currency, Fingerprint, Payment, PaymentKey, PaymentRecord, Refusal, StageName, Tenant, Timestamp};
use sqlx::{Postgres, Row, Transaction};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A quoted payment whose money is to be held.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// What the sender asked for.
    pub payment: Payment,
    /// What a second request under the same id is compared with.
    pub fingerprint: Fingerprint,
    /// The sequence of the accepted message that this was derived from.
    pub accepted_seq: u64,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
    /// What risk found.
    pub screening: Screening,
    /// What will arrive.
    pub quote: Quote,
}

impl Store {
    /// Judges each request once, in order, and answers with each payment's row as it stands: new, or from before.
    /// `now` is when the holds are made. Five round trips.
    pub async fn reserve(&self, requests: Vec<HoldRequest>, now: Timestamp) -> Result<Vec<PaymentRecord>, StoreError> {
        self.transact((requests, now), |transaction, (requests, now)| Box::pin(reserve(transaction, requests, *now))).await
    }
}

async fn reserve(
    transaction: &mut Transaction<'static, Postgres>,
    requests: &[HoldRequest],
    now: Timestamp,
) -> Result<Attempt<Vec<PaymentRecord>>, StoreError> {
    let mut accounts = lock_sources(transaction, requests).await?;
    let mut known = read_records(transaction, requests.iter().map(|request| request.payment.key())).await?;
    let mut fresh = Vec::new();
    for request in requests {
        let key = request.payment.key();
        if known.contains_key(&key) {
            continue;
        }
        let record = judge(request, accounts.get_mut(&request.payment.source_key()), now);
        fresh.push(record.clone());
        known.insert(key, record);
    }
    let answers = |known: &HashMap<PaymentKey, PaymentRecord>| {
        requests.iter().filter_map(|request| known.get(&request.payment.key()).cloned()).collect::<Vec<_>>()
    };
    if fresh.is_empty() {
        return Ok(Attempt::Nothing(answers(&known)));
    }
    if write(transaction, &fresh).await? { Ok(Attempt::Commit(answers(&known))) } else { Ok(Attempt::Again) }
}

/// Locks the source accounts that exist, in id order.
async fn lock_sources(
    transaction: &mut Transaction<'static, Postgres>,
    requests: &[HoldRequest],
) -> Result<HashMap<AccountKey, SourceAccount>, StoreError> {
    let keys: BTreeSet<AccountKey> = requests.iter().map(|request| request.payment.source_key()).collect();
    let (tenants, ids): (Vec<&str>, Vec<&str>) = keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
    let rows = sqlx::query(
        "SELECT a.tenant, a.id, a.currency, a.status, a.balance, a.held
         FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
         JOIN accounts a ON a.tenant = k.tenant AND a.id = k.id
         WHERE a.kind = 'customer'
         ORDER BY a.tenant, a.id
         FOR NO KEY UPDATE OF a",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let corrupt = |column: &str| StoreError::Corrupt(format!("accounts.{column}"));
        let key = AccountKey {
            tenant: Tenant::parse(row.try_get::<String, _>("tenant")?).map_err(|_| corrupt("tenant"))?,
            id: AccountId::parse(row.try_get::<String, _>("id")?).map_err(|_| corrupt("id"))?,
        };
        let account = SourceAccount {
            currency: Currency::parse(row.try_get("currency")?).map_err(|_| corrupt("currency"))?,
            status: if row.try_get::<&str, _>("status")? == "FROZEN" { AccountStatus::Frozen } else { AccountStatus::Active },
            balance: row.try_get("balance")?,
            held: row.try_get("held")?,
        };
        found.insert(key, account);
    }
    Ok(found)
}

/// The rows that are already there. A statement of its own after the locks, so that it sees all that they waited for.
pub(crate) async fn read_records(
    transaction: &mut Transaction<'static, Postgres>,
    keys: impl Iterator<Item = PaymentKey>,
) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
    let (tenants, ids): (Vec<String>, Vec<String>) = keys.map(|key| (key.tenant.into(), key.id.into())).unzip();
    let rows = sqlx::query(concat!(
        "SELECT ",
        record_columns!(),
        " FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id) JOIN payments p ON p.tenant = k.tenant AND p.id = k.id"
    ))
    .bind(tenants)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    rows.iter().map(|row| record::decode(row).map(|record| (record.payment.key(), record))).collect()
}

/// One payment against the running state of its source account.
fn judge(request: &HoldRequest, source: Option<&mut SourceAccount>, now: Timestamp) -> PaymentRecord {
    let held = source.ok_or(Refusal::AccountNotFound).and_then(|account| account.hold(request.payment.amount));
    let (screening, quote) = (request.screening.clone(), request.quote.clone());
    let state = match held {
        Ok(()) => RecordState::Reserved(Reserved { screening, quote, at: now }),
        Err(reason) => RecordState::Failed {
            screening: Some(screening),
            quote: Some(quote),
            rejection: Rejection { stage: StageName::Reserve, reason, rules: Vec::new(), at: now },
            finished_at: now,
        },
    };
    PaymentRecord {
        payment: request.payment.clone(),
        fingerprint: request.fingerprint,
        accepted_seq: request.accepted_seq,
        accepted_at: request.accepted_at,
        state,
    }
}

/// Inserts the rows and raises the holds; whether all of it was written.
async fn write(transaction: &mut Transaction<'static, Postgres>, fresh: &[PaymentRecord]) -> Result<bool, StoreError> {
    let mut holds: BTreeMap<AccountKey, i64> = BTreeMap::new();
    for record in fresh.iter().filter(|record| matches!(record.state, RecordState::Reserved(_))) {
        *holds.entry(record.payment.source_key()).or_default() += record.payment.amount.minor;
    }
    let held_accounts = holds.len();
    let (keys, amounts): (Vec<AccountKey>, Vec<i64>) = holds.into_iter().unzip();
    let (tenants, ids): (Vec<String>, Vec<String>) = keys.into_iter().map(|key| (key.tenant.into(), key.id.into())).unzip();
    let statement = sqlx::query(concat!(
        "WITH ",
        insert_records!(),
        ", held AS (
            UPDATE accounts a SET held = a.held + h.amount
            FROM UNNEST($31::text[], $32::text[], $33::bigint[]) AS h(tenant, id, amount)
            WHERE a.tenant = h.tenant AND a.id = h.id
            RETURNING a.id)
         SELECT (SELECT count(*) FROM inserted) AS inserted, (SELECT count(*) FROM held) AS held"
    ));
    let statement = RecordColumns::of(fresh.iter()).bind(statement).bind(tenants).bind(ids).bind(amounts);
    let row = statement.fetch_one(&mut **transaction).await?;
    let (inserted, held): (i64, i64) = (row.try_get("inserted")?, row.try_get("held")?);
    Ok(usize::try_from(inserted) == Ok(fresh.len()) && usize::try_from(held) == Ok(held_accounts))
}
