//! What the janitor sees of the servers and of the ledger, for its own port alone: a stage that is stopped
//! cannot tell of its own backlog.
//!
//! The broker, the database and the audit each have a task and, of the ledger, a connection of their own, so
//! that an outage or a slow answer of one does not blind the others. What cannot be read any more is not
//! shown any more.

mod audit;
mod broker;
mod database;

use audit::Audit;
use host::{Host, Observers};
use runtime::drain::Drain;
use runtime::telemetry::{AuditMetrics, Observed};
use std::time::Duration;
use tokio::task::JoinSet;

/// A look ends after this, whatever it waits for.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// What could not be read anew for so long, or for so many periods, is not shown any more.
const LASTS: Duration = Duration::from_secs(30);
const LASTS_PERIODS: u32 = 3;

/// What is told of money lasts longer than several looks that fail one after the other: an alert of it must
/// not end because nobody could look.
const MONEY_LASTS: Duration = Duration::from_secs(120);

/// How long what is told of money is shown, where it is looked at so often.
pub(crate) fn money_lasts(every: Duration) -> Duration {
    MONEY_LASTS.max(every * LASTS_PERIODS)
}

/// Starts the observers.
pub(crate) fn start(host: &Host, ledgers: Observers, tasks: &mut JoinSet<()>) {
    let every = Duration::from_millis(host.config.telemetry.observe_every_ms);
    let lasts = LASTS.max(every * LASTS_PERIODS);
    let lasting = |shown: &[_], lasts| Observed::new(&host.metrics, shown, lasts);
    let observed = |shown: &[_]| lasting(shown, lasts);
    let streams = broker::StreamLooks {
        broker: host.broker.clone(),
        shards: host.config.pipeline.shards,
        observed: observed(broker::SHOWN),
    };
    tasks.spawn(again_and_again("broker", every, host.drain.clone(), async move || streams.look().await));
    let (ledger, figures) = (ledgers.figures, observed(database::SHOWN));
    tasks.spawn(again_and_again("database", every, host.drain.clone(), async move || {
        database::look(&ledger, &figures).await
    }));
    let age = Duration::from_millis(host.config.telemetry.audit_after_ms);
    let counted = AuditMetrics::new(&host.metrics);
    let audit = Audit::new(ledgers.audit, age, every, counted, lasting(audit::SHOWN, money_lasts(every)));
    tasks.spawn(audit.run(host.drain.clone()));
}

/// Looks again and again until the drain begins.
async fn again_and_again(
    what: &'static str,
    every: Duration,
    drain: Drain,
    look: impl AsyncFn() -> Result<(), String>,
) {
    let mut outage = Outage::none(what);
    while drain.sleep(every).await {
        let Some(outcome) = bounded(&drain, look()).await else { return };
        outage.tell(&outcome);
    }
}

/// A look, but no longer than [`LOOK_MAX`]; nothing when the drain begins.
async fn bounded<T>(
    drain: &Drain,
    look: impl Future<Output = Result<T, String>>,
) -> Option<Result<T, String>> {
    tokio::select! {
        biased;
        () = drain.begun() => None,
        outcome = tokio::time::timeout(LOOK_MAX, look) => {
            Some(outcome.unwrap_or_else(|_| Err(format!("no answer within {LOOK_MAX:?}"))))
        }
    }
}

/// Tells of an outage when it begins, and when it ends.
struct Outage {
    what: &'static str,
    is_told: bool,
}

impl Outage {
    fn none(what: &'static str) -> Outage {
        Outage { what, is_told: false }
    }

    fn tell<T>(&mut self, outcome: &Result<T, String>) {
        let what = self.what;
        match outcome {
            Ok(_) if self.is_told => tracing::info!("the janitor sees the {what} again"),
            Ok(_) => {}
            Err(error) if self.is_told => tracing::debug!(error, "the janitor still does not see the {what}"),
            Err(error) => tracing::warn!(error, "the janitor does not see the {what}"),
        }
        self.is_told = outcome.is_err();
    }
}
