//! Configuration of every process: defaults, then `kilat.toml`, then `KILAT_*` of the environment (`__` nests), then flags.
//!
//! It is loaded whole before any port opens. A bad value or an unknown key ends the process with [`EXIT_CONFIG`], naming it.

mod limits;
mod load;
mod redact;
mod sections;

pub use load::{ConfigError, EXIT_CONFIG, Flags, complain, load, load_or_exit, parse_command_line, print};
pub use sections::{
    AdminConfig, Config, FxConfig, GatewayConfig, HttpConfig, JanitorConfig, LogConfig, LogFormat, NatsConfig, PipelineConfig,
    PostgresConfig, RiskConfig, StackConfig,
};
