//! Which parts each role is made of. The match is exhaustive: a new role cannot be forgotten.

use crate::janitor::{Janitor, observe};
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
use runtime::process::all_ended;
use runtime::telemetry::{JanitorMetrics, observe_process, observe_rates};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::{Role, StageName};

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
    let known = Known::new(&part.host.config);
    match part.host.role {
        Role::Risk => risk(part, known, tasks).await,
        Role::Fx => fx(part, known, tasks).await,
        Role::Reserve | Role::Settle => {
            part.serve(Arc::new(NoService), None, tasks).await?;
            start_stages(&part, &known, tasks);
            Ok(())
        }
        Role::Wallet => part.serve(Arc::new(Wallet { store: part.store.clone() }), None, tasks).await,
        Role::Janitor => janitor(part, tasks).await,
        // A program of its own.
        Role::Gateway => Ok(()),
    }
}

/// What the stages of a role know beside the ledger; its service answers from the same.
struct Known {
    limits: Arc<RiskLimits>,
    velocities: Arc<Velocities>,
    rates: Arc<RateBooks>,
}

impl Known {
    /// Nothing but the configuration.
    fn new(config: &Config) -> Known {
        Known {
            limits: Arc::new(risk_limits(&config.risk)),
            velocities: Arc::new(Velocities::new(config.risk.window_seconds)),
            rates: Arc::new(RateBooks::new(config.fx.rate_age_seconds_max)),
        }
    }
}

/// Starts every stage that the part's role plays.
fn start_stages(part: &Part, known: &Known, tasks: &mut JoinSet<()>) {
    part.refresh_dead_letters(tasks);
    let (config, store) = (&part.host.config, &part.store);
    for stage in StageName::ALL.into_iter().filter(|stage| Role::playing(*stage) == part.host.role) {
        match stage {
            StageName::Risk => part.stage(
                |_| Risk { limits: known.limits.clone(), velocities: known.velocities.clone() },
                tasks,
            ),
            StageName::Fx => part.stage(
                |_| Fx::new(known.rates.clone(), store.clone(), part.host.traces.clone(), &config.fx),
                tasks,
            ),
            StageName::Reserve => part.stage(
                |_| Reserve { ledger: store.apart(), quote_age_seconds_max: config.fx.quote_age_seconds_max },
                tasks,
            ),
            StageName::Settle => part.stage(|shard| Settle { ledger: store.apart(), shard }, tasks),
            StageName::SettleRejected => part.stage(|_| SettleRejected { ledger: store.apart() }, tasks),
        }
    }
}

async fn risk(part: Part, known: Known, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let service = ScoreService { limits: known.limits.clone(), velocities: known.velocities.clone() };
    part.serve(Arc::new(service), Some(("velocities", rebuilt(known.velocities.clone()))), tasks).await?;
    tasks.spawn(screen(part, known));
    Ok(())
}

/// Risk judges nothing before it knows what accounts have sent lately.
async fn screen(part: Part, known: Known) {
    let Host { broker, config, drain, .. } = &part.host;
    if !known.velocities.rebuild(broker, &part.store, &config.pipeline, runtime::clock::now(), drain).await {
        return;
    }
    let mut tasks = JoinSet::new();
    start_stages(&part, &known, &mut tasks);
    while let Some(ended) = tasks.join_next().await {
        // The process ends with it, as with every other stage, rather than stand still without risk.
        if let Err(failure) = ended {
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

async fn fx(part: Part, known: Known, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let spread_bps = part.host.config.fx.spread_bps;
    let service = Arc::new(RateService { rates: known.rates.clone(), spread_bps });
    part.serve(service, Some(("rates", loaded(known.rates.clone()))), tasks).await?;
    start_stages(&part, &known, tasks);
    let rates = known.rates.clone();
    observe_rates(&part.host.metrics, move || rates.figures(runtime::clock::now()));
    let (broker, drain) = (part.host.broker, part.host.drain);
    tasks.spawn(async move { known.rates.follow(&broker, &drain).await });
    Ok(())
}

async fn janitor(part: Part, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    part.serve(Arc::new(NoService), None, tasks).await?;
    let Part { host, store, .. } = part;
    if host.config.telemetry.enabled {
        let ledgers = host.open_observers()?;
        observe::start(&host, ledgers, tasks);
    }
    let every = Duration::from_millis(host.config.janitor.every_ms);
    let janitor = Janitor::new(
        host.broker,
        store,
        host.config.janitor.clone(),
        host.config.pipeline.clone(),
        JanitorMetrics::new(&host.metrics, observe::money_lasts(every)),
    );
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

/// Whether velocities are rebuilt: before that no payment is judged.
fn rebuilt(velocities: Arc<Velocities>) -> Check {
    Arc::new(move || {
        let are_rebuilt = velocities.are_rebuilt();
        Box::pin(async move { are_rebuilt })
    })
}

/// The limits in minor units. The configuration was checked when it was loaded.
fn risk_limits(config: &RiskConfig) -> RiskLimits {
    let caps = config
        .amount_max
        .iter()
        .filter_map(|(currency, cap)| Some((*currency, Money::parse_payable(cap, *currency).ok()?.minor)));
    RiskLimits {
        amount_max: caps.collect(),
        amount_max_default: config.amount_minor_max_default,
        count_max: config.window_count_max,
        sum_max_multiple: config.window_sum_max_multiple,
    }
}
