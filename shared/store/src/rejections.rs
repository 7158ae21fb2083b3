//! Record the payments that risk and fx refused. They hold no money, so no account is locked.

use crate::holds::Answer;
use crate::locked_rows::RowKey;
use crate::session::{PostgresSession, Session};
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
            self.transact(piece, |connection, piece, locks| {
                Box::pin(record_rejections(PostgresSession { connection, locks }, piece))
            })
        };
        self.judge_all(refused, rows, || Answer::Locked, judge).await
    }
}

/// One attempt, in a transaction that has begun.
pub(crate) async fn record_rejections(
    mut session: impl Session,
    refused: &[PaymentRecord],
) -> Result<Attempt<Vec<Answer>>, Broken> {
    let keys = refused.iter().map(|record| record.facts.payment.key());
    let mut known = session.records(keys.collect()).await?;
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
    let is_written = session.write_rejections(&fresh).await?;
    Ok(if is_written { Attempt::Commit(answers) } else { Attempt::Again })
}

/// Inserts the rows; whether all of it was written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    records: &[PaymentRecord],
) -> Result<bool, sqlx::Error> {
    let statement = record::bind(sqlx::query(RECORD.as_str()), records);
    let recorded =
        statement.fetch_one(&mut *connection).await.and_then(|row| row.try_get::<i64, _>("recorded"));
    record::unless_taken(recorded.map(|count| usize::try_from(count) == Ok(records.len())))
}
