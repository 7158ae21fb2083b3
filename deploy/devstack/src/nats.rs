//! A private nats-server with JetStream, which answers only after a message is on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::launch::{self, Launch};
use crate::process::{ProcessIdentity, Signal};
use crate::server::{Daemon, Server};
use crate::{Error, port, programs};

/// Starting reads the stored streams' state back: seconds when gigabytes are stored.
const START_PATIENCE: Duration = Duration::from_secs(30);
const GIGABYTE: u64 = 1 << 30;

/// Where a nats-server listens and keeps its data.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// The port of clients, on 127.0.0.1.
    pub port: u16,
    /// The port of the monitoring pages (`/healthz`, `/jsz`, ...), on 127.0.0.1.
    pub monitor_port: u16,
    /// The folder for streams and the generated configuration; made when missing.
    pub data_dir: PathBuf,
    /// What the server writes is appended here.
    pub log_file: PathBuf,
    /// What all memory streams together may take.
    pub memory_bytes_max: u64,
    /// What all file streams together may take.
    pub file_bytes_max: u64,
}

impl NatsOptions {
    /// Options with room for 2 GB in memory and 20 GB on disk.
    #[must_use]
    pub fn new(port: u16, monitor_port: u16, data_dir: &Path, log_file: &Path) -> Self {
        Self {
            port,
            monitor_port,
            data_dir: data_dir.to_owned(),
            log_file: log_file.to_owned(),
            memory_bytes_max: 2 * GIGABYTE,
            file_bytes_max: 20 * GIGABYTE,
        }
    }
}

/// Starts a nats-server that outlives this process, and waits until it answers. Streams in the data folder
/// are kept.
///
/// # Errors
/// When no nats-server is installed, a port is taken, or the server does not start; the message holds the end
/// of its log.
pub fn start_nats(options: NatsOptions) -> Result<ProcessIdentity, Error> {
    let mut server = NatsServer::new(options);
    let identity = server.launch()?;
    server.await_ready()?;
    Ok(identity)
}

/// A nats-server that this process started. Dropping the handle leaves it running.
#[derive(Debug)]
pub(crate) struct NatsServer {
    options: NatsOptions,
    daemon: Daemon,
}

impl NatsServer {
    pub(crate) fn new(options: NatsOptions) -> Self {
        let daemon = Daemon::new("nats-server", &options.data_dir);
        Self { options, daemon }
    }
}

impl Server for NatsServer {
    const STOP_SIGNAL: Signal = Signal::Terminate;
    const ABANDON_SIGNAL: Signal = Signal::Kill;

    fn launch(&mut self) -> Result<ProcessIdentity, Error> {
        let program = programs::nats_server()?;
        launch::make_folder(&self.options.data_dir)?;
        self.daemon.kill()?;
        port::check_free(self.options.port)?;
        port::check_free(self.options.monitor_port)?;
        let configuration = self.options.data_dir.join("nats.conf");
        fs::write(&configuration, configuration_text(&self.options))
            .map_err(Error::file("write", &configuration))?;
        let launch = Launch::new(&program, &self.options.data_dir, &self.options.log_file);
        self.daemon.start(&launch.argument("--config").argument(&configuration))
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let address = port::loopback(self.options.port);
        self.daemon.await_ready(&self.options.log_file, START_PATIENCE, || port::nats_answers(address))
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// `sync_interval: always` is what makes an acknowledgement a promise: the message is on disk before it is
/// sent.
fn configuration_text(options: &NatsOptions) -> String {
    let NatsOptions { port, monitor_port, data_dir, memory_bytes_max, file_bytes_max, .. } = options;
    let store = data_dir.join("streams");
    let store = store.display();
    format!(
        r#"# Written by devstack at every start; changes are lost.
server_name: kilat
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor_port}"
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  max_mem: {memory_bytes_max}
  max_file: {file_bytes_max}
  limits {{
    batch {{
      max_inflight_per_stream: 50
      max_inflight_total: 1000
    }}
  }}
}}
"#
    )
}
