//! Which parts each role is made of. The match is exhaustive: a new role cannot be forgotten.

use crate::janitor::observe;
use crate::part::Part;
use crate::pipeline::rate_book::RateBooks;
use crate::pipeline::velocities::Velocities;
use crate::services::rates::RateService;
use crate::services::score::ScoreService;
use crate::services::wallet::Wallet;
use host::{Host, StartError};
use runtime::config::Config;
use runtime::drain::Drain;
use runtime::http::{Check, NoService};
use runtime::process::all_ended;
use runtime::telemetry::{observe_process, observe_rates};
use std::sync::Arc;
use tokio::task::JoinSet;
use wire::Role;

/// Plays the roles until the drain begins and what is in hand is done.
pub async fn run(roles: &[Role], config: Config, drain: Drain) -> Result<(), StartError> {
    let config = Arc::new(config);
    let mut tasks = JoinSet::new();
    let mut hosts = Vec::with_capacity(roles.len());
    for (place, role) in roles.iter().enumerate() {
        let part = Part::open(Host::open(*role, config.clone(), drain.clone()).await?)?;
        if place == 0 {
            observe_process(&part.host.metrics, "stages");
        }
        hosts.push(part.host.clone());
        start(part, &mut tasks).await?;
    }
    tracing::info!(roles = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" "), "started");
    all_ended(tasks, &drain).await;
    futures::future::join_all(hosts.iter().map(Host::close)).await;
    Ok(())
}

async fn start(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    match part.host.role {
        Role::Risk => risk(part, tasks).await,
        Role::Fx => fx(part, tasks).await,
        Role::Reserve | Role::Settle => {
            part.serve(Arc::new(NoService), None, tasks).await?;
            part.start_stages(tasks);
            Ok(())
        }
        Role::Wallet => part.serve(Arc::new(Wallet { store: part.store.clone() }), None, tasks).await,
        Role::Janitor => janitor(part, tasks).await,
        // A program of its own.
        Role::Gateway => Ok(()),
    }
}

async fn risk(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let known = part.workshop.known();
    let service = ScoreService { limits: known.limits.clone(), velocities: known.velocities.clone() };
    part.serve(Arc::new(service), Some(("velocities", rebuilt(known.velocities.clone()))), tasks).await?;
    part.start_stages(tasks);
    Ok(())
}

async fn fx(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let (rates, spread_bps) = (part.workshop.known().rates.clone(), part.host.config.fx.spread_bps);
    let service = Arc::new(RateService { rates: rates.clone(), spread_bps });
    part.serve(service, Some(("rates", loaded(rates.clone()))), tasks).await?;
    part.start_stages(tasks);
    let shown = rates.clone();
    observe_rates(&part.host.metrics, move || shown.figures(runtime::clock::now()));
    let (broker, drain) = (part.host.broker, part.host.drain);
    tasks.spawn(async move { rates.follow(&broker, &drain).await });
    Ok(())
}

async fn janitor(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(NoService), None, tasks).await?;
    if part.host.config.telemetry.enabled {
        let ledgers = part.host.open_observers()?;
        observe::start(&part.host, ledgers, tasks);
    }
    tasks.spawn(part.workshop.janitor(part.store));
    Ok(())
}

/// Whether the rates are loaded: without them no payment gets through.
fn loaded(rates: Arc<RateBooks>) -> Check {
    Arc::new(move || {
        let is_loaded = rates.is_loaded();
        Box::pin(async move { is_loaded })
    })
}

/// Whether velocities are rebuilt: before that no payment is judged.
fn rebuilt(velocities: Arc<Velocities>) -> Check {
    Arc::new(move || {
        let are_rebuilt = velocities.are_rebuilt();
        Box::pin(async move { are_rebuilt })
    })
}
