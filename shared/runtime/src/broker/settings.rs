//! Bringing streams and consumers that exist in line with the configuration: field by field, and only when a
//! process starts, so that two releases that run side by side do not change them back and forth.
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
    "subjects",
    "max_msgs",
    "max_bytes",
    "max_msg_size",
    "max_msgs_per_subject",
    "max_age",
    "discard",
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
        let existing = self.asked(&format!("STREAM.INFO.{name}"), &json!({})).await?;
        let Ok(existing) = existing else { return Err(BrokerError::Missing) };
        let adjusted = Adjusted::of(&existing, wanted, &STREAM_FIELDS, &STREAM_FOR_GOOD)?;
        adjusted.tell_for_good(&name, remedy(stream));
        let Some(config) = &adjusted.config else { return Ok(()) };
        let answer = self.asked(&format!("STREAM.UPDATE.{name}"), config).await?;
        adjusted.tell(&name, remedy(stream), answer.err());
        Ok(())
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
        let existing = self.asked(&format!("CONSUMER.INFO.{name}"), &json!({})).await?;
        let Ok(existing) = existing else { return Err(BrokerError::Missing) };
        let adjusted = Adjusted::of(&existing, wanted, &CONSUMER_FIELDS, &CONSUMER_FOR_GOOD)?;
        adjusted.tell_for_good(&name, REMEDY);
        let Some(config) = &adjusted.config else { return Ok(()) };
        let update = json!({ "stream_name": stream.name(), "config": config, "action": "update" });
        let answer = self.asked(&format!("CONSUMER.CREATE.{name}"), &update).await?;
        adjusted.tell(&name, REMEDY, answer.err());
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

/// What becomes of the settings of one stream or consumer.
struct Adjusted {
    /// All of its settings with ours among them; nothing where they are ours already.
    config: Option<Value>,
    changed: Vec<Difference>,
    for_good: Vec<Difference>,
}

impl Adjusted {
    fn of(
        info: &Value,
        wanted: &impl Serialize,
        fields: &[&'static str],
        for_good: &[&'static str],
    ) -> Result<Adjusted, BrokerError> {
        let wanted = serde_json::to_value(wanted).map_err(BrokerError::unavailable)?;
        let mut config = info.get("config").cloned().unwrap_or_default();
        let changed = differences(&config, &wanted, fields);
        let for_good = differences(&config, &wanted, for_good);
        for Difference { field, .. } in &changed {
            config[*field] = wanted.get(*field).cloned().unwrap_or_default();
        }
        Ok(Adjusted { config: (!changed.is_empty()).then_some(config), changed, for_good })
    }

    fn tell_for_good(&self, name: &str, remedy: &str) {
        for difference in &self.for_good {
            tracing::error!(name, %difference, remedy, "a setting cannot be changed while it exists");
        }
    }

    fn tell(&self, name: &str, remedy: &str, refusal: Option<String>) {
        let changes = self.changed.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ");
        match refusal {
            None => tracing::info!(name, changes, "settings changed"),
            Some(refusal) => {
                tracing::error!(name, changes, refusal, remedy, "the broker refuses these settings")
            }
        }
    }
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
        Some(Place::OnTheWay | Place::Refused | Place::End) => {
            "delete it with nats stream rm: it is made anew as configured, and the janitor drives again what \
             was in it"
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
