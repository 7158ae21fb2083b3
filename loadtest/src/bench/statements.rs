//! Round trips to the ledger, counted by Postgres itself in a pass of its own: counting costs, so it is switched
//! on when everything has been timed.

use super::counters::row;
use super::figures::{ratio, rounded};
use super::pgbench::Client;
use super::stack::Stack;
use crate::error::LoadtestError;
use crate::replay::script::Script;
use crate::replay::{self, Edge};
use config::Config;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use store::Store;

/// Of all sessions of the services' role, the beginnings and ends of transactions included.
const CALLS: &str = "SELECT coalesce(sum(calls), 0)::bigint AS calls FROM pg_stat_statements \
                     WHERE userid = current_user::regrole";

#[derive(Debug, Clone, Copy, Deserialize)]
struct Calls {
    calls: u64,
}

/// Starts Postgres with its counter of statements.
pub(crate) async fn start_counting(
    stack: &Stack,
    client: &Client,
    database: &str,
) -> Result<(), LoadtestError> {
    client.sql("postgres", &["ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"]).await?;
    stack.restart_postgres().await?;
    // It waits until the services are back.
    stack.up().await?;
    client.sql(database, &["CREATE EXTENSION IF NOT EXISTS pg_stat_statements"]).await
}

/// Round trips of a payment, flat out; the warm-up has made the plans.
pub(crate) async fn round_trips_per_payment(
    config: &Config,
    store: &Store,
    csv: &Path,
    connections: u16,
) -> Result<f64, LoadtestError> {
    let script = Arc::new(Script::read(csv)?);
    let arguments = replay::Arguments::of(csv.to_owned(), connections, None, None);
    let mut seen: Vec<Result<Calls, LoadtestError>> = Vec::new();
    let summary =
        replay::play(&arguments, &script, config, async |_: Edge| seen.push(row(store, CALLS).await)).await?;
    let calls: Vec<u64> =
        seen.into_iter().map(|seen| seen.map(|calls| calls.calls)).collect::<Result<_, _>>()?;
    let [first, last] = *calls.first_chunk().unwrap_or(&[0, 0]);
    Ok(rounded(ratio(last.saturating_sub(first) as f64, summary.report.settled as f64), 4))
}
