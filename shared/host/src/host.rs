//! Opening what a role works with, and closing it.

use crate::connections;
use crate::figures;
use crate::readiness::server_checks;
use runtime::broker::{Broker, BrokerError};
use runtime::config::{Config, PostgresConfig};
use runtime::drain::Drain;
use runtime::http::{BindError, Check, Health, bind};
use runtime::telemetry::{Connections, Metrics, PublishMetrics, TelemetryError, Traces, observe_connections};
use std::sync::Arc;
use std::time::Duration;
use store::{Plans, Store, StoreError, StoreOptions};
use tokio::net::TcpListener;
use wire::Role;

/// Why a role cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The database's URL is not one.
    #[error("postgres.url")]
    Store(#[from] StoreError),
    /// The broker's URL is not one.
    #[error("nats.url")]
    Broker(#[from] BrokerError),
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// Connections to the ledger that only observe it: one each, so that neither waits for the other.
#[derive(Debug, Clone)]
pub struct Observers {
    /// For figures of the database.
    pub figures: Store,
    /// For the audit, whose plans go by ranges.
    pub audit: Store,
}

/// What one role of a process works with. Nothing but the configuration and the drain is shared with the
/// other roles: what one does to its connections is nothing to the others, and its figures are its own.
#[derive(Clone)]
pub struct Host {
    /// The role.
    pub role: Role,
    /// The process' settings.
    pub config: Arc<Config>,
    /// The role's connections to the broker.
    pub broker: Broker,
    /// The role's metrics.
    pub metrics: Metrics,
    /// The role's part in the traces of payments.
    pub traces: Traces,
    /// The process' drain.
    pub drain: Drain,
    checks: Vec<(&'static str, Check)>,
    /// What the role works with; readiness and observers are apart, or a role at its bound would never show
    /// it.
    ledgers: Vec<Store>,
    readiness: Store,
}

impl Host {
    /// Opens what the role needs. Servers that are away are an outage to be waited for, and told of.
    pub async fn open(role: Role, config: Arc<Config>, drain: Drain) -> Result<Host, StartError> {
        // Readiness has a connection of its own: a role that is busy is not away, and probes take nothing
        // from it.
        let readiness = connect(&config.postgres, &format!("{role} readiness"), 1)?;
        let metrics = Metrics::new(role, config.telemetry.enabled)?;
        let traces = Traces::open(role, &config, &metrics);
        let publishing = PublishMetrics::new(&metrics);
        let broker = Broker::connect(&config.nats, &format!("kilat {role}"), Some(publishing)).await?;
        tokio::spawn(figures::tell(broker.clone(), metrics.clone(), drain.clone()));
        let checks = server_checks(role, broker.clone(), readiness.clone());
        Ok(Host { role, config, broker, metrics, traces, drain, checks, ledgers: Vec::new(), readiness })
    }

    /// How many connections to the ledger the role may open, beside the one that readiness has.
    pub fn connections_max(&self) -> u32 {
        connections::of(self.role, self.config.postgres.connections_max, self.config.pipeline.shards)
    }

    /// Opens a part of the role's connections to the ledger, called by the role and `name`.
    pub fn open_ledger(&mut self, name: &str, connections_max: u32) -> Result<Store, StartError> {
        let store =
            connect(&self.config.postgres, format!("{} {name}", self.role).trim_end(), connections_max)?;
        self.ledgers.push(store.clone());
        Ok(store)
    }

    /// Opens the connections that observe the ledger.
    pub fn open_observers(&self) -> Result<Observers, StartError> {
        let options = |name| {
            options(&self.config.postgres, &format!("{} {name}", self.role), connections::OF_AN_OBSERVER)
        };
        Ok(Observers {
            figures: Store::connect_lazily(&options("figures"))?,
            audit: Store::connect_lazily(&StoreOptions { plans: Plans::ByRange, ..options("audit") })?,
        })
    }

    /// Opens the role's ports, which show the connections to the ledger that it works with.
    pub async fn listen(&self) -> Result<Vec<TcpListener>, StartError> {
        let ledgers = self.ledgers.clone();
        observe_connections(&self.metrics, move || all_of(&ledgers));
        let (key, ports) = self.config.listeners(self.role);
        let mut listeners = Vec::with_capacity(ports.len());
        for port in ports {
            listeners.push(bind(self.config.http.host, *port, key).await?);
        }
        Ok(listeners)
    }

    /// The role's health: both servers, and what else it needs to be ready.
    pub fn health(&self, further: impl IntoIterator<Item = (&'static str, Check)>) -> Health {
        let checks = self.checks.iter().cloned().chain(further).collect();
        // The gateway's ports are for everyone, unless it listens to this machine alone.
        let has_log_level = self.role != Role::Gateway || self.config.http.host.is_loopback();
        Health { checks, drain: self.drain.clone(), metrics: self.metrics.clone(), has_log_level }
    }

    /// Closes the connections to the ledger, and has the last spans sent.
    pub async fn close(&self) {
        let ledgers =
            futures::future::join_all(self.ledgers.iter().chain([&self.readiness]).map(Store::close));
        tokio::join!(ledgers, self.traces.close());
    }
}

/// The connections of all these together. Between two readings of one pool one may have closed.
fn all_of(ledgers: &[Store]) -> Connections {
    let mut all = Connections { busy: 0, idle: 0, max: 0 };
    for figures in ledgers.iter().map(Store::connections) {
        all.busy += figures.open.saturating_sub(figures.idle);
        all.idle += figures.idle;
        all.max += figures.max;
    }
    all
}

fn connect(config: &PostgresConfig, name: &str, connections_max: u32) -> Result<Store, StoreError> {
    Store::connect_lazily(&options(config, name, connections_max))
}

fn options(config: &PostgresConfig, name: &str, connections_max: u32) -> StoreOptions {
    let [acquire_timeout, statement_timeout, lock_timeout] =
        [config.acquire_timeout_ms, config.statement_timeout_ms, config.lock_timeout_ms]
            .map(Duration::from_millis);
    StoreOptions::for_service(
        &config.url,
        name,
        connections_max,
        acquire_timeout,
        statement_timeout,
        lock_timeout,
    )
}
