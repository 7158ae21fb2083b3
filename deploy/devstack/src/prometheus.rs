//! A private Prometheus.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::launch::{self, Launch};
use crate::process::{ProcessIdentity, Signal};
use crate::server::{Daemon, Server};
use crate::{Error, port, programs};

/// Starting reads back what was written since the last block of two hours.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Whichever is reached first. Nine ports with 2,000 series each, every 5 s, write some 400 MB a day.
const RETENTION_TIME: &str = "7d";
const RETENTION_SIZE: &str = "1GB";

/// Where a Prometheus listens and keeps its data, and what it reads.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// The folder for its configuration and its data; made when missing.
    pub folder: PathBuf,
    /// What the server writes is appended here.
    pub log_file: PathBuf,
    /// The text of its `prometheus.yml`.
    pub configuration: String,
}

/// Starts a Prometheus that outlives this process, and waits until it answers queries.
///
/// # Errors
/// When Prometheus is not installed, the port is taken, or the server does not start; the message holds the
/// end of its log.
pub fn start_prometheus(options: PrometheusOptions) -> Result<ProcessIdentity, Error> {
    let mut server = PrometheusServer::new(options);
    let identity = server.launch()?;
    server.await_ready()?;
    Ok(identity)
}

/// Gives a Prometheus that runs another configuration. One that it cannot read changes nothing but its log.
///
/// # Errors
/// When the file cannot be written, or the process belongs to another user.
pub fn reload_prometheus(process: ProcessIdentity, folder: &Path, configuration: &str) -> Result<(), Error> {
    write_configuration(folder, configuration)?;
    process.signal(Signal::Reload)
}

/// Whether a Prometheus there answers queries.
#[must_use]
pub fn prometheus_answers(address: SocketAddr) -> bool {
    port::http_status(address, "/-/ready") == Some(200)
}

/// What a Prometheus there scrapes; nothing when none answers.
#[must_use]
pub fn prometheus_targets(address: SocketAddr) -> Option<PrometheusTargets> {
    let data = ask(address, "/api/v1/targets?state=active").ok()?;
    let targets = data.get("activeTargets")?.as_array()?;
    let is_up = |target: &&Value| target.get("health").and_then(Value::as_str) == Some("up");
    Some(PrometheusTargets { up: targets.iter().filter(is_up).count(), all: targets.len() })
}

/// How many there are, and how many of them answered the last scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrometheusTargets {
    /// Those that answered.
    pub up: usize,
    /// Those that it was told of.
    pub all: usize,
}

/// The `data` of an answer of its HTTP API, or what it says instead.
pub(crate) fn ask(address: SocketAddr, path: &str) -> Result<Value, String> {
    let body = port::http_body(address, path).ok_or("no answer")?;
    let mut answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    match answer.get_mut("data") {
        Some(data) => Ok(data.take()),
        None => Err(answer.to_string()),
    }
}

/// A Prometheus that this process started. Dropping the handle leaves it running.
#[derive(Debug)]
pub(crate) struct PrometheusServer {
    options: PrometheusOptions,
    daemon: Daemon,
}

impl PrometheusServer {
    pub(crate) fn new(options: PrometheusOptions) -> Self {
        let daemon = Daemon::new("prometheus", &options.folder);
        Self { options, daemon }
    }
}

impl Server for PrometheusServer {
    const STOP_SIGNAL: Signal = Signal::Terminate;
    const ABANDON_SIGNAL: Signal = Signal::Kill;

    fn launch(&mut self) -> Result<ProcessIdentity, Error> {
        let program = programs::prometheus()?;
        let PrometheusOptions { port, folder, log_file, configuration } = &self.options;
        launch::make_folder(folder)?;
        self.daemon.kill()?;
        port::check_free(*port)?;
        let file = write_configuration(folder, configuration)?;
        let launch = Launch::new(&program, folder, log_file)
            .argument(format!("--config.file={}", file.display()))
            .argument(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .argument(format!("--storage.tsdb.retention.time={RETENTION_TIME}"))
            .argument(format!("--storage.tsdb.retention.size={RETENTION_SIZE}"))
            .argument(format!("--web.listen-address={}", port::loopback(*port)));
        self.daemon.start(&launch)
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let address = port::loopback(self.options.port);
        let is_ready = || prometheus_answers(address);
        self.daemon.await_ready(&self.options.log_file, START_PATIENCE, is_ready)
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

fn write_configuration(folder: &Path, text: &str) -> Result<PathBuf, Error> {
    let file = folder.join("prometheus.yml");
    fs::write(&file, format!("# Written by devstack at every start; changes are lost.\n{text}"))
        .map_err(Error::file("write", &file))?;
    Ok(file)
}
