//! One way to run a transaction: in a task that nobody cancels, again when it loses a race.

use crate::error::lost_a_race;
use crate::{Store, StoreError};
use sqlx::{Postgres, Transaction};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How often a batch is judged again before its caller hears of it. Locks are taken in one order, so losing even once
/// takes an outsider; ten losses in a row are an outage.
const ATTEMPTS_MAX: u32 = 10;

/// How one attempt ended.
pub(crate) enum Attempt<T> {
    /// Everything expected was written: commit.
    Commit(T),
    /// Nothing is to be written: end the transaction without effect.
    Nothing(T),
    /// Fewer rows were written than judged: someone was faster. Roll back and judge again.
    Again,
}

type Step<'t, T> = Pin<Box<dyn Future<Output = Result<Attempt<T>, StoreError>> + Send + 't>>;

impl Store {
    /// Runs `body` over `input` in a transaction until it commits.
    pub(crate) async fn transact<I, T, F>(&self, input: I, body: F) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Transaction<'static, Postgres>, &'t I) -> Step<'t, T> + Send + Sync + 'static,
    {
        let pool = self.pool.clone();
        let input = Arc::new(input);
        let task = tokio::spawn(async move {
            for attempt in 0..ATTEMPTS_MAX {
                let mut transaction = pool.begin().await?;
                match body(&mut transaction, &input).await {
                    Ok(Attempt::Commit(outcome)) => {
                        transaction.commit().await?;
                        return Ok(outcome);
                    }
                    Ok(Attempt::Nothing(outcome)) => {
                        transaction.rollback().await?;
                        return Ok(outcome);
                    }
                    Ok(Attempt::Again) => transaction.rollback().await?,
                    Err(StoreError::Unavailable(error)) if lost_a_race(&error) => transaction.rollback().await?,
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
            }
            Err(StoreError::Contention(ATTEMPTS_MAX))
        });
        // Five statements at most. When the wait ends the task goes on, never cancelled; whoever tries again meets its locks.
        match tokio::time::timeout(self.patience * 2, task).await {
            Ok(ended) => ended.unwrap_or_else(|failure| Err(StoreError::Panicked(failure.to_string()))),
            Err(_) => Err(StoreError::Silent(self.patience * 2)),
        }
    }
}
