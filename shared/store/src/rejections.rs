//! Record the payments that risk and fx refused. They hold no money, so no account is locked.

use crate::holds::{Answer, read_records};
use crate::locked_rows::RowKey;
use crate::transaction::{Attempt, Broken, Piece};
use crate::{Store, StoreError, record};
use domain::PaymentRecord;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;

static RECORD: LazyLock<String> = LazyLock::new(|| {
    format!("WITH recorded AS ({}) SELECT count(*) AS recorded FROM recorded", record::insertion())
});

impl Store {
    /// Inserts each refusal that has no row yet, and answers with each payment's row as it stands. Four round
    /// trips.
    pub async fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Result<Vec<Answer>, StoreError> {
        let rows = |record: &PaymentRecord| vec![RowKey::Payment(record.facts.payment.key())];
        let judge = |piece: Piece<PaymentRecord>| {
            self.transact(piece, |connection, piece, _| Box::pin(record_rejections(connection, piece)))
        };
        self.judge_all(refused, rows, || Answer::Locked, judge).await
    }
}

async fn record_rejections(
    connection: &mut PgConnection,
    refused: &[PaymentRecord],
) -> Result<Attempt<Vec<Answer>>, Broken> {
    let mut known = read_records(connection, refused.iter().map(|record| record.facts.payment.key())).await?;
    let mut fresh = Vec::new();
    for record in refused {
        if let Entry::Vacant(place) = known.entry(record.facts.payment.key()) {
            fresh.push(place.insert(record.clone()).clone());
        }
    }
    let answers = refused.iter().map(|record| Answer::of(known.get(&record.facts.payment.key()))).collect();
    if fresh.is_empty() {
        return Ok(Attempt::Nothing(answers));
    }
    let statement = record::bind(sqlx::query(RECORD.as_str()), &fresh);
    let row = statement.fetch_one(&mut *connection).await.map_err(Broken::at_insert)?;
    let recorded: i64 = row.try_get("recorded")?;
    if usize::try_from(recorded) == Ok(fresh.len()) {
        Ok(Attempt::Commit(answers))
    } else {
        Ok(Attempt::Again)
    }
}
