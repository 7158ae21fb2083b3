//! The ledger, opened for reading long and seldom.

use crate::error::LoadtestError;
use config::Config;
use std::time::Duration;
use store::{Store, StoreOptions};

/// An invariant reads whole tables; on the largest ledger of a test machine that is minutes, not more.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Nothing here asks in parallel, save for a look at an account between two audits.
const CONNECTIONS_MAX: u32 = 2;

/// Opens the ledger and makes sure that it answers.
pub(crate) async fn open(config: &Config) -> Result<Store, LoadtestError> {
    let store = Store::connect_lazily(&StoreOptions {
        url: config.postgres.url.clone(),
        application_name: "loadtest".to_owned(),
        connections_max: CONNECTIONS_MAX,
        acquire_timeout: Duration::from_millis(config.postgres.acquire_timeout_ms),
        statement_timeout: STATEMENT_TIMEOUT,
        lock_timeout: Duration::from_millis(config.postgres.lock_timeout_ms),
        plans: store::Plans::Free,
    })?;
    store.ping().await?;
    Ok(store)
}
