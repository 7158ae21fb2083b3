//! What each number of the configuration must be: a value that stops everything is a mistake to be told at
//! the start.

use crate::sections::Config;
use wire::limits::{BATCH_MAX, MESSAGE_BYTES_MAX};

/// For numbers that only their type bounds.
const ANY: i128 = i128::MAX;

/// A message is at most so much larger than the request's body: 2 KiB when it is accepted, and 2 KiB for each
/// of the three stages that add to it.
const ADDED_BYTES_MAX: i128 = 8 << 10;

/// What a stream takes beyond the largest body, so that no message that was let in is ever too large for the
/// next stream.
const MESSAGE_HEADROOM_BYTES: i128 = 16 << 10;

/// The highest default port is 18222: moved by more than this it would be no port.
const PORT_OFFSET_MAX: i128 = 65_535 - 18_222;

/// Whole days that a duration or a window may have, so that no sum of times overflows.
const DAY_SECONDS: i128 = 24 * 60 * 60;
const DAY_MS: i128 = DAY_SECONDS * 1_000;

/// Every number: its key, the least value that is of use, and the greatest that does no harm. Of a list, each
/// item.
#[rustfmt::skip]
const LIMITS: [(&str, i128, i128); 62] = [
    ("stack.port_offset", 0, PORT_OFFSET_MAX),
    ("stack.nats_port", 1, 65_535),
    ("stack.nats_monitor_port", 1, 65_535),
    ("stack.postgres_port", 1, 65_535),
    ("stack.otlp_port", 1, 65_535),
    ("stack.prometheus_port", 1, 65_535),
    ("stack.grafana_port", 1, 65_535),
    ("stack.node_exporter_port", 1, 65_535),
    ("stack.postgres_exporter_port", 1, 65_535),
    // A request asks the ledger, then the broker. As they come, together less than the minute after which the
    // intake forgets what has a row, or a payment could seem to be in neither.
    ("nats.timeout_ms", 100, 10_000),
    ("postgres.acquire_timeout_ms", 100, 10_000),
    ("postgres.statement_timeout_ms", 100, 30_000),
    // Longer than a batch of settle holds its locks, or payments would seem locked by nothing but traffic.
    ("postgres.lock_timeout_ms", 10, 10_000),
    // The gateway looks ids up on one part of them, and reads on the other.
    ("postgres.connections_max", 2, 10_000),
    // Each shard is four streams in memory, all declared at every start.
    ("pipeline.shards", 1, 256),
    ("pipeline.batch_max", 1, BATCH_MAX as i128),
    ("pipeline.stream_messages_max", 2, ANY),
    ("pipeline.stream_bytes_max", 1, ANY),
    ("pipeline.accepted_bytes_max", 1, ANY),
    ("pipeline.accepted_messages_max", -1, ANY),
    ("pipeline.keep_messages", 0, ANY),
    ("pipeline.trim_every_ms", 10, 3_600_000),
    ("pipeline.ack_wait_ms", 100, 3_600_000),
    // Risk remembers up to 100,000 sequences that came out of order.
    ("pipeline.ack_pending_max", 1, 100_000),
    ("pipeline.retry_ms_max", 10, 60_000),
    ("pipeline.dead_refresh_ms", 10, 60_000),
    // A scrape, a probe and a few clients at once.
    ("http.connections_max", 8, 1_000_000),
    ("http.connections_per_peer_max", 2, 1_000_000),
    // A plain payment has some 300 bytes, and ids and accounts of full length double that.
    ("http.body_bytes_max", 1_024, MESSAGE_BYTES_MAX as i128 - MESSAGE_HEADROOM_BYTES),
    // The HTTP library's own least; each connection may take the greatest.
    ("http.header_bytes_max", 8_192, 1 << 20),
    ("http.header_timeout_ms", 100, 600_000),
    ("http.body_timeout_ms", 100, 600_000),
    ("http.drain_ms", 100, 600_000),
    ("gateway.ports", 1, 65_535),
    ("gateway.requests_per_second_max", 1, ANY),
    ("gateway.in_flight_max", 2, 1_000_000),
    // At the least a few payments, at the greatest 500 of the usual largest body twice over.
    ("gateway.batch_body_bytes_max", 1_024, 16 << 20),
    ("gateway.reply_timeout_ms", 10, 60_000),
    ("gateway.event_streams_max", 1, 1_000_000),
    ("gateway.waiters_max", 1, 1_000_000),
    ("admin.fx", 1, 65_535),
    ("admin.wallet", 1, 65_535),
    ("admin.risk", 1, 65_535),
    ("admin.reserve", 1, 65_535),
    ("admin.settle", 1, 65_535),
    ("admin.janitor", 1, 65_535),
    ("risk.amount_minor_max_default", 1, domain::money::AMOUNT_MINOR_MAX as i128),
    // Risk reads a whole window before it begins.
    ("risk.window_seconds", 1, DAY_SECONDS),
    ("risk.window_count_max", 1, ANY),
    ("risk.window_sum_max_multiple", 1, ANY),
    ("fx.spread_bps", 0, domain::fx::BASIS_POINTS as i128 - 1),
    ("fx.rate_age_seconds_max", 1, 3_650 * DAY_SECONDS),
    ("fx.quote_age_seconds_max", 1, 3_650 * DAY_SECONDS),
    ("fx.account_cache_size", 1, 10_000_000),
    ("janitor.every_ms", 10, 60_000),
    ("janitor.purge_after_ms", 0, 7 * DAY_MS),
    ("janitor.redrive_after_ms", 0, DAY_MS),
    ("janitor.redrive_after_ms_max", 1, DAY_MS),
    ("janitor.window_max", 1, 10_000_000),
    ("process.worker_threads", 0, 1_024),
    ("telemetry.observe_every_ms", 10, 60_000),
    ("telemetry.audit_after_ms", 0, DAY_MS),
];

/// Every number that need not be whole, and its limits.
const FRACTIONS: [(&str, f64, f64); 1] = [("telemetry.sample_ratio", 0.0, 1.0)];

/// The numbers that follow from others: the key, whether it holds, and what it must be.
fn relations(config: &Config) -> [(&'static str, bool, String); 10] {
    let (pipeline, http, janitor) = (&config.pipeline, &config.http, &config.janitor);
    let (batch, messages_max) = (pipeline.batch_max as i128, i128::from(pipeline.stream_messages_max));
    let two_batches_bytes = 2 * batch * (http.body_bytes_max as i128 + ADDED_BYTES_MAX);
    let two_batches = "two batches of pipeline.batch_max messages of http.body_bytes_max and 8 KiB more";
    [
        (
            "pipeline.stream_messages_max",
            messages_max >= 2 * batch,
            format!("must be at least {}: two batches of pipeline.batch_max", 2 * batch),
        ),
        // What is acknowledged may fill half of a stream, by count and by bytes: the other half is for what
        // waits.
        (
            "pipeline.keep_messages",
            i128::from(pipeline.keep_messages) <= messages_max / 2,
            format!("must be at most {}: half of pipeline.stream_messages_max", messages_max / 2),
        ),
        (
            "pipeline.stream_bytes_max",
            i128::from(pipeline.stream_bytes_max) / 2 >= two_batches_bytes,
            format!("must be at least {}: half of it holds {two_batches}", 2 * two_batches_bytes),
        ),
        (
            "pipeline.accepted_bytes_max",
            i128::from(pipeline.accepted_bytes_max) >= two_batches_bytes,
            format!("must be at least {two_batches_bytes}: it holds {two_batches}"),
        ),
        (
            "pipeline.accepted_messages_max",
            pipeline.accepted_messages_max != 0,
            "must be -1 for none, or at least 1".to_owned(),
        ),
        (
            "pipeline.ack_pending_max",
            i128::from(pipeline.ack_pending_max) >= batch,
            format!("must be at least {batch}: a batch of pipeline.batch_max is open until its end"),
        ),
        (
            "http.connections_per_peer_max",
            http.connections_per_peer_max <= http.connections_max,
            format!("must be at most {}: http.connections_max", http.connections_max),
        ),
        (
            "janitor.redrive_after_ms",
            janitor.redrive_after_ms <= janitor.redrive_after_ms_max,
            format!("must be at most {}: janitor.redrive_after_ms_max", janitor.redrive_after_ms_max),
        ),
        (
            "postgres.lock_timeout_ms",
            config.postgres.lock_timeout_ms < config.postgres.statement_timeout_ms,
            format!(
                "must be below {}: postgres.statement_timeout_ms ends the wait as an outage",
                config.postgres.statement_timeout_ms
            ),
        ),
        ("gateway.ports", !config.gateway.ports.is_empty(), "must name at least one port".to_owned()),
    ]
}

/// The limits of a number that need not be whole.
pub(crate) fn fraction(key: &str) -> Option<(f64, f64)> {
    FRACTIONS.iter().find(|(fraction, ..)| *fraction == key).map(|(_, least, greatest)| (*least, *greatest))
}

/// What a number must be, if it is not.
pub(crate) fn problem(key: &str, number: i128) -> Option<String> {
    let (least, greatest) = limits(key);
    (!(least..=greatest).contains(&number)).then(|| format!("must be {}, not {number}", range(key)))
}

/// What numbers a key may have, in words.
pub(crate) fn range(key: &str) -> String {
    match limits(key) {
        (least, ANY) => format!("at least {least}"),
        (least, greatest) => format!("from {least} to {greatest}"),
    }
}

/// Of a key that has no line: any number.
fn limits(key: &str) -> (i128, i128) {
    LIMITS
        .iter()
        .find(|(limited, ..)| *limited == key)
        .map_or((i128::MIN, ANY), |(_, least, greatest)| (*least, *greatest))
}

/// The first number that does not go with the others: its key, and what it must be.
pub(crate) fn wrong_relation(config: &Config) -> Option<(&'static str, String)> {
    relations(config).into_iter().find(|(_, holds, _)| !holds).map(|(key, _, problem)| (key, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::load_with;
    use crate::sections::StackConfig;
    use figment::value::Value;
    use std::collections::BTreeSet;

    /// The keys of all numbers below a value; a list counts as its items.
    fn numeric_keys(value: &Value, key: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Dict(_, fields) => {
                for (name, field) in fields {
                    let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    numeric_keys(field, &below, found);
                }
            }
            Value::Array(_, items) => items.iter().for_each(|item| numeric_keys(item, key, found)),
            Value::Num(..) => drop(found.insert(key.to_owned())),
            Value::Empty(..) | Value::Bool(..) | Value::String(..) | Value::Char(..) => {}
        }
    }

    #[test]
    fn every_number_has_its_limits_and_each_default_keeps_them() {
        let mut numeric = BTreeSet::new();
        let defaults = Config::on(StackConfig::shifted(0));
        numeric_keys(&Value::serialize(&defaults).unwrap(), "", &mut numeric);
        let limited: BTreeSet<String> = LIMITS.iter().map(|(key, ..)| (*key).to_owned()).collect();
        assert_eq!(limited.len(), LIMITS.len(), "a key has two lines");
        let limited =
            limited.into_iter().chain(FRACTIONS.iter().map(|(key, ..)| (*key).to_owned())).collect();
        assert_eq!(numeric, limited, "each numeric setting has a line in the table, and each line a setting");
        assert_eq!(wrong_relation(&defaults), None);
        let file = toml_edit::ser::to_string(&defaults).unwrap();
        assert_eq!(load_with(&file, &[], &[]).unwrap(), defaults);
    }

    fn refusal(settings: &[&str]) -> Option<String> {
        load_with("", &[], settings).err().map(|error| error.to_string().replacen("--set ", "", 1))
    }

    /// Every line of the table, just outside its limits: refused, and named.
    #[test]
    fn a_number_outside_its_limits_is_named_with_what_it_must_be() {
        for (key, least, greatest) in LIMITS {
            let outside = [least - 1, greatest.saturating_add(1)];
            for value in outside.into_iter().filter(|value| i64::try_from(*value).is_ok()) {
                let set = if key == "gateway.ports" {
                    format!("{key}=[8080, {value}]")
                } else {
                    format!("{key}={value}")
                };
                let refused = refusal(&[&set]).unwrap_or_else(|| panic!("{set} is accepted"));
                let expected = format!(
                    "{key}: {}must be {}, not {value}",
                    if key == "gateway.ports" { "each " } else { "" },
                    range(key)
                );
                assert_eq!(refused, expected, "{set}");
            }
        }
    }

    #[test]
    fn what_stops_everything_is_refused_and_small_systems_are_not() {
        let small = [
            "pipeline.batch_max=8",
            "pipeline.stream_messages_max=32",
            "pipeline.keep_messages=4",
            "pipeline.ack_pending_max=16",
        ];
        let small_and = |further: &'static str| [&small[..], &[further]].concat();
        let rows: Vec<(Vec<&str>, Option<&str>)> = vec![
            (vec![], None),
            (small.to_vec(), None),
            // Two batches of 8 messages of 24 KiB are 384 KiB.
            (small_and("pipeline.stream_bytes_max=786432"), None),
            (
                small_and("pipeline.stream_bytes_max=786431"),
                Some("pipeline.stream_bytes_max: must be at least 786432"),
            ),
            (small_and("pipeline.accepted_bytes_max=393216"), None),
            (
                small_and("pipeline.accepted_bytes_max=393215"),
                Some("pipeline.accepted_bytes_max: must be at least 393216"),
            ),
            (small_and("http.body_bytes_max=245760"), None),
            (
                small_and("http.body_bytes_max=245761"),
                Some("http.body_bytes_max: must be from 1024 to 245760, not 245761"),
            ),
            (
                vec!["http.body_bytes_max=131072"],
                Some("pipeline.stream_bytes_max: must be at least 285212672"),
            ),
            (
                vec!["gateway.in_flight_max=0"],
                Some("gateway.in_flight_max: must be from 2 to 1000000, not 0"),
            ),
            (vec!["gateway.ports=[]"], Some("gateway.ports: must name at least one port")),
            (vec!["http.connections_max=1"], Some("http.connections_max: must be from 8 to 1000000, not 1")),
            (vec!["http.connections_max=500"], Some("http.connections_per_peer_max: must be at most 500")),
            (vec!["http.connections_max=500", "http.connections_per_peer_max=500"], None),
            (vec!["nats.timeout_ms=0"], Some("nats.timeout_ms: must be from 100 to 10000, not 0")),
            (
                vec!["pipeline.stream_messages_max=1023"],
                Some("pipeline.stream_messages_max: must be at least 1024"),
            ),
            (vec!["pipeline.keep_messages=32769"], Some("pipeline.keep_messages: must be at most 32768")),
            (vec!["pipeline.ack_pending_max=511"], Some("pipeline.ack_pending_max: must be at least 512")),
            (
                vec!["pipeline.accepted_messages_max=0"],
                Some("pipeline.accepted_messages_max: must be -1 for none"),
            ),
            (vec!["pipeline.accepted_messages_max=200"], None),
            (vec!["postgres.lock_timeout_ms=5000"], Some("postgres.lock_timeout_ms: must be below 5000")),
            (vec!["risk.window_seconds=0"], Some("risk.window_seconds: must be from 1 to 86400, not 0")),
            (
                vec!["janitor.redrive_after_ms=600001"],
                Some("janitor.redrive_after_ms: must be at most 600000"),
            ),
            (vec!["janitor.purge_after_ms=0", "janitor.redrive_after_ms=0"], None),
        ];
        for (settings, refused) in rows {
            let error = refusal(&settings);
            match refused {
                None => assert_eq!(error, None, "{settings:?}"),
                Some(said) => assert!(
                    error.as_ref().is_some_and(|error| error.starts_with(said)),
                    "{settings:?}: {error:?}"
                ),
            }
        }
    }
}
