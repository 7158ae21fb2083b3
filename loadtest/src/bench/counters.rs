//! What servers and services have counted so far, and what of it a payment took.

use super::figures::{Named, ratio, rounded};
use super::scrape::{Sample, samples};
use crate::error::LoadtestError;
use config::Config;
use runtime::http::HttpClient;
use serde::Deserialize;
use signals::metric;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store;
use wire::{Hop, Role, Stream};

/// A server of this machine answers in milliseconds, also when it is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a role shows is a thousandth of it.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    roles: Vec<HttpClient>,
    broker: HttpClient,
    store: Store,
    /// On the disk of the ledger.
    folder: PathBuf,
}

/// Counts since the servers started.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counts {
    /// By clients to the broker, and by it to them: all that crosses the wire, of whatever kind.
    messages: u64,
    message_bytes: u64,
    /// Bytes of the write-ahead log.
    wal_bytes: u64,
    /// Of the ledger's disk, where it counts them.
    disk_flushes: Option<u64>,
    /// By stage: messages taken, and batches of them.
    batches: BTreeMap<String, (f64, f64)>,
    /// Stores of the intake: each by itself, and all of a batch at once.
    intake_stores: f64,
    /// Deliveries that were not the first.
    redeliveries: f64,
    /// Payments that were accepted again.
    redriven: f64,
}

/// What was counted between two moments, by payment where it says so.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) messages_per_payment: f64,
    pub(crate) message_bytes_per_payment: f64,
    pub(crate) wal_bytes_per_payment: f64,
    /// Times that the intake had something on disk before it answered.
    pub(crate) intake_stores_per_payment: f64,
    pub(crate) disk_flushes_per_payment: Option<f64>,
    pub(crate) mean_batch: Named,
    pub(crate) redeliveries: u64,
    pub(crate) redriven: u64,
}

/// What Postgres' sessions hand in late: at most this long after they have nothing to do.
pub(crate) const LATE: Duration = Duration::from_secs(11);

/// Counts that come late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct LateCounts {
    /// Times that the write-ahead log was flushed.
    pub(crate) wal_syncs: u64,
    /// Transactions of the ledger's database.
    pub(crate) transactions: u64,
}

/// The part of `/varz` that is counted.
#[derive(Debug, Deserialize)]
struct Varz {
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
}

/// The part of `/jsz?streams=true` that is looked at.
#[derive(Debug, Default, Deserialize)]
struct JetStreamPage {
    #[serde(default)]
    account_details: Vec<AccountDetail>,
}

#[derive(Debug, Deserialize)]
struct AccountDetail {
    #[serde(default)]
    stream_detail: Vec<StreamDetail>,
}

#[derive(Debug, Deserialize)]
struct StreamDetail {
    name: String,
    state: StreamState,
}

#[derive(Debug, Deserialize)]
struct StreamState {
    messages: u64,
}

impl JetStreamPage {
    fn messages_of(&self, stream: &str) -> u64 {
        let streams = self.account_details.iter().flat_map(|account| &account.stream_detail);
        streams.filter(|detail| detail.name == stream).map(|detail| detail.state.messages).sum()
    }
}

impl Counting {
    /// Of a stack of this machine, whose ledger lies on the disk of `folder`.
    pub(crate) fn of(config: &Config, store: &Store, folder: &Path) -> Counting {
        let host = match config.http.host {
            host if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host,
        };
        let role = |role: &Role| {
            let port = config.listeners(*role).1.first()?;
            Some(HttpClient::new(&format!("http://{}", SocketAddr::new(host, *port))))
        };
        Counting {
            roles: Role::ALL.iter().filter_map(role).collect(),
            broker: monitor(config),
            store: store.clone(),
            folder: folder.to_owned(),
        }
    }

    /// All that is counted at once.
    pub(crate) async fn counts(&self) -> Result<Counts, LoadtestError> {
        let varz: Varz = parsed(&get(&self.broker, "/varz").await?, "/varz")?;
        let mut counts = Counts {
            messages: varz.in_msgs + varz.out_msgs,
            message_bytes: varz.in_bytes + varz.out_bytes,
            wal_bytes: self.wal_bytes().await?,
            disk_flushes: super::disk::flushes(&self.folder),
            ..Counts::default()
        };
        for role in &self.roles {
            let text = get(role, "/metrics").await?;
            samples(&text).for_each(|sample| counts.add(&sample));
        }
        Ok(counts)
    }

    async fn wal_bytes(&self) -> Result<u64, LoadtestError> {
        #[derive(Deserialize)]
        struct Position {
            bytes: u64,
        }
        let query = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS bytes";
        Ok(row::<Position>(&self.store, query).await?.bytes)
    }

    /// How many messages the intake has.
    pub(crate) async fn intake_messages(&self) -> Result<u64, LoadtestError> {
        const PATH: &str = "/jsz?streams=true";
        let page: JetStreamPage = parsed(&get(&self.broker, PATH).await?, PATH)?;
        Ok(page.messages_of(&Stream::Accepted.name()))
    }

    /// What comes late, as far as it has come.
    pub(crate) async fn late_counts(&self) -> Result<LateCounts, LoadtestError> {
        let query = "SELECT wal_sync AS wal_syncs, xact_commit + xact_rollback AS transactions \
                     FROM pg_stat_wal, pg_stat_database WHERE datname = current_database()";
        row(&self.store, query).await
    }
}

/// The one row of a query.
pub(crate) async fn row<T: serde::de::DeserializeOwned>(
    store: &Store,
    query: &str,
) -> Result<T, LoadtestError> {
    let (_, rows) = store.violations(query, 1).await?;
    parsed(rows.first().map_or("nothing", String::as_str), "the ledger")
}

/// The broker's pages for people who watch it.
pub(crate) fn monitor(config: &Config) -> HttpClient {
    HttpClient::new(&format!("http://127.0.0.1:{}", config.stack.nats_monitor_port))
}

/// A page of a server.
pub(crate) async fn get(client: &HttpClient, path: &str) -> Result<String, LoadtestError> {
    let failed =
        |problem: String| LoadtestError::Program { name: client.address().to_owned() + path, problem };
    let asked = tokio::time::timeout(PATIENCE, client.get(path, ANSWER_BYTES_MAX)).await;
    match asked.map(|answer| answer.map(|heard| (heard.status, heard.body))) {
        Ok(Ok((200, Some(body)))) => Ok(super::programs::text(&body)),
        Ok(Ok((status, _))) => Err(failed(format!("it answers {status}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What a server has answered in JSON.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(text: &str, of: &str) -> Result<T, LoadtestError> {
    serde_json::from_str(text)
        .map_err(|error| LoadtestError::Program { name: of.to_owned(), problem: format!("{error}: {text}") })
}

impl Counts {
    /// Adds one line of what a role shows.
    fn add(&mut self, sample: &Sample<'_>) {
        let is =
            |metric: &signals::Metric, ending: &str| sample.name.strip_suffix(ending) == Some(metric.name);
        let stage = || self.batches.get(sample.label("stage").unwrap_or_default()).copied();
        let is_intake = || sample.label("hop") == Some(Hop::Accepted.as_str());
        if is(&metric::STAGE_BATCH_SIZE, "_sum") || is(&metric::STAGE_BATCH_SIZE, "_count") {
            let (mut messages, mut batches) = stage().unwrap_or_default();
            let counted = if sample.name.ends_with("_sum") { &mut messages } else { &mut batches };
            *counted += sample.value;
            if let Some(stage) = sample.label("stage") {
                self.batches.insert(stage.to_owned(), (messages, batches));
            }
        } else if is(&metric::PUBLISH_BATCH_SIZE, "_sum") && is_intake() {
            // Of single publishes each message is a store, of a batch the whole.
            self.intake_stores += if sample.label("form") == Some("single") { sample.value } else { 0.0 };
        } else if is(&metric::PUBLISH_BATCH_SIZE, "_count") && is_intake() {
            self.intake_stores += if sample.label("form") == Some("single") { 0.0 } else { sample.value };
        } else if is(&metric::STAGE_REDELIVERIES, "") {
            self.redeliveries += sample.value;
        } else if is(&metric::PAYMENTS_REDRIVEN, "") {
            self.redriven += sample.value;
        }
    }

    /// What has come since then, over so many payments.
    pub(crate) fn since(&self, then: &Counts, payments: f64) -> Counted {
        let each = |now: u64, before: u64, digits| {
            rounded(ratio(now.saturating_sub(before) as f64, payments), digits)
        };
        let mean = |(stage, (messages, batches)): (&String, &(f64, f64))| {
            let (messages_then, batches_then) = then.batches.get(stage).copied().unwrap_or_default();
            let taken = batches - batches_then;
            (taken > 0.0).then(|| (stage.clone(), rounded((messages - messages_then) / taken, 1)))
        };
        Counted {
            messages_per_payment: each(self.messages, then.messages, 2),
            message_bytes_per_payment: each(self.message_bytes, then.message_bytes, 0),
            wal_bytes_per_payment: each(self.wal_bytes, then.wal_bytes, 0),
            intake_stores_per_payment: rounded(ratio(self.intake_stores - then.intake_stores, payments), 4),
            disk_flushes_per_payment: self
                .disk_flushes
                .zip(then.disk_flushes)
                .map(|(now, before)| each(now, before, 4)),
            mean_batch: self.batches.iter().filter_map(mean).collect(),
            redeliveries: (self.redeliveries - then.redeliveries) as u64,
            redriven: (self.redriven - then.redriven) as u64,
        }
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
