//! Putting the gateway together: connect, listen, serve, drain.

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::http::Routes;
use crate::payments::Payments;
use crate::status::StatusReader;
use runtime::broker::{Broker, BrokerError};
use runtime::config::{Config, PostgresConfig};
use runtime::drain::Drain;
use runtime::http::{BindError, BodyLimit, Check, Health, bind, serve, server_checks};
use runtime::telemetry::{Metrics, TelemetryError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Store, StoreError, StoreOptions};
use tokio::task::JoinSet;

/// Between two attempts to declare the streams.
const RETRY: Duration = Duration::from_millis(500);

/// Why the gateway cannot be started.
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

/// The ledger as each kind of request sees it. What one kind does to its connections is nothing to the others.
struct Ledgers {
    look_ups: Store,
    reads: Store,
    readiness: Store,
}

impl Ledgers {
    fn connect(config: &PostgresConfig) -> Result<Ledgers, StoreError> {
        let [acquire_timeout, statement_timeout, lock_timeout] =
            [config.acquire_timeout_ms, config.statement_timeout_ms, config.lock_timeout_ms].map(Duration::from_millis);
        let store = |name: &str, connections| {
            let name = format!("gateway {name}");
            Store::connect_lazily(&StoreOptions::for_service(
                &config.url,
                &name,
                connections,
                acquire_timeout,
                statement_timeout,
                lock_timeout,
            ))
        };
        // One look-up runs at a time, for a whole batch; the second connection is for when the first is lost.
        let look_ups = 2.min(config.connections_max.saturating_sub(1)).max(1);
        let reads = config.connections_max.saturating_sub(look_ups).max(1);
        Ok(Ledgers { look_ups: store("look-ups", look_ups)?, reads: store("reads", reads)?, readiness: store("readiness", 1)? })
    }

    async fn close(&self) {
        tokio::join!(self.look_ups.close(), self.reads.close(), self.readiness.close());
    }
}

/// Serves until the drain begins and the requests in flight are answered.
pub async fn run(config: Config, drain: Drain) -> Result<(), StartError> {
    let ledgers = Ledgers::connect(&config.postgres)?;
    let broker = Broker::connect(&config.nats, "kilat gateway").await?;
    let metrics = Metrics::new()?;
    let pinged = ledgers.readiness.clone();
    let mut checks = server_checks(broker.clone(), move || {
        let store = pinged.clone();
        async move { store.ping().await.is_ok() }
    });
    let is_declared = Arc::new(AtomicBool::new(false));
    checks.push(("intake", flag(is_declared.clone())));
    let (acceptor, accepting) =
        Acceptor::start(broker.clone(), ledgers.look_ups.clone(), config.pipeline.clone(), config.gateway.in_flight_max);
    tokio::spawn(supervise(accepting, drain.clone()));
    let admission = Arc::new(Admission::new(&config.gateway));
    let status = StatusReader { ledger: ledgers.reads.clone(), streams: broker.clone(), shards: config.pipeline.shards };
    let routes = Arc::new(Routes {
        health: Health { checks, drain: drain.clone(), metrics: metrics.clone() },
        admission: admission.clone(),
        payments: Payments { admission, acceptor, status, fresh_id: runtime::ids::fresh },
        broker: broker.clone(),
        store: ledgers.reads.clone(),
        body_limit: BodyLimit::of(&config.http),
        reply_timeout: Duration::from_millis(config.gateway.reply_timeout_ms),
    });
    let mut servers = JoinSet::new();
    for port in &config.gateway.ports {
        let listener = bind(config.http.host, *port, "gateway.ports").await?;
        servers.spawn(serve(listener, routes.clone(), config.http.clone(), metrics.clone(), drain.clone()));
    }
    tracing::info!(ports = ?config.gateway.ports, "started");
    let declaring = tokio::spawn(declare(broker, config, drain, is_declared));
    while let Some(ended) = servers.join_next().await {
        if let Err(failure) = ended {
            tracing::error!(%failure, "a listener panicked");
        }
    }
    declaring.abort();
    ledgers.close().await;
    Ok(())
}

/// A gateway whose acceptance has panicked must end, to be started again, rather than turn everyone away for ever.
async fn supervise(mut accepting: JoinSet<()>, drain: Drain) {
    while let Some(ended) = accepting.join_next().await {
        if let Err(failure) = ended {
            tracing::error!(%failure, "acceptance panicked: the process ends");
            drain.begin();
        }
    }
}

fn flag(flag: Arc<AtomicBool>) -> Check {
    Arc::new(move || {
        let is_set = flag.load(Ordering::Relaxed);
        Box::pin(async move { is_set })
    })
}

/// The intake must exist before the first payment, and again after its server has come back.
async fn declare(broker: Broker, config: Config, drain: Drain, is_declared: Arc<AtomicBool>) {
    let mut reconnects = broker.reconnects();
    while !drain.has_begun() {
        match broker.declare_all(&config.pipeline).await {
            Ok(()) => {
                is_declared.store(true, Ordering::Relaxed);
                if reconnects.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the streams cannot be declared yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
