//! The defaults, on the ports of a private stack.

use super::sections::{
    AdminConfig, Config, FxConfig, GatewayConfig, HttpConfig, JanitorConfig, LogConfig, LogFormat,
    NatsConfig, PipelineConfig, PostgresConfig, ProcessConfig, RiskConfig, StackConfig, TelemetryConfig,
};
use domain::Currency;
use std::collections::BTreeMap;

impl StackConfig {
    /// The defaults with every port moved by `port_offset`.
    pub fn shifted(port_offset: u16) -> StackConfig {
        let shift = |port: u16| port.saturating_add(port_offset);
        StackConfig {
            port_offset,
            nats_port: shift(14222),
            nats_monitor_port: shift(18222),
            postgres_port: shift(15432),
            otlp_port: shift(4318),
            prometheus_port: shift(9090),
            grafana_port: shift(3000),
            node_exporter_port: shift(9100),
            postgres_exporter_port: shift(9187),
        }
    }

    pub(super) fn shift(&self, port: u16) -> u16 {
        port.saturating_add(self.port_offset)
    }
}

impl Config {
    /// The defaults on a stack with these ports.
    pub fn on(stack: StackConfig) -> Config {
        Config {
            nats: NatsConfig { url: format!("nats://127.0.0.1:{}", stack.nats_port), timeout_ms: 5_000 },
            postgres: PostgresConfig::on(&stack),
            pipeline: PipelineConfig::default(),
            http: HttpConfig::default(),
            gateway: GatewayConfig::on(&stack),
            admin: AdminConfig::on(&stack),
            risk: RiskConfig::default(),
            fx: FxConfig {
                spread_bps: 25,
                rate_age_seconds_max: 24 * 60 * 60,
                quote_age_seconds_max: 60 * 60,
                account_cache_size: 100_000,
            },
            janitor: JanitorConfig::default(),
            process: ProcessConfig { worker_threads: 0 },
            // The broker's client tells of every attempt to connect; the broker module tells of the first.
            log: LogConfig { filter: "info,async_nats=warn".to_owned(), format: LogFormat::Text },
            telemetry: TelemetryConfig::default(),
            stack,
        }
    }
}

impl PostgresConfig {
    fn on(stack: &StackConfig) -> PostgresConfig {
        let database = |role: &str| format!("postgres://{role}@127.0.0.1:{}/kilat", stack.postgres_port);
        PostgresConfig {
            url: database("kilat_app"),
            owner_url: database("kilat_owner"),
            connections_max: 10,
            acquire_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
            lock_timeout_ms: 200,
        }
    }
}

impl GatewayConfig {
    fn on(stack: &StackConfig) -> GatewayConfig {
        let ports = [8080, 8081].map(|base| stack.shift(base)).to_vec();
        GatewayConfig {
            ports,
            requests_per_second_max: 100_000,
            in_flight_max: 4_096,
            batch_body_bytes_max: 2 << 20,
            reply_timeout_ms: 2_000,
            event_streams_max: 2_048,
            waiters_max: 1_024,
            page_dir: String::new(),
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig::on(&StackConfig::shifted(0))
    }
}

impl Default for PipelineConfig {
    fn default() -> PipelineConfig {
        PipelineConfig {
            shards: 1,
            batch_max: 512,
            stream_messages_max: 65_536,
            stream_bytes_max: 128 << 20,
            accepted_bytes_max: 8 << 30,
            accepted_messages_max: -1,
            keep_messages: 5_000,
            trim_every_ms: 500,
            // Kept each second. At 1 s no delivery came again yet, with eight busy loops beside an overload.
            ack_wait_ms: 3_000,
            ack_pending_max: 4_096,
            retry_ms_max: 2_000,
            dead_refresh_ms: 1_000,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            host: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            connections_max: 8_192,
            connections_per_peer_max: 1_024,
            loopback_is_a_peer: false,
            body_bytes_max: 16 << 10,
            header_bytes_max: 16 << 10,
            header_timeout_ms: 30_000,
            body_timeout_ms: 10_000,
            drain_ms: 10_000,
        }
    }
}

impl Default for RiskConfig {
    fn default() -> RiskConfig {
        RiskConfig {
            amount_max: default_amount_caps(),
            amount_minor_max_default: domain::money::AMOUNT_MINOR_MAX,
            window_seconds: 60,
            window_count_max: 1_000_000,
            window_sum_max_multiple: 1_000,
        }
    }
}

impl Default for JanitorConfig {
    fn default() -> JanitorConfig {
        JanitorConfig {
            every_ms: 1_000,
            purge_after_ms: 60_000,
            redrive_after_ms: 30_000,
            redrive_after_ms_max: 600_000,
            window_max: 200_000,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> TelemetryConfig {
        TelemetryConfig {
            enabled: true,
            otlp_endpoint: String::new(),
            sample_ratio: 0.01,
            prometheus_url: String::new(),
            grafana_url: String::new(),
            observe_every_ms: 2_000,
            audit_after_ms: 60_000,
        }
    }
}

/// About ten million euros each at the rates of the committed day file.
fn default_amount_caps() -> BTreeMap<Currency, String> {
    let caps = [
        ("EUR", "10000000"),
        ("USD", "11000000"),
        ("GBP", "8000000"),
        ("JPY", "1700000000"),
        ("IDR", "200000000000"),
        ("KWD", "3300000"),
    ];
    caps.into_iter()
        .filter_map(|(code, cap)| Currency::parse(code).ok().map(|currency| (currency, cap.to_owned())))
        .collect()
}
