//! Reading the layers, checking them, and printing the result.

use super::sections::{Config, StackConfig};
use super::{limits, redact};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Deserialize;
use std::io::Write;
use std::path::PathBuf;

/// The exit code of a bad configuration or command line (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: i32 = 64;

/// The flags that every program of the project has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read this file instead of kilat.toml in the current folder.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Set one key, e.g. --set gateway.in_flight_max=100; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub overrides: Vec<String>,
}

/// Why there is no configuration. Each message names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A layer cannot be read, or a key is unknown or of the wrong type.
    #[error("{0}")]
    Layer(Box<figment::Error>),
    /// The file that a flag names is not there.
    #[error("--config: {0} does not exist")]
    NoFile(String),
    /// Not `key=value`.
    #[error("--set {0}: expected KEY=VALUE")]
    Override(String),
    /// A value that is of the right type and yet not usable.
    #[error("{key}: {problem}")]
    Value {
        /// The key, with dots.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// The ports as far as a layer names them; the rest follows from the offset.
#[derive(Debug, Default, Deserialize)]
struct StackLayer {
    port_offset: Option<u16>,
    nats_port: Option<u16>,
    nats_monitor_port: Option<u16>,
    postgres_port: Option<u16>,
}

/// Loads and checks the configuration.
pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
    let layers = layers(flags)?;
    let named = if layers.contains("stack") {
        layers.extract_inner("stack").map_err(Box::new).map_err(ConfigError::Layer)?
    } else {
        StackLayer::default()
    };
    let shifted = StackConfig::shifted(named.port_offset.unwrap_or(0));
    let stack = StackConfig {
        nats_port: named.nats_port.unwrap_or(shifted.nats_port),
        nats_monitor_port: named.nats_monitor_port.unwrap_or(shifted.nats_monitor_port),
        postgres_port: named.postgres_port.unwrap_or(shifted.postgres_port),
        ..shifted
    };
    let whole = Figment::from(Serialized::defaults(Config::on(stack))).merge(layers);
    let config = whole.extract().map_err(|error| ConfigError::Layer(Box::new(error)))?;
    check(&config)?;
    Ok(config)
}

fn layers(flags: &Flags) -> Result<Figment, ConfigError> {
    let default_file = PathBuf::from("kilat.toml");
    let file = match &flags.config {
        Some(path) if !path.is_file() => return Err(ConfigError::NoFile(path.display().to_string())),
        Some(path) => Some(path),
        None => Some(&default_file).filter(|path| path.is_file()),
    };
    let mut figment = file.map_or_else(Figment::new, |path| Figment::from(Toml::file_exact(path)));
    figment = figment.merge(Env::prefixed("KILAT_").split("__"));
    for text in &flags.overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| ConfigError::Override(text.clone()))?;
        let value: figment::value::Value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        figment = figment.merge(Serialized::default(key.trim(), value));
    }
    Ok(figment)
}

/// What types alone cannot say.
fn check(config: &Config) -> Result<(), ConfigError> {
    limits::check(config)?;
    check_urls(config)?;
    for (currency, cap) in &config.risk.amount_max {
        if let Err(error) = domain::Money::parse_payable(cap, *currency) {
            return Err(ConfigError::Value { key: "risk.amount_max", problem: format!("{currency} {error}") });
        }
    }
    Ok(())
}

fn check_urls(config: &Config) -> Result<(), ConfigError> {
    let url = |key: &'static str, text: &str, schemes: &[&str]| {
        let problem = match url::Url::parse(text) {
            Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => return Ok(()),
            Ok(_) => format!("must be a URL of the form {}://host:port", schemes.first().unwrap_or(&"")),
            Err(error) => format!("is not a URL: {error}"),
        };
        Err(ConfigError::Value { key, problem })
    };
    url("postgres.url", &config.postgres.url, &["postgres", "postgresql"])?;
    url("postgres.owner_url", &config.postgres.owner_url, &["postgres", "postgresql"])?;
    config.nats.url.split(',').try_for_each(|address| url("nats.url", address, &["nats", "tls"]))
}

/// Loads the configuration, or says what is wrong with it and exits with [`EXIT_CONFIG`].
pub fn load_or_exit(flags: &Flags) -> Config {
    load(flags).unwrap_or_else(|error| {
        complain(&error);
        std::process::exit(EXIT_CONFIG)
    })
}

/// Says what is wrong with the configuration. A reader that has gone misses it; the exit code stays.
pub fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr(), "bad configuration: {error}");
}

/// Prints the configuration in the format of its file, secrets left out. A reader that has gone has read enough.
pub fn print(config: &Config) -> std::process::ExitCode {
    let _ = writeln!(std::io::stdout(), "{}", to_redacted_toml(config));
    std::process::ExitCode::SUCCESS
}

/// Reads the command line; help goes out with 0, a bad flag with [`EXIT_CONFIG`].
pub fn parse_command_line<T: clap::Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        let code = if error.use_stderr() { EXIT_CONFIG } else { 0 };
        // Nothing is left to do when even the terminal is gone.
        let _ = error.print();
        std::process::exit(code)
    })
}

/// The configuration in the format of its file, secrets left out.
fn to_redacted_toml(config: &Config) -> String {
    let mut shown = config.clone();
    shown.nats.url = redact::broker_addresses(&shown.nats.url);
    for url in [&mut shown.postgres.url, &mut shown.postgres.owner_url] {
        *url = redact::database_url(url);
    }
    toml::to_string_pretty(&shown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(overrides: &[&str]) -> Result<Config, String> {
        let flags = Flags { config: None, overrides: overrides.iter().map(|text| (*text).to_owned()).collect() };
        load(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_offset_moves_every_default_port_and_urls_follow() {
        let config = with(&["stack.port_offset=1000", "stack.postgres_port=5555"]).unwrap();
        assert_eq!((config.stack.nats_port, config.stack.postgres_port), (15222, 5555));
        assert_eq!(config.nats.url, "nats://127.0.0.1:15222");
        assert_eq!(config.postgres.url, "postgres://kilat_app@127.0.0.1:5555/kilat");
        assert_eq!((config.gateway.ports, config.admin.janitor), (vec![9080, 9081], 9087));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("gateway.nonsense=1", "nonsense"),
            ("nonsense=1", "nonsense"),
            ("gateway.in_flight_max=many", "gateway.in_flight_max"),
            ("stack.port_offset=-1", "stack"),
            ("pipeline.batch_max=0", "pipeline.batch_max"),
            ("pipeline.keep_messages=65536", "pipeline.keep_messages"),
            ("fx.spread_bps=10000", "fx.spread_bps"),
            ("postgres.url=nonsense", "postgres.url"),
            ("postgres.owner_url=http://h/d", "postgres.owner_url"),
            ("nats.url=nats://h,127.0.0.1", "nats.url"),
            ("pipeline.stream_bytes_max=1000000", "pipeline.stream_bytes_max"),
            ("risk.amount_max.USD=1.001", "risk.amount_max"),
            ("risk.amount_max.XXX=1", "risk.amount_max"),
            ("gateway.ports", "KEY=VALUE"),
        ];
        for (set, named) in rows {
            let error = with(&[set]).expect_err(set);
            assert!(error.contains(named), "{set}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = with(&[
            "postgres.url=postgres://u:SECRET@h/d",
            "postgres.owner_url=postgres://u@h/d?password=SECRET",
            "nats.url=nats://SECRET@h,nats://h2",
        ]);
        let printed = to_redacted_toml(&config.unwrap());
        assert!(!printed.contains("SECRET"), "{printed}");
        for shown in ["postgres://u:***@h/d", "postgres://u@h/d?password=***", "nats://***@h,nats://h2"] {
            assert!(printed.contains(shown), "{shown}: {printed}");
        }
    }
}
