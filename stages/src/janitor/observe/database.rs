//! The database's figures, and the dead letters that wait for someone.

use runtime::process::chain;
use runtime::telemetry::{Observed, Sample};
use signals::{Metric, metric};
use store::{DatabaseFigures, Store};

/// What a look tells.
pub(super) const SHOWN: &[Metric] = &[
    metric::DATABASE_BYTES,
    metric::TABLE_BYTES,
    metric::TABLE_ROWS,
    metric::WAL_BYTES,
    metric::TRANSACTIONS,
    metric::BLOCKS_READ,
    metric::LOCK_WAITS,
    metric::DEADLOCKS,
    metric::SESSIONS,
    metric::SESSIONS_MAX,
    metric::CHECKPOINTS,
    metric::OLDEST_TRANSACTION,
    metric::DEAD_LETTERS_OPEN,
];

pub(super) async fn look(ledger: &Store, observed: &Observed) -> Result<(), String> {
    let figures = ledger.figures().await.map_err(|error| chain(&error))?;
    observed.seen(samples(&figures));
    Ok(())
}

fn samples(figures: &DatabaseFigures) -> Vec<Sample> {
    let rows = [
        (metric::DATABASE_BYTES, figures.bytes),
        (metric::WAL_BYTES, figures.wal_bytes),
        (metric::LOCK_WAITS, figures.lock_waits),
        (metric::DEADLOCKS, figures.deadlocks),
        (metric::SESSIONS_MAX, figures.sessions_max),
        (metric::DEAD_LETTERS_OPEN, figures.dead_letters_open),
    ];
    let labelled = [
        (metric::TRANSACTIONS, "committed", figures.committed),
        (metric::TRANSACTIONS, "rolled_back", figures.rolled_back),
        (metric::BLOCKS_READ, "memory", figures.blocks_in_memory),
        (metric::BLOCKS_READ, "disk", figures.blocks_from_disk),
        (metric::CHECKPOINTS, "time", figures.checkpoints_timed),
        (metric::CHECKPOINTS, "request", figures.checkpoints_requested),
    ];
    let mut samples: Vec<Sample> =
        rows.into_iter().map(|(metric, value)| Sample::count(metric, [], value)).collect();
    samples.extend(
        labelled.into_iter().map(|(metric, label, value)| Sample::count(metric, [label.to_owned()], value)),
    );
    samples.extend(
        figures
            .sessions
            .iter()
            .map(|(state, count)| Sample::count(metric::SESSIONS, [state.to_string()], *count)),
    );
    for table in &figures.tables {
        let name = || table.name.to_owned();
        samples.push(Sample::count(metric::TABLE_BYTES, [name()], table.bytes));
        samples.push(Sample::count(metric::TABLE_ROWS, [name(), "live".to_owned()], table.live_rows));
        samples.push(Sample::count(metric::TABLE_ROWS, [name(), "dead".to_owned()], table.dead_rows));
    }
    samples.push(Sample::time(metric::OLDEST_TRANSACTION, [], figures.oldest_transaction));
    samples
}
