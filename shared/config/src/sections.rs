//! Every setting, its unit and its default.

use domain::Currency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wire::Role;

/// The configuration of one process. Each process reads the sections that concern it; all are checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Ports of the private stack, from which the defaults of URLs and listeners follow.
    pub stack: StackConfig,
    /// The broker, and how long it is waited for.
    pub nats: NatsConfig,
    /// The ledger's database.
    pub postgres: PostgresConfig,
    /// Streams, batches and redelivery.
    pub pipeline: PipelineConfig,
    /// What all HTTP listeners share.
    pub http: HttpConfig,
    /// The HTTP border.
    pub gateway: GatewayConfig,
    /// The admin port of each role.
    pub admin: AdminConfig,
    /// Limits of risk.
    pub risk: RiskConfig,
    /// What a conversion costs, and which rates it may use.
    pub fx: FxConfig,
    /// Purge, re-drive and re-emission.
    pub janitor: JanitorConfig,
    /// What a process takes of the machine.
    pub process: ProcessConfig,
    /// Which log lines are written, and how they look.
    pub log: LogConfig,
    /// Metrics and traces, and where they are kept.
    pub telemetry: TelemetryConfig,
}

/// Ports of the private stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackConfig {
    /// Added to every default port, so that two checkouts can run at once.
    pub port_offset: u16,
    /// nats-server's client port.
    pub nats_port: u16,
    /// nats-server's monitoring port.
    pub nats_monitor_port: u16,
    /// The port that Postgres listens on.
    pub postgres_port: u16,
    /// Where spans are received by OTLP over HTTP.
    pub otlp_port: u16,
    /// The port that Prometheus listens on.
    pub prometheus_port: u16,
    /// The port that Grafana listens on, where it is installed.
    pub grafana_port: u16,
    /// The port of node-exporter, where it is installed.
    pub node_exporter_port: u16,
    /// The port of postgres-exporter, where it is installed.
    pub postgres_exporter_port: u16,
}

/// The broker, and how long it is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// Server addresses, separated by commas.
    pub url: String,
    /// How long an acknowledgement or a reply is waited for, in milliseconds.
    pub timeout_ms: u64,
}

/// The ledger's database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// As the application role, which cannot change what the ledger has written.
    pub url: String,
    /// As the owner of the schema; for `stages migrate` alone.
    pub owner_url: String,
    /// Connections of one role at most, one more that only readiness uses, and two more of the janitor's that
    /// only observe. A role that needs fewer opens fewer: with the default and one shard all roles and two
    /// gateways have 56 together.
    pub connections_max: u32,
    /// How long a free connection is waited for, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// The server ends a statement after this, in milliseconds.
    pub statement_timeout_ms: u64,
    /// How long a row that another transaction has locked is waited for, in milliseconds; well above the time
    /// that a batch of settle takes on a slow disk.
    pub lock_timeout_ms: u64,
}

/// Streams, batches and redelivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// How many shards the derived streams have.
    pub shards: u16,
    /// The largest batch a stage judges, in messages; an atomic batch may hold 1,000.
    pub batch_max: usize,
    /// A derived stream's bound, in messages.
    pub stream_messages_max: i64,
    /// A derived stream's bound, in bytes.
    pub stream_bytes_max: i64,
    /// The intake's bound, in bytes: the backlog of the worst outage to be survived.
    pub accepted_bytes_max: i64,
    /// The intake's bound, in messages; -1: none.
    pub accepted_messages_max: i64,
    /// Acknowledged messages that stay in a derived stream, for people to look at.
    pub keep_messages: u64,
    /// How often a stage trims its input to `keep_messages`, in milliseconds.
    pub trim_every_ms: u64,
    /// A delivery that is neither acknowledged nor reported in progress comes again after this, in
    /// milliseconds: what a process had in hand when it was killed goes to another one.
    pub ack_wait_ms: u64,
    /// Deliveries a consumer may have open, in messages.
    pub ack_pending_max: i64,
    /// The longest pause between two attempts of a stage in an outage, in milliseconds.
    pub retry_ms_max: u64,
    /// How often the open dead letters are read anew, in milliseconds.
    pub dead_refresh_ms: u64,
}

/// What all HTTP listeners share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address that every listener binds.
    pub host: std::net::IpAddr,
    /// Connections of one listener at most.
    pub connections_max: usize,
    /// Of those, connections of one peer at most: of an IPv4 address, or of a /64 of IPv6. More are closed at
    /// once.
    pub connections_per_peer_max: usize,
    /// Whether loopback is a peer like any other. On this machine many clients share it.
    pub loopback_is_a_peer: bool,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// The largest request head, in bytes.
    pub header_bytes_max: usize,
    /// How long a request head may take, and an idle connection may stay, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a request body may take, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long requests in flight may take after a signal to stop, in milliseconds.
    pub drain_ms: u64,
}

/// The HTTP border.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Every port answers every route.
    pub ports: Vec<u16>,
    /// Requests a second over all clients, and the burst.
    pub requests_per_second_max: u32,
    /// Requests in flight at most.
    pub in_flight_max: usize,
    /// The largest body of a request for many payments, in bytes; each of them may have `http.body_bytes_max`.
    pub batch_body_bytes_max: usize,
    /// How long a request-reply answer is waited for, in milliseconds.
    pub reply_timeout_ms: u64,
    /// Streams of events that are open at once at most, and never more than a quarter of
    /// `http.connections_max`: each holds a connection.
    pub event_streams_max: usize,
    /// Requests that wait for the end of a payment (`Prefer: wait`) at most, and never more than a quarter of
    /// `http.connections_max`: each holds a connection.
    pub waiters_max: usize,
    /// The folder that the page is read from at each request, for whoever works on it; empty: the page that is
    /// in the program.
    pub page_dir: String,
}

macro_rules! admin_ports {
    ($($(#[$doc:meta])* $key:ident: $role:ident = $port:literal),+ $(,)?) => {
        /// The admin port of each role.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct AdminConfig {
            $($(#[$doc])* pub $key: u16,)+
        }

        impl AdminConfig {
            pub(super) fn on(stack: &StackConfig) -> AdminConfig {
                AdminConfig { $($key: stack.shift($port)),+ }
            }
        }

        impl Config {
            /// Where a role listens: the key that says so, and the ports.
            pub fn listeners(&self, role: Role) -> (&'static str, &[u16]) {
                match role {
                    Role::Gateway => ("gateway.ports", &self.gateway.ports),
                    $(Role::$role => (concat!("admin.", stringify!($key)), std::slice::from_ref(&self.admin.$key)),)+
                }
            }
        }
    };
}

admin_ports! {
    /// `/rate` and `/convert` too.
    fx: Fx = 8082,
    /// `/balance/{id}` too.
    wallet: Wallet = 8083,
    /// `/score` too.
    risk: Risk = 8084,
    /// Health and metrics.
    reserve: Reserve = 8085,
    /// Health and metrics.
    settle: Settle = 8086,
    /// Health and metrics.
    janitor: Janitor = 8087,
}

/// Limits of risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskConfig {
    /// The largest single payment per currency, a decimal in major units.
    #[serde(deserialize_with = "decimals")]
    pub amount_max: BTreeMap<Currency, String>,
    /// The largest single payment in a currency not listed, in minor units.
    pub amount_minor_max_default: i64,
    /// The sliding window, in seconds.
    pub window_seconds: u32,
    /// Payments of one account within the window.
    pub window_count_max: u64,
    /// The sum of one account within the window, as a multiple of its currency's largest single payment.
    pub window_sum_max_multiple: i64,
}

/// What a conversion costs, and which rates it may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FxConfig {
    /// What a conversion costs, in basis points of the destination amount.
    pub spread_bps: u32,
    /// The oldest usable rate, in seconds; rates of the committed day file have no age.
    pub rate_age_seconds_max: i64,
    /// The oldest quote of a conversion that money is still held for, in seconds: one that has waited for
    /// longer on its way to reserve is refused.
    pub quote_age_seconds_max: i64,
    /// Destination currencies remembered, in accounts.
    pub account_cache_size: usize,
}

/// Purge, re-drive and re-emission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JanitorConfig {
    /// Between two rounds, in milliseconds.
    pub every_ms: u64,
    /// The intake keeps a payment this long after its row, in milliseconds. Shorter than a request lives, and
    /// a request may find the payment in neither: only for tests.
    pub purge_after_ms: u64,
    /// A payment without a trace is driven again after this, doubling with each time, in milliseconds.
    pub redrive_after_ms: u64,
    /// The longest pause between two re-drives, in milliseconds.
    pub redrive_after_ms_max: u64,
    /// Accepted payments that a round looks at, in messages.
    pub window_max: usize,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, one event a line.
    Text,
    /// For machines, one object a line.
    Json,
}

/// What a process takes of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// Threads that carry a process' work. 0: half as many as the machine has cores, at least one, since it
    /// shares them with the broker, the database and other processes.
    pub worker_threads: u16,
}

/// Which log lines are written, and how they look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A filter such as `info` or `info,runtime=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// Metrics and traces, and where they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Whether anything is recorded; off only to measure what recording costs.
    pub enabled: bool,
    /// Where spans are sent by OTLP over HTTP, such as `http://127.0.0.1:4318`; empty: there are no traces.
    pub otlp_endpoint: String,
    /// The share of payments that are traced of those whose client says nothing of it, from 0 to 1.
    pub sample_ratio: f64,
    /// Where Prometheus answers queries, such as `http://127.0.0.1:9090`; empty: there is none.
    pub prometheus_url: String,
    /// Where Grafana answers; empty: there is none.
    pub grafana_url: String,
    /// How often the janitor looks at the broker and the database, in milliseconds.
    pub observe_every_ms: u64,
    /// How old an entry is when it is audited, in milliseconds: longer than any transaction lives and than the
    /// clocks of processes differ, or the audit passes it by. A transaction lasts twice
    /// `postgres.acquire_timeout_ms` and `postgres.statement_timeout_ms` together at most: below that, entries
    /// that are posted slowly are seen by `loadtest verify` alone.
    pub audit_after_ms: u64,
}

/// Decimals per currency, written as text or as whole numbers. A fraction must be text: a float would not be
/// exact.
fn decimals<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Currency, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a decimal as text, e.g. \"5000.00\"")]
    enum Decimal {
        Text(String),
        Whole(u64),
    }
    let read = BTreeMap::<Currency, Decimal>::deserialize(deserializer)?;
    let text = |decimal| match decimal {
        Decimal::Text(text) => text,
        Decimal::Whole(number) => number.to_string(),
    };
    Ok(read.into_iter().map(|(currency, decimal)| (currency, text(decimal))).collect())
}
