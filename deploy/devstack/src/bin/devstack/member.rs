//! The members of the stack, in the order of starting.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use config::Config;
use wire::Role;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Member {
    Postgres,
    Nats,
    Stages,
    Gateway,
}

/// A port of a member, and the configuration key that sets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) key: &'static str,
}

impl Member {
    pub(crate) const ALL: [Self; 4] = [Self::Postgres, Self::Nats, Self::Stages, Self::Gateway];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Nats => "nats",
            Self::Stages => "stages",
            Self::Gateway => "gateway",
        }
    }

    pub(crate) fn is_service(self) -> bool {
        matches!(self, Self::Stages | Self::Gateway)
    }

    /// Where it is to listen; the first listener speaks the member's own protocol.
    pub(crate) fn listeners(self, config: &Config) -> Vec<Listener> {
        let local = |port: u16, key| Listener { address: devstack::loopback(port), key };
        let stack = &config.stack;
        let services = |roles: &[Role]| {
            let listeners = roles.iter().map(|role| config.listeners(*role));
            let listeners = listeners.flat_map(|(key, ports)| {
                ports.iter().map(move |port| (reachable(config.http.host, *port), key))
            });
            listeners.map(|(address, key)| Listener { address, key }).collect()
        };
        match self {
            Self::Postgres => vec![local(stack.postgres_port, "stack.postgres_port")],
            Self::Nats => {
                vec![
                    local(stack.nats_port, "stack.nats_port"),
                    local(stack.nats_monitor_port, "stack.nats_monitor_port"),
                ]
            }
            Self::Stages => services(Role::STAGES),
            Self::Gateway => services(&[Role::Gateway]),
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
            Self::Stages | Self::Gateway => {
                addresses.iter().all(|address| devstack::http_status(*address, "/readyz") == Some(200))
            }
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

/// A listener on all addresses is asked on the loopback address.
fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = if host.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { host };
    SocketAddr::new(host, port)
}
