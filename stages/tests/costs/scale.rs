//! A system whose servers are counted: messages on the wire of nats-server, statements, commits and fsyncs of
//! Postgres.

use crate::common::client::Client;
use crate::common::{Part, System, until};
use crate::tap::{Counts, Tap};
use async_nats::jetstream::response::Response;
use devstack::PostgresOptions;
use devstack::testing::{TestNats, TestPostgres};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use wire::{Role, StageName, Stream};

/// Nothing of ours happens by the clock while something else is weighed.
const STILL: [&str; 7] = [
    "janitor.every_ms=60000",
    "janitor.redrive_after_ms=60000",
    "janitor.redrive_after_ms_max=600000",
    "pipeline.trim_every_ms=3600000",
    "pipeline.dead_refresh_ms=60000",
    "pipeline.ack_wait_ms=60000",
    "telemetry.observe_every_ms=60000",
];

/// Nor does anything of Postgres: what it writes is what it was asked to.
#[rustfmt::skip]
const COUNTED: [(&str, &str); 9] = [
    ("shared_preload_libraries", "pg_stat_statements"),
    ("pg_stat_statements.track_utility", "on"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1h"),
    ("wal_writer_delay", "10s"),
    // No snapshot of running transactions for a standby every 15 s.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("track_io_timing", "off"),
    ("full_page_writes", "on"),
];

/// What the servers count, as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    messages: Counts,
    statements: Counts,
    wal_syncs: u64,
    wal_bytes: u64,
}

/// What something has cost.
#[derive(Debug)]
pub(crate) struct Cost {
    /// Messages by kind.
    messages: Counts,
    /// Statements by their first word.
    statements: Counts,
    /// Times that Postgres had its log on disk.
    pub(crate) wal_syncs: u64,
    /// What it wrote there.
    pub(crate) wal_bytes: u64,
    /// What the ports of its roles show.
    scrapes: String,
}

/// How many, and how much all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl Cost {
    /// Messages whose kind begins like this.
    pub(crate) fn messages(&self, kind: &str) -> u64 {
        self.messages.iter().filter(|(known, _)| known.starts_with(kind)).map(|(_, count)| count).sum()
    }

    pub(crate) fn statements(&self) -> u64 {
        self.statements.values().sum()
    }

    pub(crate) fn commits(&self) -> u64 {
        self.statements.get("COMMIT").copied().unwrap_or(0)
    }

    /// The batches that a stage took, as its port shows them.
    pub(crate) fn batches(&self, stage: StageName) -> Sizes {
        let value = |ending: &str| {
            let start = format!("stage_batch_size_{ending}{{stage=\"{stage}\"}} ");
            let line = self.scrapes.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("{start} is not shown")).parse().unwrap()
        };
        Sizes { count: value("count"), sum: value("sum") }
    }

    /// Messages and statements, a line each.
    pub(crate) fn shown(&self) -> String {
        let all = self.messages.iter().chain(&self.statements);
        all.map(|(kind, count)| format!("    {kind:<36}{count:>8}\n")).collect()
    }
}

/// A system on the scale.
pub(crate) struct Scale {
    pub(crate) system: System,
    tap: Tap,
}

impl Scale {
    /// Servers and an empty ledger; nothing of ours runs yet.
    pub(crate) async fn set_up(settings: &[&str]) -> Scale {
        let postgres = TestPostgres::start_with(|options| {
            let options = PostgresOptions { fsync: true, ..options };
            COUNTED.into_iter().fold(options, |options, (name, value)| options.setting(name, value))
        });
        let (nats, postgres) = tokio::join!(TestNats::start(), postgres);
        let settings = [&STILL[..], settings].concat();
        // It ends with the test's process.
        let mut system = System::prepare_on(nats, Box::leak(Box::new(postgres)), &settings).await;
        system.sql("CREATE EXTENSION pg_stat_statements").await;
        let tap = Tap::start(system.nats.url().trim_start_matches("nats://").to_owned()).await;
        system.config.nats.url = format!("nats://{}", tap.address);
        Scale { system, tap }
    }

    /// Starts roles, the gateway beside the others, and waits until they are ready and every stage has its
    /// input open.
    pub(crate) async fn start(&self, roles: &[Role]) -> Vec<Part> {
        let played = StageName::ALL.into_iter().filter(|stage| roles.contains(&Role::playing(*stage)));
        let inputs: Vec<String> = played.map(|stage| format!("pulled {stage}")).collect();
        let before = self.tap.counts();
        let stages: Vec<Role> = roles.iter().copied().filter(|role| *role != Role::Gateway).collect();
        let mut parts = Vec::new();
        if !stages.is_empty() {
            parts.push(self.system.launch_roles(&stages));
        }
        if roles.contains(&Role::Gateway) {
            parts.push(self.system.launch_gateway(self.system.config.gateway.ports.clone()));
        }
        for role in roles {
            crate::common::processes::ready(&self.system, *role).await;
        }
        until("every input is open", || async {
            let now = self.tap.counts();
            inputs.iter().all(|input| now.get(input) > before.get(input))
        })
        .await;
        parts
    }

    /// Ends parts, and waits until Postgres knows what they have done: a session tells it when it ends.
    pub(crate) async fn stop(&self, parts: Vec<Part>) {
        for part in parts {
            part.stop().await;
        }
        until("every session has ended", || async {
            let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'kilat_app'";
            self.system.sql(sessions).await == "0"
        })
        .await;
    }

    /// What `work` costs while these roles run. What Postgres wrote is all that it did until they ended.
    pub(crate) async fn weigh(&self, roles: &[Role], work: impl AsyncFnOnce(&Scale)) -> Cost {
        let log_before = self.reading().await;
        let parts = self.start(roles).await;
        let before = self.reading().await;
        work(self).await;
        let after = self.reading().await;
        let mut scrapes = String::new();
        for role in roles {
            let port = self.system.config.listeners(*role).1[0];
            scrapes.push_str(&Client::new(port).get("/metrics").await.unwrap().text);
        }
        self.stop(parts).await;
        let log = self.reading().await.since(&log_before);
        let (wal_syncs, wal_bytes) = (log.wal_syncs, log.wal_bytes);
        Cost { wal_syncs, wal_bytes, scrapes, ..after.since(&before) }
    }

    /// What the servers count now. Messages and statements are counted at once, what Postgres wrote only when
    /// the session that did it ends.
    pub(crate) async fn reading(&self) -> Reading {
        let statements = self
            .system
            .sql(
                "SELECT split_part(trim(query), ' ', 1), sum(calls) FROM pg_stat_statements s
                 JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'kilat_app' GROUP BY 1",
            )
            .await;
        let statements = statements.lines().map(|line| {
            let (word, calls) = line.split_once('|').unwrap();
            (word.to_owned(), calls.parse().unwrap())
        });
        let log = self.system.sql("SELECT wal_sync, wal_bytes FROM pg_stat_wal").await;
        let (wal_syncs, wal_bytes) = log.split_once('|').unwrap();
        Reading {
            messages: self.tap.counts(),
            statements: statements.collect(),
            wal_syncs: wal_syncs.parse().unwrap(),
            wal_bytes: wal_bytes.parse().unwrap(),
        }
    }

    /// Waits until a stage has done with so many messages of its stream's whole life, and all others with
    /// what they were given.
    pub(crate) async fn done(&self, stage: StageName, count: u64) {
        until(&format!("{stage} has done with {count}"), || async {
            let consumers = self.consumers().await;
            let is_done = |consumer: &Value| {
                let delivered = consumer["delivered"]["consumer_seq"].as_u64();
                consumer["num_pending"] == 0 && delivered >= Some(count)
            };
            consumers.values().all(|consumer| consumer["num_ack_pending"] == 0)
                && consumers.get(stage.as_str()).is_some_and(is_done)
        })
        .await;
    }

    /// Lets a stage wait for its messages, or has them delivered: so it is ready before the first of them
    /// comes.
    pub(crate) async fn pause(&self, stream: Stream, is_paused: bool) {
        let name = format!("CONSUMER.PAUSE.{stream}.{}", stream.consumer().unwrap());
        let asked = if is_paused { json!({ "pause_until": "2999-01-01T00:00:00Z" }) } else { json!({}) };
        let answer: Response<Value> = self.system.jetstream().await.request(name, &asked).await.unwrap();
        match answer {
            Response::Ok(answer) => assert_eq!(answer["paused"], is_paused, "{answer}"),
            Response::Err { error } => panic!("{stream}: {error}"),
        }
    }

    /// What the server says of its streams, by name.
    pub(crate) async fn streams(&self) -> BTreeMap<String, Value> {
        let port = self.system.nats.monitor_url().rsplit(':').next().unwrap().parse().unwrap();
        let page = Client::new(port).get("/jsz?accounts=true&streams=true&consumers=true").await.unwrap();
        let streams =
            page.body["account_details"][0]["stream_detail"].as_array().cloned().unwrap_or_default();
        streams.into_iter().map(|stream| (stream["name"].as_str().unwrap().to_owned(), stream)).collect()
    }

    async fn consumers(&self) -> BTreeMap<String, Value> {
        let streams = self.streams().await;
        let consumers = streams.values().filter_map(|stream| stream["consumer_detail"].as_array());
        consumers
            .flatten()
            .map(|consumer| (consumer["name"].as_str().unwrap().to_owned(), consumer.clone()))
            .collect()
    }

    /// How many messages a stream was ever given.
    pub(crate) async fn stored(&self, stream: Stream) -> u64 {
        let streams = self.streams().await;
        let state = &streams[&stream.name()]["state"];
        let (first, last) = (state["first_seq"].as_u64().unwrap(), state["last_seq"].as_u64().unwrap());
        assert_eq!(state["messages"].as_u64(), Some(last + 1 - first), "nothing of {stream} was removed");
        last + 1 - first
    }
}

impl Reading {
    /// What it has cost since then.
    pub(crate) fn since(&self, before: &Reading) -> Cost {
        let grown = |now: &Counts, then: &Counts| -> Counts {
            let grown =
                now.iter().map(|(kind, count)| (kind.clone(), count - then.get(kind).copied().unwrap_or(0)));
            grown.filter(|(_, count)| *count > 0).collect()
        };
        Cost {
            messages: grown(&self.messages, &before.messages),
            statements: grown(&self.statements, &before.statements),
            wal_syncs: self.wal_syncs - before.wal_syncs,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            scrapes: String::new(),
        }
    }
}

/// Each count is within its range; all that are not are told together.
pub(crate) fn check(about: &str, rows: &[(&str, u64, RangeInclusive<u64>)]) {
    let broken: Vec<String> = rows
        .iter()
        .filter(|(_, count, range)| !range.contains(count))
        .map(|(name, count, range)| format!("{name}: {count}, not within {range:?}"))
        .collect();
    assert!(broken.is_empty(), "{about}: {broken:#?}");
}
