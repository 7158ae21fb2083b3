//! Putting the gateway together: connect, listen, serve, drain.

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::routes::Routes;
use crate::status::StatusReader;
use runtime::broker::{Broker, BrokerError};
use runtime::config::Config;
use runtime::drain::Drain;
use runtime::http::{BindError, Check, Health, bind, serve, server_checks};
use runtime::telemetry::{Metrics, TelemetryError};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Store, StoreError, StoreOptions};
use tokio::task::{JoinHandle, JoinSet};

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
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// Serves until the drain begins and the requests in flight are answered.
pub async fn run(config: Config, drain: Drain) -> Result<(), StartError> {
    let postgres = &config.postgres;
    let (acquire_timeout, statement_timeout) =
        (Duration::from_millis(postgres.acquire_timeout_ms), Duration::from_millis(postgres.statement_timeout_ms));
    let options = StoreOptions::for_service(&postgres.url, "gateway", postgres.connections_max, acquire_timeout, statement_timeout);
    let store = Store::connect_lazily(&options)?;
    let broker = Broker::connect(&config.nats, "kilat gateway").await?;
    let metrics = Metrics::new()?;
    let pinged = store.clone();
    let mut checks = server_checks(broker.clone(), move || {
        let store = pinged.clone();
        async move { store.ping().await.is_ok() }
    });
    let is_declared = Arc::new(AtomicBool::new(false));
    checks.push(("intake", flag(is_declared.clone())));
    let (acceptor, accepting) = Acceptor::start(broker.clone(), store.clone(), config.pipeline.clone(), config.gateway.in_flight_max);
    tokio::spawn(supervise(accepting, drain.clone()));
    let routes = Arc::new(Routes {
        health: Health { checks, drain: drain.clone(), metrics: metrics.clone() },
        admission: Admission::new(
            NonZeroU32::new(config.gateway.requests_per_second_max).unwrap_or(NonZeroU32::MIN),
            config.gateway.in_flight_max,
        ),
        acceptor,
        status: StatusReader { store: store.clone(), broker: broker.clone(), shards: config.pipeline.shards },
        broker: broker.clone(),
        store: store.clone(),
        http: config.http.clone(),
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
    store.close().await;
    Ok(())
}

/// A gateway whose acceptance has panicked must end, to be started again, rather than turn everyone away for ever.
async fn supervise(accepting: JoinHandle<()>, drain: Drain) {
    if let Err(failure) = accepting.await {
        tracing::error!(%failure, "acceptance panicked: the process ends");
        drain.begin();
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
