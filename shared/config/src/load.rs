//! Reading the layers, checking them, and printing the result.

use crate::error::ConfigError;
use crate::layers::{Flags, Layers};
use crate::sections::{Config, StackConfig};
use crate::{keys, limits, redact};
use figment::error::{Actual, Kind};
use figment::providers::Serialized;
use figment::value::Value;
use serde::de::DeserializeOwned;
use std::io::Write;

/// The exit code of a bad configuration or command line (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: i32 = 64;

/// Loads and checks the configuration.
pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
    resolve(&layers(flags)?)
}

fn layers(flags: &Flags) -> Result<Layers, ConfigError> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Layers::read(flags, std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}

/// What is written, over the defaults, checked.
fn resolve(layers: &Layers) -> Result<Config, ConfigError> {
    let unshifted = Config::on(StackConfig::shifted(0));
    let defaults = Value::serialize(&unshifted).ok().and_then(Value::into_dict).unwrap_or_default();
    keys::check(layers, &defaults)?;
    // Ports follow from the offset, and URLs from the ports.
    let stack: StackConfig = over(layers, Serialized::default("stack", unshifted.stack), "stack")?;
    let stack = over(layers, Serialized::default("stack", StackConfig::shifted(stack.port_offset)), "stack")?;
    let config = over(layers, Serialized::defaults(Config::on(stack)), "")?;
    match wrong(&config) {
        Some((key, problem)) => Err(layers.wrong(&key, problem)),
        None => Ok(config),
    }
}

/// What is below a key when the layers lie over these defaults.
fn over<T: DeserializeOwned>(
    layers: &Layers,
    defaults: Serialized<impl serde::Serialize>,
    key: &str,
) -> Result<T, ConfigError> {
    let whole = layers.over(defaults);
    let read = if key.is_empty() { whole.extract() } else { whole.extract_inner(key) };
    read.map_err(|error| {
        let problem = match error.kind {
            Kind::UnknownVariant(found, known) => {
                format!("must be one of {}, not {found:?}", known.join(", "))
            }
            Kind::InvalidValue(Actual::Unsigned(number), _) => {
                format!("must be a smaller number, not {number}")
            }
            Kind::Message(problem) => problem,
            other => other.to_string(),
        };
        layers.wrong(&error.path.join("."), problem)
    })
}

/// What types alone cannot say: the first key that is wrong, and what it must be.
fn wrong(config: &Config) -> Option<(String, String)> {
    let relation = || limits::wrong_relation(config).map(|(key, problem)| (key.to_owned(), problem));
    relation().or_else(|| wrong_url(config)).or_else(|| wrong_folder(config)).or_else(|| {
        config.risk.amount_max.iter().find_map(|(currency, cap)| {
            let error = domain::Money::parse_payable(cap, *currency).err()?;
            Some((format!("risk.amount_max.{currency}"), error.to_string()))
        })
    })
}

/// A folder without a page would be told of by the first who asks for it, and not by the start.
fn wrong_folder(config: &Config) -> Option<(String, String)> {
    let folder = &config.gateway.page_dir;
    let is_page = folder.is_empty() || std::path::Path::new(folder).join("index.html").is_file();
    (!is_page).then(|| ("gateway.page_dir".to_owned(), "must be a folder with an index.html".to_owned()))
}

fn wrong_url(config: &Config) -> Option<(String, String)> {
    let postgres: [&str; 2] = ["postgres", "postgresql"];
    let databases =
        [("postgres.url", &config.postgres.url), ("postgres.owner_url", &config.postgres.owner_url)];
    let databases = databases.into_iter().map(|(key, url)| (key, url.as_str(), postgres));
    let brokers = config.nats.url.split(',').map(|address| ("nats.url", address, ["nats", "tls"]));
    // What receives spans and what answers queries is spoken to without TLS: it stands beside the process.
    let telemetry = &config.telemetry;
    let optional = [
        ("telemetry.otlp_endpoint", &telemetry.otlp_endpoint, ["http"; 2]),
        ("telemetry.prometheus_url", &telemetry.prometheus_url, ["http"; 2]),
        ("telemetry.grafana_url", &telemetry.grafana_url, ["http", "https"]),
    ];
    let optional = optional.into_iter().map(|(key, url, schemes)| (key, url.as_str(), schemes));
    let optional = optional.filter(|(_, url, _)| !url.is_empty());
    databases.chain(brokers).chain(optional).find_map(|(key, text, schemes)| {
        let problem = match url::Url::parse(text) {
            Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => return None,
            Ok(_) => format!("must be a URL of the form {}://host:port", schemes[0]),
            Err(error) => format!("is not a URL: {error}"),
        };
        Some((key.to_owned(), problem))
    })
}

/// Whether a setting is written anywhere, or its default stands.
pub fn is_written(flags: &Flags, key: &str) -> bool {
    layers(flags).is_ok_and(|layers| layers.is_written(key))
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

/// Prints the configuration in the format of its file, secrets left out. A reader that has gone has read
/// enough.
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
    shown.nats.url = redact::addresses(&shown.nats.url);
    for url in [&mut shown.postgres.url, &mut shown.postgres.owner_url] {
        *url = redact::database_url(url);
    }
    let telemetry = &mut shown.telemetry;
    let optional = [&mut telemetry.otlp_endpoint, &mut telemetry.prometheus_url, &mut telemetry.grafana_url];
    for url in optional.into_iter().filter(|url| !url.is_empty()) {
        *url = redact::addresses(url);
    }
    toml_edit::ser::to_string_pretty(&shown).unwrap_or_default()
}

/// A file, variables and flags, by what stands in them; the file is called kilat.toml in errors.
#[cfg(test)]
pub(crate) fn load_with(
    file: &str,
    variables: &[(&str, &str)],
    settings: &[&str],
) -> Result<Config, ConfigError> {
    let owned = |text: &&str| (*text).to_owned();
    let flags = Flags { config: None, overrides: settings.iter().map(owned).collect() };
    let folder = std::env::temp_dir().join(format!(
        "kilat-config-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("kilat.toml");
    std::fs::write(&path, file).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let read =
        Layers::read(&Flags { config: Some(path), ..flags }, variables).and_then(|layers| resolve(&layers));
    std::fs::remove_dir_all(&folder).unwrap();
    let place = format!("{}/", folder.display());
    read.map_err(|error| ConfigError { written: error.written.replace(&place, ""), ..error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_every_default_port_and_urls_follow() {
        let config =
            load_with("", &[("KILAT_STACK__PORT_OFFSET", "1000")], &["stack.postgres_port=5555"]).unwrap();
        assert_eq!((config.stack.nats_port, config.stack.postgres_port), (15222, 5555));
        assert_eq!(config.nats.url, "nats://127.0.0.1:15222");
        assert_eq!(config.postgres.url, "postgres://kilat_app@127.0.0.1:5555/kilat");
        assert_eq!((config.gateway.ports, config.admin.janitor), (vec![9080, 9081], 9087));
        let StackConfig { otlp_port, prometheus_port, grafana_port, .. } = config.stack;
        assert_eq!((otlp_port, prometheus_port, grafana_port), (5318, 10_090, 4000));
        assert_eq!((config.stack.node_exporter_port, config.stack.postgres_exporter_port), (10_100, 10_187));
    }

    #[test]
    fn flags_go_over_variables_and_those_over_the_file() {
        let file = "[fx]\nspread_bps = 1\nrate_age_seconds_max = 1\naccount_cache_size = 1\n[risk.amount_max]\nUSD = 5\n";
        let variables = [
            ("KILAT_FX__SPREAD_BPS", "2"),
            ("kilat_fx__rate_age_seconds_max", "2"),
            ("KILAT_", "x"),
            ("KILAT_DEEP", "1"),
            ("LANG", "C"),
        ];
        let config =
            load_with(file, &variables, &["fx.spread_bps=3", "log.filter=info,runtime=debug"]).unwrap();
        assert_eq!(
            (config.fx.spread_bps, config.fx.rate_age_seconds_max, config.fx.account_cache_size),
            (3, 2, 1)
        );
        assert_eq!((config.risk.amount_max.len(), config.log.filter.as_str()), (6, "info,runtime=debug"));
    }

    #[test]
    fn what_is_written_is_known_from_what_is_not() {
        let flags = Flags { config: None, overrides: vec!["telemetry.grafana_url=".to_owned()] };
        for (key, expected) in
            [("telemetry.grafana_url", true), ("telemetry.prometheus_url", false), ("telemetry", true)]
        {
            assert_eq!(is_written(&flags, key), expected, "{key}");
        }
    }

    /// Each mistake as a variable, in a file and as a flag.
    #[test]
    fn what_is_wrong_is_named_as_it_was_written() {
        let ports = "must be a list such as [8080, 8081], not \"8080,8081\"";
        let sections = "there is no such setting; the sections are admin, fx, gateway, http, janitor, log, nats, pipeline, postgres, process, risk, stack, telemetry";
        #[rustfmt::skip]
        let rows: [((&str, &str), &str, &str); 40] = [
            // Unknown keys.
            (("KILAT_FX__SPREAD", "40"), "KILAT_FX__SPREAD", "there is no such setting; did you mean KILAT_FX__SPREAD_BPS?"),
            (("KILAT_FX_SPREAD_BPS", "40"), "KILAT_FX_SPREAD_BPS", "there is no such setting; did you mean KILAT_FX__SPREAD_BPS?"),
            (("kilat_fx__spread", "40"), "kilat_fx__spread", "there is no such setting; did you mean KILAT_FX__SPREAD_BPS?"),
            (("file", "[log]\nfilter = 'warn'\n\n[fx]\n# Half.\nspread = 20\n"), "kilat.toml:6: fx.spread", "there is no such setting; did you mean fx.spread_bps?"),
            (("file", "fx.spread = 20"), "kilat.toml:1: fx.spread", "there is no such setting; did you mean fx.spread_bps?"),
            (("--set", "gateway.port=[1]"), "--set gateway.port", "there is no such setting; did you mean gateway.ports?"),
            (("--set", "gateway.nonsense=1"), "--set gateway.nonsense", "there is no such setting; gateway has batch_body_bytes_max, event_streams_max, in_flight_max, page_dir, ports, reply_timeout_ms, requests_per_second_max, waiters_max"),
            (("--set", "=5"), "--set ", "there is no such setting"),
            (("--set", ".fx.spread_bps=5"), "--set .fx.spread_bps", "there is no such setting"),
            (("--set", "fx.=5"), "--set fx.", "there is no such setting"),
            (("KILAT___FX__SPREAD_BPS", "3"), "KILAT___FX__SPREAD_BPS", "there is no such setting"),
            // Unknown sections.
            (("KILAT_NAT__URL", "nats://SECRET@h"), "KILAT_NAT__URL", "there is no such setting; did you mean KILAT_NATS__URL?"),
            (("file", "\n[gatway]\nin_flight_max = 3"), "kilat.toml:3: gatway.in_flight_max", "there is no such setting; did you mean gateway.in_flight_max?"),
            (("--set", "nonsense=1"), "--set nonsense", sections),
            // Of another kind.
            (("KILAT_GATEWAY__IN_FLIGHT_MAX", "many"), "KILAT_GATEWAY__IN_FLIGHT_MAX", "must be a whole number from 2 to 1000000, not \"many\""),
            (("KILAT_NATS", "nats://SECRET@h"), "KILAT_NATS", "is a section, set one of timeout_ms, url, e.g. KILAT_NATS__TIMEOUT_MS"),
            (("file", "[http]\nloopback_is_a_peer = 'yes'"), "kilat.toml:2: http.loopback_is_a_peer", "must be true or false, not \"yes\""),
            (("file", "[fx]\nspread_bps = 2.5"), "kilat.toml:2: fx.spread_bps", "must be a whole number from 0 to 9999, not 2.5"),
            (("--set", "stack.port_offset=-1"), "--set stack.port_offset", "must be from 0 to 47313, not -1"),
            (("--set", "postgres.url=5"), "--set postgres.url", "must be text"),
            (("--set", "log.format=xml"), "--set log.format", "must be one of text, json, not \"xml\""),
            // Bad lists.
            (("KILAT_GATEWAY__PORTS", "8080,8081"), "KILAT_GATEWAY__PORTS", ports),
            (("file", "[gateway]\nports = '8080,8081'"), "kilat.toml:2: gateway.ports", ports),
            (("--set", "gateway.ports=[8080, x]"), "--set gateway.ports", "each must be a whole number from 1 to 65535, not \"x\""),
            // Not even settings.
            (("--set", "gateway.ports"), "--set gateway.ports", "expected KEY=VALUE"),
            (("file", "[fx]\nspread_bps 40\n"), "kilat.toml:2", "expected `.`, `=`"),
            // Of the right kind, and yet not usable.
            (("file", "[risk]\namount_max.USD = '1.001'"), "kilat.toml:2: risk.amount_max.USD", "has more decimals than the currency"),
            (("--set", "risk.amount_max.XXX=1"), "--set risk.amount_max.XXX", "not a current ISO 4217 currency code of three capital letters"),
            (("--set", "risk.amount_max.USD=1.5"), "--set risk.amount_max.USD", "expected a decimal as text, e.g. \"5000.00\""),
            (("--set", "http.host=nowhere"), "--set http.host", "invalid IP address syntax"),
            (("--set", "pipeline.stream_bytes_max=18446744073709551615"), "--set pipeline.stream_bytes_max", "must be a smaller number, not 18446744073709551615"),
            (("--set", "postgres.owner_url=http://h/d"), "--set postgres.owner_url", "must be a URL of the form postgres://host:port"),
            (("--set", "telemetry.otlp_endpoint=https://h:4318"), "--set telemetry.otlp_endpoint", "must be a URL of the form http://host:port"),
            (("--set", "telemetry.prometheus_url=https://h:9090"), "--set telemetry.prometheus_url", "must be a URL of the form http://host:port"),
            (("--set", "telemetry.grafana_url=h"), "--set telemetry.grafana_url", "is not a URL: relative URL without a base"),
            (("--set", "gateway.page_dir=/nowhere"), "--set gateway.page_dir", "must be a folder with an index.html"),
            (("--set", "telemetry.sample_ratio=1.01"), "--set telemetry.sample_ratio", "must be a number from 0 to 1, not 1.01"),
            (("--set", "telemetry.sample_ratio=much"), "--set telemetry.sample_ratio", "must be a number from 0 to 1, not \"much\""),
            (("--set", "telemetry.enabled=yes"), "--set telemetry.enabled", "must be true or false, not \"yes\""),
            (("KILAT_NATS__URL", "nats://h,127.0.0.1"), "KILAT_NATS__URL", "is not a URL: relative URL without a base"),
        ];
        let missing = Flags { config: Some("nowhere.toml".into()), ..Flags::default() };
        assert_eq!(
            load(&missing).err(),
            Some(ConfigError::new("--config nowhere.toml", "there is no such file"))
        );
        for ((place, text), written, problem) in rows {
            let refused = match place {
                "file" => load_with(text, &[], &[]),
                "--set" => load_with("", &[], &[text]),
                variable => load_with("", &[(variable, text)], &[]),
            };
            assert_eq!(refused.err(), Some(ConfigError::new(written, problem)), "{place}: {text}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = [
            "postgres.url=postgres://u:SECRET@h/d",
            "postgres.owner_url=postgres://u@h/d?password=SECRET",
            "nats.url=nats://SECRET@h,nats://h2",
            "telemetry.otlp_endpoint=http://u:SECRET@h:4318",
            "telemetry.grafana_url=http://h?token=SECRET",
        ];
        let printed = to_redacted_toml(&load_with("", &[], &settings).unwrap());
        assert!(!printed.contains("SECRET"), "{printed}");
        for shown in ["postgres://u:***@h/d", "postgres://u@h/d?password=***", "nats://***@h,nats://h2"] {
            assert!(printed.contains(shown), "{shown}: {printed}");
        }
    }
}
