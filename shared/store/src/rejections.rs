//! Record the payments that risk and fx refused. They hold no money, so no account is locked.

use crate::holds::read_records;
use crate::record::{RecordColumns, insert_records};
use crate::transaction::Attempt;
use crate::{Store, StoreError};
use domain::{PaymentKey, PaymentRecord};
use sqlx::{Postgres, Row, Transaction};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

impl Store {
    /// Inserts each refusal that has no row yet, and answers with each payment's row as it stands. Four round trips.
    pub async fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Result<Vec<PaymentRecord>, StoreError> {
        self.transact(refused, |transaction, refused| Box::pin(record_rejections(transaction, refused))).await
    }
}

async fn record_rejections(
    transaction: &mut Transaction<'static, Postgres>,
    refused: &[PaymentRecord],
) -> Result<Attempt<Vec<PaymentRecord>>, StoreError> {
    let mut known = read_records(transaction, refused.iter().map(|record| record.payment.key())).await?;
    let mut fresh = Vec::new();
    for record in refused {
        if let Entry::Vacant(place) = known.entry(record.payment.key()) {
            fresh.push(place.insert(record.clone()).clone());
        }
    }
    let answers = |known: &HashMap<PaymentKey, PaymentRecord>| {
        refused.iter().filter_map(|record| known.get(&record.payment.key()).cloned()).collect::<Vec<_>>()
    };
    if fresh.is_empty() {
        return Ok(Attempt::Nothing(answers(&known)));
    }
    let statement = sqlx::query(concat!("WITH ", insert_records!(), " SELECT count(*) AS inserted FROM inserted"));
    let row = RecordColumns::of(fresh.iter()).bind(statement).fetch_one(&mut **transaction).await?;
    let inserted: i64 = row.try_get("inserted")?;
    if usize::try_from(inserted) == Ok(fresh.len()) { Ok(Attempt::Commit(answers(&known))) } else { Ok(Attempt::Again) }
}
