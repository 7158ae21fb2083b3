//! Bringing streams and consumers that exist in line with the configuration: field by field, and only when a
//! role starts, so that two releases that run side by side do not change them back and forth.
//!
//! Everything goes by the server's own JSON: what others have set, and what this build does not know of, stays.

use super::{Broker, BrokerError};
use async_nats::jetstream::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use wire::{Place, Stream};

/// The settings of a stream that are ours to say and that may change, as the server calls them. Not the number
/// of replicas, nor where they are.
const STREAM_FIELDS: [&str; 9] = [
    // First: a bound that is lowered costs no message once new ones are refused for it.
    "discard",
    "subjects",
    "max_msgs",
    "max_bytes",
    "max_msg_size",
    "max_msgs_per_subject",
    "max_age",
    "allow_direct",
    "allow_atomic",
];

/// Those that a stream has for good. Where it begins to count is nobody's to change either, and is another for
/// each.
const STREAM_FOR_GOOD: [&str; 2] = ["storage", "retention"];

const CONSUMER_FIELDS: [&str; 3] = ["ack_wait", "max_ack_pending", "max_deliver"];

const CONSUMER_FOR_GOOD: [&str; 2] = ["ack_policy", "deliver_policy"];

/// A setting that is another than ours.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    field: &'static str,
    is: Value,
    wanted: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The server tells durations in nanoseconds.
        let is_duration = ["ack_wait", "max_age"].contains(&self.field);
        let shown = |value: &Value| match value.as_u64() {
            Some(nanoseconds) if is_duration => format!("{:?}", Duration::from_nanos(nanoseconds)),
            _ if value.is_null() => "none".to_owned(),
            _ => value.to_string(),
        };
        write!(formatter, "{} from {} to {}", self.field, shown(&self.is), shown(&self.wanted))
    }
}

impl Broker {
    /// Gives a stream our settings where it has others. What the server refuses stays as it is, and the log says
    /// what to do.
    pub(super) async fn adjust_stream(
        &self,
        stream: Stream,
        wanted: &impl Serialize,
    ) -> Result<(), BrokerError> {
        let name = stream.name();
        let of = Settings {
            name: &name,
            remedy: remedy(stream),
            fields: &STREAM_FIELDS,
            for_good: &STREAM_FOR_GOOD,
        };
        let subjects = (format!("STREAM.INFO.{name}"), format!("STREAM.UPDATE.{name}"));
        self.adjust(&of, subjects, wanted, Value::clone).await
    }

    /// Gives a consumer our settings where it has others, likewise.
    pub(super) async fn adjust_consumer(
        &self,
        stream: Stream,
        consumer: &str,
        wanted: &impl Serialize,
    ) -> Result<(), BrokerError> {
        const REMEDY: &str = "stop its stage, nats consumer rm, and start it: it is made anew as configured, \
                              and delivers what the stream holds once more";
        let name = format!("{stream}.{consumer}");
        let of =
            Settings { name: &name, remedy: REMEDY, fields: &CONSUMER_FIELDS, for_good: &CONSUMER_FOR_GOOD };
        let subjects = (format!("CONSUMER.INFO.{name}"), format!("CONSUMER.CREATE.{name}"));
        let update =
            |config: &Value| json!({ "stream_name": stream.name(), "config": config, "action": "update" });
        self.adjust(&of, subjects, wanted, update).await
    }

    /// Changes all that differs at once; where the server refuses that, each setting by itself, so that only
    /// those that it objects to stay as they are.
    async fn adjust(
        &self,
        of: &Settings<'_>,
        (info, update): (String, String),
        wanted: &impl Serialize,
        request: impl Fn(&Value) -> Value,
    ) -> Result<(), BrokerError> {
        let Ok(existing) = self.asked(&info, &json!({})).await? else { return Err(BrokerError::Missing) };
        let wanted = serde_json::to_value(wanted).map_err(BrokerError::unavailable)?;
        let config = existing.get("config").cloned().unwrap_or_default();
        for difference in differences(&config, &wanted, of.for_good) {
            let (name, remedy) = (of.name, of.remedy);
            tracing::error!(name, %difference, remedy, "a setting cannot be changed while it exists");
        }
        let changes = differences(&config, &wanted, of.fields);
        if changes.is_empty() {
            return Ok(());
        }
        let all = changed(config.clone(), &changes, &wanted);
        let Err(refusal) = self.asked(&update, &request(&all)).await? else {
            of.tell(&changes, None);
            return Ok(());
        };
        if changes.len() == 1 {
            of.tell(&changes, Some(refusal));
            return Ok(());
        }
        let mut config = config;
        for change in changes.chunks(1) {
            let one = changed(config.clone(), change, &wanted);
            let refusal = self.asked(&update, &request(&one)).await?.err();
            if refusal.is_none() {
                config = one;
            }
            let is_risky = refusal.is_some() && change.iter().any(|change| change.field == "discard");
            of.tell(change, refusal);
            if is_risky {
                break;
            }
        }
        Ok(())
    }

    /// The server's answer to a request of its JetStream API, or its refusal; an error where there is neither.
    async fn asked(&self, subject: &str, body: &Value) -> Result<Result<Value, String>, BrokerError> {
        let answer: Response<Value> =
            self.reading.request(subject.to_owned(), body).await.map_err(BrokerError::unavailable)?;
        Ok(match answer {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(error.to_string()),
        })
    }
}

/// Whose settings they are, and which of them are ours.
struct Settings<'s> {
    name: &'s str,
    /// What to do where the server refuses one.
    remedy: &'static str,
    fields: &'s [&'static str],
    for_good: &'s [&'static str],
}

impl Settings<'_> {
    fn tell(&self, changes: &[Difference], refusal: Option<String>) {
        let (name, remedy) = (self.name, self.remedy);
        let changes = changes.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ");
        match refusal {
            None => tracing::info!(name, changes, "settings changed"),
            Some(refusal) => tracing::error!(name, changes, refusal, remedy, "the broker refuses a setting"),
        }
    }
}

/// The configuration with these settings as they are wanted.
fn changed(mut config: Value, changes: &[Difference], wanted: &Value) -> Value {
    for Difference { field, .. } in changes {
        config[*field] = wanted.get(*field).cloned().unwrap_or_default();
    }
    config
}

fn differences(is: &Value, wanted: &Value, fields: &[&'static str]) -> Vec<Difference> {
    let compare = |field: &&'static str| {
        let (is, wanted) = (plain(is.get(*field)), plain(wanted.get(*field)));
        (is != wanted).then_some(Difference { field, is, wanted })
    };
    fields.iter().filter_map(compare).collect()
}

/// A setting without the many ways to say that there is none: left out, false, or a bound that is not positive.
fn plain(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Bool(false)) => Value::Null,
        Some(Value::Number(number)) if number.as_i64().is_some_and(|number| number <= 0) => Value::Null,
        Some(value) => value.clone(),
    }
}

/// How a stream gets a setting that the server does not let it have while it exists.
fn remedy(stream: Stream) -> &'static str {
    match stream.place() {
        Some(Place::Intake) => {
            "give the server what it lacks, or change the setting back; else stop the gateways, wait until \
             the stream is empty, delete it with nats stream rm, and start them"
        }
        Some(Place::OnTheWay | Place::Refused) => {
            "delete it with nats stream rm: it is made anew as configured, and the janitor drives again what \
             was in it"
        }
        Some(Place::End) => {
            "delete it with nats stream rm: it is made anew as configured, and what was told in it is in the \
             ledger"
        }
        None => {
            "give the server what it lacks, or change the setting back; else work off its letters, and \
             delete it with nats stream rm"
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
