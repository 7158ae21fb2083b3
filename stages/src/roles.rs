//! Which parts each role is made of, and how they are started. Every match is exhaustive: a new role cannot be forgotten.

use crate::janitor::Janitor;
use crate::ledger_letters::LedgerLetters;
use crate::pipeline::fx::Fx;
use crate::pipeline::rate_book::RateBooks;
use crate::pipeline::reserve::Reserve;
use crate::pipeline::risk::Risk;
use crate::pipeline::settle::Settle;
use crate::pipeline::settle_rejected::SettleRejected;
use crate::pipeline::trimming;
use crate::pipeline::velocities::Velocities;
use crate::services::rates::RateService;
use crate::services::score::ScoreService;
use crate::services::wallet::Wallet;
use domain::Money;
use domain::risk::RiskLimits;
use runtime::broker::{Broker, BrokerError, JetStreamTransport, ServiceHandler};
use runtime::clock::Clock;
use runtime::config::{Config, RiskConfig};
use runtime::drain::Drain;
use runtime::harness::Harness;
use runtime::http::{Admin, BindError, Check, Health, NoService, bind, serve, server_checks};
use runtime::stage::Stage;
use runtime::telemetry::{Metrics, TelemetryError};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError, StoreOptions};
use tokio::task::JoinSet;
use wire::Role;
use wire::service::Endpoint;

/// Between two attempts of something that waits for a server.
const RETRY: Duration = Duration::from_millis(500);

/// Why the roles cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The database's URL is not one.
    #[error("postgres.url: {0}")]
    Store(#[from] StoreError),
    /// The broker's URL is not one.
    #[error("nats.url: {0}")]
    Broker(#[from] BrokerError),
    /// The metrics cannot be registered.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// What the parts of a role share.
#[derive(Clone)]
struct Context {
    config: Arc<Config>,
    broker: Broker,
    store: Store,
    metrics: Metrics,
    dead_letters: LedgerLetters,
    /// What readiness asks.
    checks: Vec<(&'static str, Check)>,
    drain: Drain,
}

/// Plays the roles until the drain begins and what is in hand is done.
pub async fn run(roles: &[Role], config: Config, drain: Drain) -> Result<(), StartError> {
    let postgres = &config.postgres;
    let [acquire_timeout, statement_timeout, lock_timeout] =
        [postgres.acquire_timeout_ms, postgres.statement_timeout_ms, postgres.lock_timeout_ms].map(Duration::from_millis);
    let connect = |name: &str, connections_max| {
        Store::connect_lazily(&StoreOptions::for_service(
            &postgres.url,
            name,
            connections_max,
            acquire_timeout,
            statement_timeout,
            lock_timeout,
        ))
    };
    // Readiness has a connection of its own: stages that are busy are not away, and probes take nothing from them.
    let (store, readiness) = (connect("stages", postgres.connections_max)?, connect("stages readiness", 1)?);
    let broker = Broker::connect(&config.nats, "kilat stages").await?;
    let pinged = readiness.clone();
    let checks = server_checks(broker.clone(), move || ping(pinged.clone()));
    let dead_letters = LedgerLetters::new(store.clone());
    let context = Context { config: Arc::new(config), broker, dead_letters, store, metrics: Metrics::new()?, checks, drain };
    let mut tasks = JoinSet::new();
    for role in roles {
        context.start(*role, &mut tasks).await?;
    }
    let refresh = Duration::from_millis(context.config.pipeline.dead_refresh_ms);
    tasks.spawn(context.dead_letters.clone().refresh(refresh, context.drain.clone()));
    tracing::info!(roles = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" "), "started");
    while let Some(ended) = tasks.join_next().await {
        if let Err(failure) = ended {
            tracing::error!(%failure, "a part panicked: the process ends, to be started again whole");
            context.drain.begin();
        }
    }
    tokio::join!(context.store.close(), readiness.close());
    Ok(())
}

impl Context {
    async fn start(&self, role: Role, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
        let admin = &self.config.admin;
        match role {
            Role::Risk => {
                let (limits, velocities) =
                    (Arc::new(risk_limits(&self.config.risk)), Arc::new(Velocities::new(self.config.risk.window_seconds)));
                let service = Arc::new(ScoreService { limits: limits.clone(), velocities: velocities.clone() });
                self.admin(role, admin.risk, "admin.risk", &[Endpoint::Score], service, tasks).await?;
                tasks.spawn(self.clone().risk(limits, velocities));
            }
            Role::Fx => {
                let rates = Arc::new(RateBooks::new(self.config.fx.rate_age_seconds_max));
                let service = Arc::new(RateService { rates: rates.clone() });
                let mut context = self.clone();
                context.checks.push(("rates", loaded(rates.clone())));
                context.admin(role, admin.fx, "admin.fx", &[Endpoint::Rate, Endpoint::Convert], service, tasks).await?;
                let (book, context) = (rates.clone(), self.clone());
                tasks.spawn(async move { book.follow(&context.broker, &context.drain).await });
                let cache = NonZeroUsize::new(self.config.fx.account_cache_size).unwrap_or(NonZeroUsize::MIN);
                for shard in 0..self.config.pipeline.shards {
                    let stage = Fx::new(rates.clone(), self.store.clone(), self.config.fx.spread_bps, cache);
                    self.stage(stage, shard, tasks);
                }
            }
            Role::Reserve => {
                self.admin(role, admin.reserve, "admin.reserve", &[], Arc::new(NoService), tasks).await?;
                for shard in 0..self.config.pipeline.shards {
                    self.stage(Reserve { ledger: self.store.apart() }, shard, tasks);
                }
            }
            Role::Settle => {
                self.admin(role, admin.settle, "admin.settle", &[], Arc::new(NoService), tasks).await?;
                for shard in 0..self.config.pipeline.shards {
                    self.stage(Settle { ledger: self.store.apart(), shard }, shard, tasks);
                    self.stage(SettleRejected { ledger: self.store.apart() }, shard, tasks);
                }
            }
            Role::Wallet => {
                let service = Arc::new(Wallet { store: self.store.apart() });
                let endpoints = &[Endpoint::Balance, Endpoint::Open, Endpoint::Deposit];
                self.admin(role, admin.wallet, "admin.wallet", endpoints, service, tasks).await?;
            }
            Role::Janitor => {
                self.admin(role, admin.janitor, "admin.janitor", &[], Arc::new(NoService), tasks).await?;
                let (config, pipeline) = (self.config.janitor.clone(), self.config.pipeline.clone());
                let janitor = Janitor::new(self.broker.clone(), self.store.clone(), config, pipeline, self.metrics.clone());
                tasks.spawn(janitor.run(Clock::wall(), self.drain.clone()));
            }
            Role::Gateway => {}
        }
        Ok(())
    }

    /// Risk judges nothing before it knows what accounts have sent lately.
    async fn risk(self, limits: Arc<RiskLimits>, velocities: Arc<Velocities>) {
        while let Err(error) = self.rebuild(&velocities).await {
            tracing::warn!(error, "velocities cannot be rebuilt yet");
            tokio::select! {
                () = self.drain.begun() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        let mut tasks = JoinSet::new();
        self.stage(Risk { limits, velocities }, 0, &mut tasks);
        while let Some(ended) = tasks.join_next().await {
            // The process ends with it, as with every other stage, rather than stand still without risk.
            if let Err(failure) = ended {
                std::panic::resume_unwind(failure.into_panic());
            }
        }
    }

    async fn rebuild(&self, velocities: &Velocities) -> Result<(), String> {
        self.broker.declare_all(&self.config.pipeline).await.map_err(|error| error.to_string())?;
        velocities.rebuild(&self.broker, &self.store, runtime::clock::now()).await.map_err(|error| crate::faults::chain(&error))
    }

    /// Starts a stage on its stream in one shard, and the upkeep of that stream.
    fn stage<S: Stage>(&self, stage: S, shard: u16, tasks: &mut JoinSet<()>) {
        let pipeline = self.config.pipeline.clone();
        let metrics = self.metrics.stage(S::NAME, shard);
        let transport = JetStreamTransport::new::<S>(self.broker.clone(), shard, pipeline.clone());
        tasks.spawn(trimming::follow(self.broker.clone(), S::input(shard), pipeline.clone(), metrics.clone(), self.drain.clone()));
        tasks.spawn(Harness::new(stage, transport, self.dead_letters.clone(), pipeline, metrics, Clock::wall(), self.drain.clone()).run());
    }

    /// Opens a role's admin port, and serves its endpoints there and by NATS.
    async fn admin<H: ServiceHandler>(
        &self,
        role: Role,
        port: u16,
        key: &'static str,
        endpoints: &'static [Endpoint],
        service: Arc<H>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StartError> {
        let http = self.config.http.clone();
        let listener = bind(http.host, port, key).await?;
        let admin = Arc::new(Admin { role, health: self.health(), endpoints, service: service.clone(), http: http.clone() });
        tasks.spawn(serve(listener, admin, http, self.metrics.clone(), self.drain.clone()));
        if !endpoints.is_empty() {
            let context = self.clone();
            tasks.spawn(async move {
                while !context.drain.has_begun() {
                    tokio::select! {
                        () = context.drain.begun() => return,
                        served = context.broker.serve(endpoints, &*service) => if let Err(error) = served {
                            tracing::warn!(%role, %error, "requests cannot be served");
                        },
                    }
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
        Ok(())
    }

    fn health(&self) -> Health {
        Health { checks: self.checks.clone(), drain: self.drain.clone(), metrics: self.metrics.clone() }
    }
}

/// Whether the rates are loaded: without them no payment gets through.
fn loaded(rates: Arc<RateBooks>) -> Check {
    Arc::new(move || {
        let is_loaded = rates.is_loaded();
        Box::pin(async move { is_loaded })
    })
}

async fn ping(store: Store) -> bool {
    store.ping().await.is_ok()
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
