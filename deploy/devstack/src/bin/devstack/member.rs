//! The members of the stack, in the order of starting.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use config::Config;
use wire::Role;

use crate::monitoring;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Member {
    Postgres,
    Nats,
    /// Receives spans.
    Traces,
    Stages,
    Gateway,
    NodeExporter,
    PostgresExporter,
    /// After all that it scrapes.
    Prometheus,
    Grafana,
}

/// A port of a member, and the configuration key that sets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) key: &'static str,
}

impl Member {
    pub(crate) const ALL: [Self; 9] = [
        Self::Postgres,
        Self::Nats,
        Self::Traces,
        Self::Stages,
        Self::Gateway,
        Self::NodeExporter,
        Self::PostgresExporter,
        Self::Prometheus,
        Self::Grafana,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Nats => "nats",
            Self::Traces => "traces",
            Self::Stages => "stages",
            Self::Gateway => "gateway",
            Self::NodeExporter => "node-exporter",
            Self::PostgresExporter => "postgres-exporter",
            Self::Prometheus => "prometheus",
            Self::Grafana => "grafana",
        }
    }

    /// Whether it can be started here. What the stack does not need is left out where it is not installed.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::NodeExporter => devstack::find_program(monitoring::NODE_EXPORTER).is_some(),
            Self::PostgresExporter => devstack::find_program(monitoring::POSTGRES_EXPORTER).is_some(),
            Self::Grafana => monitoring::grafana().is_some(),
            Self::Postgres | Self::Nats | Self::Traces | Self::Stages | Self::Gateway | Self::Prometheus => {
                true
            }
        }
    }

    /// Whether the stack works without it.
    pub(crate) fn is_optional(self) -> bool {
        matches!(self, Self::NodeExporter | Self::PostgresExporter | Self::Grafana)
    }

    pub(crate) fn is_service(self) -> bool {
        matches!(self, Self::Stages | Self::Gateway)
    }

    /// Where it is to listen; the first listener speaks the member's own protocol.
    pub(crate) fn listeners(self, config: &Config) -> Vec<Listener> {
        let local = |port: u16, key| Listener { address: devstack::loopback(port), key };
        let stack = &config.stack;
        let services =
            |roles: &[Role]| roles.iter().flat_map(|role| listeners_of_role(config, *role)).collect();
        match self {
            Self::Postgres => vec![local(stack.postgres_port, "stack.postgres_port")],
            Self::Nats => {
                vec![
                    local(stack.nats_port, "stack.nats_port"),
                    local(stack.nats_monitor_port, "stack.nats_monitor_port"),
                ]
            }
            Self::Traces => vec![local(stack.otlp_port, "stack.otlp_port")],
            Self::Stages => services(Role::STAGES),
            Self::Gateway => services(&[Role::Gateway]),
            Self::NodeExporter => vec![local(stack.node_exporter_port, "stack.node_exporter_port")],
            Self::PostgresExporter => {
                vec![local(stack.postgres_exporter_port, "stack.postgres_exporter_port")]
            }
            Self::Prometheus => vec![local(stack.prometheus_port, "stack.prometheus_port")],
            Self::Grafana => vec![local(stack.grafana_port, "stack.grafana_port")],
        }
    }

    /// Whether it serves on these addresses, its own.
    pub(crate) fn is_ready(self, addresses: &[SocketAddr]) -> bool {
        let Some(first) = addresses.first() else { return false };
        match self {
            Self::Postgres => {
                let url = devstack::database_url(first.port(), "postgres");
                devstack::query(&url, "SELECT 1").is_ok()
            }
            Self::Nats => devstack::nats_answers(*first),
            Self::Traces => devstack::http_status(*first, "/").is_some(),
            Self::Stages | Self::Gateway => {
                addresses.iter().all(|address| devstack::http_status(*address, "/readyz") == Some(200))
            }
            Self::NodeExporter | Self::PostgresExporter => devstack::http_status(*first, "/") == Some(200),
            Self::Prometheus => devstack::prometheus_answers(*first),
            Self::Grafana => devstack::http_status(*first, "/api/health") == Some(200),
        }
    }

    /// How long it may take to serve: a server may have a crash to recover from, a service waits for both.
    pub(crate) fn start_patience(self) -> Duration {
        Duration::from_secs(if self.is_service() { 60 } else { 120 })
    }

    /// How it is asked to end: the polite shutdown of Postgres would wait for all clients to leave.
    pub(crate) fn stop_signal(self) -> devstack::Signal {
        if self == Self::Postgres { devstack::Signal::Interrupt } else { devstack::Signal::Terminate }
    }

    /// How long it may take to end: a service drains, a server writes a checkpoint.
    pub(crate) fn stop_grace(self) -> Duration {
        Duration::from_secs(if self.is_service() { 15 } else { 30 })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Where a role listens; every port of it answers the same.
pub(crate) fn listeners_of_role(config: &Config, role: Role) -> impl Iterator<Item = Listener> {
    let (key, ports) = config.listeners(role);
    ports.iter().map(move |port| Listener { address: reachable(config.http.host, *port), key })
}

/// A listener on all addresses is asked on the loopback address.
fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = if host.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { host };
    SocketAddr::new(host, port)
}
