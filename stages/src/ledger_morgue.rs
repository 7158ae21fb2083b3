//! Dead letters in the ledger, as the harness sees them.

use crate::faults::chain;
use domain::{PaymentKey, Tenant};
use runtime::drain::Drain;
use runtime::morgue::{Burial, Morgue};
use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use store::{DeadLetter, Store};

/// The open dead letters that this process knows of, and the way to write more.
#[derive(Clone)]
pub(crate) struct LedgerMorgue {
    store: Store,
    open: Arc<RwLock<HashSet<(String, String)>>>,
}

/// Tenant and id of a subject token. A token that names no payment is kept whole, so that it can be found.
fn parts(token: &str) -> (String, String) {
    match PaymentKey::from_token(token) {
        Ok(key) => (key.tenant.into(), key.id.into()),
        Err(_) => (Tenant::default().into(), token.to_owned()),
    }
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
    async fn bury(&self, burial: &Burial) -> Result<(), String> {
        let (tenant, id) = parts(&burial.token);
        let letter = DeadLetter {
            tenant: tenant.clone(),
            id: id.clone(),
            stage: burial.stage.as_str(),
            stream: burial.stream.clone(),
            seq: burial.seq,
            reason: burial.reason.clone(),
            payload: burial.payload.to_vec(),
        };
        self.store.bury(&letter).await.map_err(|error| chain(&error))?;
        self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert((tenant, id));
        Ok(())
    }

    fn is_dead(&self, token: &str) -> bool {
        let open = self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        !open.is_empty() && open.contains(&parts(token))
    }
}
