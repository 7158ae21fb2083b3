//! Dead letters in the ledger, as the harness sees them.

use crate::faults::chain;
use runtime::drain::Drain;
use runtime::morgue::{Burial, BurialError, Morgue};
use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use store::{DeadLetter, Store};
use wire::dead_letter;

/// The open dead letters that this process knows of, and the way to write more.
#[derive(Clone)]
pub(crate) struct LedgerMorgue {
    store: Store,
    open: Arc<RwLock<HashSet<(String, String)>>>,
}

impl LedgerMorgue {
    /// A morgue that knows of nothing yet.
    pub(crate) fn new(store: Store) -> LedgerMorgue {
        LedgerMorgue { store, open: Arc::default() }
    }

    /// Reads the open dead letters anew every so often, until the drain begins: someone may have worked some off.
    pub(crate) async fn refresh(self, every: Duration, drain: Drain) {
        while !drain.has_begun() {
            match self.store.open_dead_letters().await {
                Ok(read) => *self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner) = read,
                Err(error) => tracing::debug!(error = chain(&error), "dead letters cannot be read"),
            }
            tokio::select! {
                () = drain.begun() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

impl Morgue for LedgerMorgue {
    async fn bury(&self, burial: &Burial) -> Result<(), BurialError> {
        let (tenant, id) = dead_letter::key(&burial.token);
        let letter = DeadLetter {
            tenant: tenant.clone(),
            id: id.clone(),
            stage: burial.stage.as_str(),
            stream: burial.stream.clone(),
            seq: burial.seq,
            reason: burial.reason.clone(),
            payload: burial.payload.to_vec(),
        };
        self.store.bury(&letter).await.map_err(|error| match error.is_outage() {
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
