//! A private Prometheus.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::launch::{self, Launch};
use crate::process::{self, ProcessIdentity, Signal};
use crate::server::{Daemon, Server};
use crate::{Error, port, programs};

/// Starting reads back what was written since the last block of two hours.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// It reads rules and a few lines.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
/// A reload that fails is told of in one line or two.
const REFUSAL_LINES: usize = 3;
/// Whichever is reached first. Ten ports show some 3,700 series before there is load: every 5 s that is 64
/// million samples a day of a byte or two, so that a week fits. At the most that ports may show, five times as
/// much, the size keeps two or three days; the longest window of a rule has three.
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

/// Gives a Prometheus that runs another configuration, and waits until it has read it.
///
/// # Errors
/// When the file cannot be written, the process belongs to another user, or it refuses what it reads; then it
/// goes on with what it had.
pub fn reload_prometheus(process: ProcessIdentity, options: &PrometheusOptions) -> Result<(), Error> {
    let address = port::loopback(options.port);
    let before = last_reload(address);
    write_configuration(&options.folder, &options.configuration)?;
    process.signal(Signal::Reload)?;
    let mut now = before;
    process::wait_until(RELOAD_PATIENCE, || {
        now = last_reload(address);
        now != before
    });
    match now {
        Some(reload) if reload.succeeded && now != before => Ok(()),
        // It may have refused what it read before, too; that alone changes nothing.
        _ => {
            let tail = launch::tail(&options.log_file, REFUSAL_LINES);
            Err(Error::Refused { log: options.log_file.clone(), tail })
        }
    }
}

/// How the last reading of its configuration went, and when one last went well, as Prometheus tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reload {
    succeeded: bool,
    succeeded_at: f64,
}

fn last_reload(address: SocketAddr) -> Option<Reload> {
    let body = String::from_utf8(port::http_body(address, "/metrics")?).ok()?;
    let value = |name: &str| {
        let mut lines = body.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next()?.parse::<f64>().ok()
    };
    Some(Reload {
        succeeded: value("prometheus_config_last_reload_successful")? > 0.0,
        succeeded_at: value("prometheus_config_last_reload_success_timestamp_seconds")?,
    })
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
