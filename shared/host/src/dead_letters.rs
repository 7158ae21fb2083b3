//! Dead letters in the ledger, as the harness sees them.

use runtime::dead_letters::{BurialError, DeadLetter, DeadLetters};
use runtime::drain::Drain;
use runtime::process::chain;
use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use store::{DeadLetterLedger, Store};
use wire::dead_letter;

/// The open dead letters that this process knows of, and the way to write more.
#[derive(Clone)]
pub struct LedgerLetters<L = Store> {
    ledger: L,
    open: Arc<RwLock<HashSet<(String, String)>>>,
}

impl<L: DeadLetterLedger> LedgerLetters<L> {
    /// None is known yet.
    pub fn new(ledger: L) -> LedgerLetters<L> {
        LedgerLetters { ledger, open: Arc::default() }
    }

    /// Reads the open dead letters anew every so often, until the drain begins: someone may have worked some
    /// off.
    pub async fn refresh(self, every: Duration, drain: Drain) {
        loop {
            match self.ledger.open_dead_letters().await {
                Ok(read) => *self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner) = read,
                Err(error) => tracing::debug!(error = chain(&error), "dead letters cannot be read"),
            }
            if !drain.sleep(every).await {
                return;
            }
        }
    }
}

impl<L: DeadLetterLedger> DeadLetters for LedgerLetters<L> {
    async fn write(&self, letter: &DeadLetter) -> Result<(), BurialError> {
        let (tenant, id) = dead_letter::key(&letter.token);
        let row = store::DeadLetter {
            tenant: tenant.clone(),
            id: id.clone(),
            stage: letter.stage.as_str(),
            stream: letter.stream.clone(),
            seq: letter.seq,
            reason: letter.reason.clone(),
            payload: letter.payload.to_vec(),
        };
        self.ledger.bury(&row).await.map_err(|error| match error.is_outage() {
            true => BurialError::Outage(chain(&error)),
            false => BurialError::Objection(chain(&error)),
        })?;
        self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert((tenant, id));
        Ok(())
    }

    fn is_dead(&self, token: &str) -> bool {
        let open = self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        !open.is_empty() && open.contains(&dead_letter::key(token))
    }
}
