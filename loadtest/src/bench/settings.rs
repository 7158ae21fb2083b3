//! How the servers are set, as they say themselves, and what was measured on what.

use super::counters::{get, monitor, parsed, row};
use super::programs;
use crate::error::LoadtestError;
use config::Config;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use store::{Store, StoreOptions};

/// What durability depends on, and what the ledger's cost does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Settings {
    #[serde(flatten)]
    pub(crate) ledger: Ledger,
    /// How long the intake may keep a message from the disk: `always` is not at all.
    pub(crate) sync_interval: String,
}

/// Of Postgres, as a session sees them that is opened as the stages open theirs: by the same function, as the
/// same role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) fsync: String,
    pub(crate) synchronous_commit: String,
    pub(crate) full_page_writes: String,
    wal_compression: String,
    wal_sync_method: String,
    shared_buffers: String,
    max_wal_size: String,
}

/// What ran, and on what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Versions {
    pub(crate) nats_server: String,
    pub(crate) postgres: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mb: u64,
    pub(crate) commit: String,
    pub(crate) rustc: String,
}

impl Settings {
    /// What these settings leave to chance; nothing: what is told is on disk.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let Ledger { fsync, synchronous_commit, full_page_writes, .. } = &self.ledger;
        let durable = [
            ("fsync", fsync.as_str(), "on"),
            ("synchronous_commit", synchronous_commit.as_str(), "on"),
            ("full_page_writes", full_page_writes.as_str(), "on"),
            ("sync_interval", self.sync_interval.as_str(), "always"),
        ];
        let wrong = durable.iter().filter(|(_, found, durable)| found != durable);
        wrong.map(|(name, found, durable)| format!("{name} is {found}, not {durable}")).collect()
    }
}

/// Connections for questions, one after the other.
const CONNECTIONS_MAX: u32 = 2;

/// The ledger as a stage opens it.
pub(crate) fn open(config: &Config) -> Result<Store, LoadtestError> {
    let postgres = &config.postgres;
    let [acquire, statement, lock] =
        [postgres.acquire_timeout_ms, postgres.statement_timeout_ms, postgres.lock_timeout_ms]
            .map(Duration::from_millis);
    let options =
        StoreOptions::for_service(&postgres.url, "bench", CONNECTIONS_MAX, acquire, statement, lock);
    Ok(Store::connect_lazily(&options)?)
}

/// Asks both servers how they are set.
pub(crate) async fn settings(config: &Config, store: &Store) -> Result<Settings, LoadtestError> {
    let names = [
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_compression",
        "wal_sync_method",
        "shared_buffers",
        "max_wal_size",
    ];
    let columns = names.map(|name| format!("current_setting('{name}') AS {name}")).join(", ");
    let varz: Varz = parsed(&get(&monitor(config), "/varz").await?, "/varz")?;
    Ok(Settings {
        ledger: row(store, &format!("SELECT {columns}")).await?,
        sync_interval: varz.jetstream.config.told(),
    })
}

#[derive(Debug, Deserialize)]
struct Varz {
    version: String,
    jetstream: JetStream,
}

#[derive(Debug, Deserialize)]
struct JetStream {
    config: JetStreamConfig,
}

#[derive(Debug, Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

impl JetStreamConfig {
    fn told(&self) -> String {
        if self.sync_always {
            "always".to_owned()
        } else {
            format!("{:?}", Duration::from_nanos(self.sync_interval))
        }
    }
}

/// Asks servers, system and tools; whatever does not say is `unknown`.
pub(crate) async fn versions(config: &Config, store: &Store, root: &Path) -> Result<Versions, LoadtestError> {
    #[derive(Deserialize)]
    struct Server {
        version: String,
    }
    let varz: Varz = parsed(&get(&monitor(config), "/varz").await?, "/varz")?;
    let server: Server = row(store, "SELECT current_setting('server_version') AS version").await?;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let commit = said("git", &["-C", &root.to_string_lossy(), "describe", "--always", "--dirty"]).await;
    Ok(Versions {
        nats_server: varz.version,
        postgres: server.version,
        kernel: known(read("/proc/sys/kernel/osrelease").trim()),
        cpu: known(&field(&read("/proc/cpuinfo"), "model name")),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mb: kilobytes(&field(&read("/proc/meminfo"), "MemTotal")) / 1_024,
        commit: known(&commit),
        rustc: known(&said("rustc", &["--version"]).await),
    })
}

/// The first line that a tool says, if it is there.
async fn said(program: &str, arguments: &[&str]) -> String {
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut command = programs::command(Path::new(program));
    command.args(arguments).kill_on_drop(true);
    let text = programs::output(command, PATIENCE).await.unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn known(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

/// The first value of a name in a file of lines `name : value`.
fn field(text: &str, name: &str) -> String {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values
        .filter(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .next()
        .unwrap_or_default()
}

fn kilobytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Some.
    pub(crate) fn versions() -> Versions {
        Versions {
            nats_server: "2.15.1".to_owned(),
            postgres: "15.18".to_owned(),
            kernel: "6.18".to_owned(),
            cpu: "a processor".to_owned(),
            cores: 2,
            memory_mb: 8_192,
            commit: "abc".to_owned(),
            rustc: "rustc 1.95".to_owned(),
        }
    }

    /// Those of the ledger, and what the broker says.
    pub(crate) fn settings(
        fsync: &str,
        synchronous_commit: &str,
        full_page_writes: &str,
        jetstream: &str,
    ) -> Settings {
        let varz = format!(r#"{{"version":"2","jetstream":{{"config":{jetstream}}}}}"#);
        let text = |text: &str| text.to_owned();
        Settings {
            ledger: Ledger {
                fsync: text(fsync),
                synchronous_commit: text(synchronous_commit),
                full_page_writes: text(full_page_writes),
                wal_compression: text("off"),
                wal_sync_method: text("fdatasync"),
                shared_buffers: text("256MB"),
                max_wal_size: text("4GB"),
            },
            sync_interval: parsed::<Varz>(&varz, "").unwrap().jetstream.config.told(),
        }
    }

    #[test]
    fn only_what_is_on_disk_counts() {
        let always = r#"{"max_memory":1,"sync_interval":120000000000,"sync_always":true}"#;
        let rows: [(Settings, &[&str]); 4] = [
            (settings("on", "on", "on", always), &[]),
            (
                settings("off", "on", "off", always),
                &["fsync is off, not on", "full_page_writes is off, not on"],
            ),
            (settings("on", "local", "on", always), &["synchronous_commit is local, not on"]),
            (
                settings("on", "on", "on", r#"{"sync_interval":120000000000}"#),
                &["sync_interval is 120s, not always"],
            ),
        ];
        for (settings, expected) in rows {
            assert_eq!(settings.leaks(), expected, "{settings:?}");
        }
    }

    #[test]
    fn files_of_the_system_are_read() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC: x\nmodel name\t: other\nMemTotal:  2048 kB\n";
        for (name, expected) in [("model name", "AMD EPYC: x"), ("MemTotal", "2048 kB"), ("model", "")] {
            assert_eq!(field(text, name), expected);
        }
        assert_eq!((kilobytes("2048 kB"), kilobytes(""), known("").as_str()), (2_048, 0, "unknown"));
    }
}
