//! Configuration of every process: defaults, then `kilat.toml`, then `KILAT_*` of the environment (`__`
//! nests), then flags.
//!
//! It is loaded whole before any port opens. A bad value or an unknown key ends the process with
//! [`EXIT_CONFIG`], naming the variable, the flag or the line of the file as it was written.

mod sections;

mod defaults;

mod load;

mod error;
mod keys;
mod layers;
mod limits;
mod redact;

pub use error::ConfigError;
pub use layers::Flags;
pub use load::{EXIT_CONFIG, complain, is_written, load, load_or_exit, parse_command_line, print};
pub use sections::{
    AdminConfig, Config, FxConfig, GatewayConfig, HttpConfig, JanitorConfig, LogConfig, LogFormat,
    NatsConfig, PipelineConfig, PostgresConfig, ProcessConfig, RiskConfig, StackConfig, TelemetryConfig,
};
