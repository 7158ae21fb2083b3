//! Which parts each role is made of. The match is exhaustive: a new role cannot be forgotten.

use crate::janitor::Janitor;
use crate::part::Part;
use crate::pipeline::fx::Fx;
use crate::pipeline::rate_book::RateBooks;
use crate::pipeline::reserve::Reserve;
use crate::pipeline::risk::Risk;
use crate::pipeline::settle::Settle;
use crate::pipeline::settle_rejected::SettleRejected;
use crate::pipeline::velocities::Velocities;
use crate::services::rates::RateService;
use crate::services::score::ScoreService;
use crate::services::wallet::Wallet;
use domain::Money;
use domain::risk::RiskLimits;
use host::{Host, StartError};
use runtime::clock::Clock;
use runtime::config::{Config, RiskConfig};
use runtime::drain::Drain;
use runtime::http::{Check, NoService};
use runtime::process::chain;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::Role;

/// Between two attempts to read what accounts have sent lately.
const RETRY: Duration = Duration::from_millis(500);

/// Plays the roles until the drain begins and what is in hand is done.
pub async fn run(roles: &[Role], config: Config, drain: Drain) -> Result<(), StartError> {
    let config = Arc::new(config);
    let mut tasks = JoinSet::new();
    let mut hosts = Vec::with_capacity(roles.len());
    for role in roles {
        let part = Part::open(Host::open(*role, config.clone(), drain.clone()).await?)?;
        hosts.push(part.host.clone());
        start(part, &mut tasks).await?;
    }
    tracing::info!(roles = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" "), "started");
    while let Some(ended) = tasks.join_next().await {
        if let Err(failure) = ended {
            tracing::error!(%failure, "a part panicked: the process ends, to be started again whole");
            drain.begin();
        }
    }
    futures::future::join_all(hosts.iter().map(Host::close)).await;
    Ok(())
}

async fn start(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    match part.host.role {
        Role::Risk => risk(part, tasks).await,
        Role::Fx => fx(part, tasks).await,
        Role::Reserve => reserve(part, tasks).await,
        Role::Settle => settle(part, tasks).await,
        Role::Wallet => wallet(part, tasks).await,
        Role::Janitor => janitor(part, tasks).await,
        // A program of its own.
        Role::Gateway => Ok(()),
    }
}

async fn risk(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let config = &part.host.config.risk;
    let (limits, velocities) = (Arc::new(risk_limits(config)), Arc::new(Velocities::new(config.window_seconds)));
    let service = Arc::new(ScoreService { limits: limits.clone(), velocities: velocities.clone() });
    part.serve(service, None, tasks).await?;
    part.refresh_dead_letters(tasks);
    tasks.spawn(screen(part, limits, velocities));
    Ok(())
}

/// Risk judges nothing before it knows what accounts have sent lately.
async fn screen(part: Part, limits: Arc<RiskLimits>, velocities: Arc<Velocities>) {
    while let Err(error) = rebuild(&part, &velocities).await {
        tracing::warn!(error, "velocities cannot be rebuilt yet");
        if !part.host.drain.sleep(RETRY).await {
            return;
        }
    }
    let mut tasks = JoinSet::new();
    part.stage(Risk { limits, velocities }, 0, &mut tasks);
    while let Some(ended) = tasks.join_next().await {
        // The process ends with it, as with every other stage, rather than stand still without risk.
        if let Err(failure) = ended {
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

async fn rebuild(part: &Part, velocities: &Velocities) -> Result<(), String> {
    let broker = &part.host.broker;
    broker.declare_all(&part.host.config.pipeline).await.map_err(|error| chain(&error))?;
    velocities.rebuild(broker, &part.store, runtime::clock::now()).await.map_err(|error| chain(&error))
}

async fn fx(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let config = &part.host.config.fx;
    let rates = Arc::new(RateBooks::new(config.rate_age_seconds_max));
    part.serve(Arc::new(RateService { rates: rates.clone() }), Some(("rates", loaded(rates.clone()))), tasks).await?;
    part.refresh_dead_letters(tasks);
    let (book, host) = (rates.clone(), part.host.clone());
    tasks.spawn(async move { book.follow(&host.broker, &host.drain).await });
    let cache = NonZeroUsize::new(config.account_cache_size).unwrap_or(NonZeroUsize::MIN);
    for shard in part.shards() {
        let stage = Fx::new(rates.clone(), part.store.clone(), config.spread_bps, cache);
        part.stage(stage, shard, tasks);
    }
    Ok(())
}

async fn reserve(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(NoService), None, tasks).await?;
    part.refresh_dead_letters(tasks);
    for shard in part.shards() {
        part.stage(Reserve { ledger: part.store.apart() }, shard, tasks);
    }
    Ok(())
}

async fn settle(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(NoService), None, tasks).await?;
    part.refresh_dead_letters(tasks);
    for shard in part.shards() {
        part.stage(Settle { ledger: part.store.apart(), shard }, shard, tasks);
        part.stage(SettleRejected { ledger: part.store.apart() }, shard, tasks);
    }
    Ok(())
}

async fn wallet(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(Wallet { store: part.store.clone() }), None, tasks).await
}

async fn janitor(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(NoService), None, tasks).await?;
    let Part { host, store, .. } = part;
    let janitor = Janitor::new(host.broker, store, host.config.janitor.clone(), host.config.pipeline.clone(), host.metrics);
    tasks.spawn(janitor.run(Clock::wall(), host.drain));
    Ok(())
}

/// Whether the rates are loaded: without them no payment gets through.
fn loaded(rates: Arc<RateBooks>) -> Check {
    Arc::new(move || {
        let is_loaded = rates.is_loaded();
        Box::pin(async move { is_loaded })
    })
}

/// The limits in minor units. The configuration was checked when it was loaded.
fn risk_limits(config: &RiskConfig) -> RiskLimits {
    let caps = config.amount_max.iter().filter_map(|(currency, cap)| Some((*currency, Money::parse_payable(cap, *currency).ok()?.minor)));
    RiskLimits {
        amount_max: caps.collect(),
        amount_max_default: config.amount_minor_max_default,
        count_max: config.window_count_max,
        sum_max_multiple: config.window_sum_max_multiple,
    }
}
