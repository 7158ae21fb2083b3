//! One transaction of the ledger in memory from its BEGIN to its end, and again when it loses a race.

use crate::StoreError;
use crate::locks::Waiting;
use crate::memory::session::MemorySession;
use crate::memory::weather::{Begun, begin, pause};
use crate::memory::{Call, MemoryLedger, Place, Server, Step, objection};
use crate::transaction::{ATTEMPTS_MAX, Attempt, Broken};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A transaction that ends, rolled back, when this is dropped.
pub(super) struct Running {
    server: Arc<Server>,
    pub(super) number: u64,
}

impl Running {
    pub(super) fn begin(server: &Arc<Server>) -> Running {
        let number = server.state().transactions.begin();
        Running { server: Arc::clone(server), number }
    }

    /// Makes what it has written the ledger's.
    fn commit(&self) -> Result<(), Broken> {
        let mut state = self.server.state();
        let change = state.transactions.end(self.number).ok_or_else(objection::cut)?;
        change.into_iter().for_each(|change| state.tables.apply(change));
        Ok(())
    }

    /// The same when so much time has passed. Nobody hears of it.
    async fn commit_after(self, time: Duration) {
        pause(time).await;
        let _ = self.commit();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.state().transactions.end(self.number);
    }
}

impl MemoryLedger {
    /// Runs `body` in a transaction until it commits, as the store does: the first row that stays locked has
    /// it judged again without the rows that are locked, and all attempts have one deadline.
    pub(super) async fn transact<T, F>(
        &self,
        call: Call,
        body: impl Fn(MemorySession) -> F,
    ) -> Result<T, Broken>
    where
        F: Future<Output = Result<Attempt<T>, Broken>>,
    {
        let patience = self.server.patience * 2;
        let attempts = tokio::time::timeout(patience, self.attempt(call, body));
        attempts.await.unwrap_or_else(|_| Err(StoreError::Silent(patience).into()))
    }

    async fn attempt<T, F>(&self, call: Call, body: impl Fn(MemorySession) -> F) -> Result<T, Broken>
    where
        F: Future<Output = Result<Attempt<T>, Broken>>,
    {
        let mut waiting = Waiting::UntilTimeout;
        for attempt in 0..ATTEMPTS_MAX {
            match self.try_once(call, waiting, &body).await {
                Ok(Attempt::Commit(outcome) | Attempt::Nothing(outcome)) => return Ok(outcome),
                Err(Broken::RowLocked(_)) if waiting == Waiting::UntilTimeout => {
                    waiting = Waiting::Skipping;
                    continue;
                }
                Ok(Attempt::Again) => {}
                Err(broken) if broken.lost_a_race() => {}
                Err(broken) => return Err(broken),
            }
            tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
        }
        Err(StoreError::Contention(ATTEMPTS_MAX).into())
    }

    async fn try_once<T, F>(
        &self,
        call: Call,
        waiting: Waiting,
        body: &impl Fn(MemorySession) -> F,
    ) -> Result<Attempt<T>, Broken>
    where
        F: Future<Output = Result<Attempt<T>, Broken>>,
    {
        let begun = self.step(call, Place::Begin).await?;
        let running = Running::begin(&self.server);
        begun.answered().await?;
        let tried = body(MemorySession::new(self.clone(), call, waiting, running.number)).await?;
        if matches!(tried, Attempt::Commit(_)) {
            let begun = self.step(call, Place::Commit).await?;
            if begun.is_late {
                tokio::spawn(running.commit_after(begun.after));
                return Err(StoreError::Silent(begun.after).into());
            }
            running.commit()?;
            begun.answered().await?;
        }
        Ok(tried)
    }

    /// Lets a step come to the server.
    pub(super) async fn step(&self, call: Call, place: Place) -> Result<Begun, Broken> {
        begin(&*self.weather, Step { call, place }).await
    }
}
