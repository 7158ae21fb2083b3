//! A private Postgres: TCP on 127.0.0.1 only, no Unix socket (whose path would have to be short), no
//! passwords.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::initdb::{self, OWNER};
use crate::launch::Launch;
use crate::process::{self, ProcessIdentity, Signal};
use crate::programs::{self, PostgresPrograms};
use crate::server::{Daemon, Server};
use crate::user::{self, User};
use crate::{Error, port, template};

/// Starting after a crash replays at most `max_wal_size` of log.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Where a Postgres listens and keeps its data, and how it is set.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// The data folder; made and initialised when missing. As root, user `postgres` must be able to reach it.
    pub data_dir: PathBuf,
    /// What the server writes is appended here.
    pub log_file: PathBuf,
    /// Off makes commits faster, and loses data when the machine (not just the server) stops.
    pub fsync: bool,
    /// Further settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Settings that it goes without where its build does not take them.
    pub wishes: Vec<(String, String)>,
}

impl PostgresOptions {
    /// Options with fsync on and Postgres' own settings.
    #[must_use]
    pub fn new(port: u16, data_dir: &Path, log_file: &Path) -> Self {
        let (data_dir, log_file) = (data_dir.to_owned(), log_file.to_owned());
        Self { port, data_dir, log_file, fsync: true, settings: Vec::new(), wishes: Vec::new() }
    }

    /// Adds a setting, for example `("shared_buffers", "256MB")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a setting that not every build of the server takes, for example `("wal_compression", "lz4")`.
    #[must_use]
    pub fn wish(mut self, name: &str, value: &str) -> Self {
        self.wishes.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Starts a Postgres that outlives this process, and waits until it takes queries. A missing data folder is
/// initialised.
///
/// # Errors
/// When Postgres is not installed, the port is taken, or the server does not start; the message holds the end
/// of its log.
pub fn start_postgres(options: PostgresOptions) -> Result<ProcessIdentity, Error> {
    let mut server = PostgresServer::new(options, FirstData::Initdb)?;
    let identity = server.launch()?;
    server.await_ready()?;
    Ok(identity)
}

/// A Postgres that this process started. Dropping the handle leaves it running.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    options: PostgresOptions,
    programs: PostgresPrograms,
    user: Option<User>,
    first_data: FirstData,
    daemon: Daemon,
}

/// Where a missing data folder comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FirstData {
    Initdb,
    Template,
}

impl PostgresServer {
    pub(crate) fn new(options: PostgresOptions, first_data: FirstData) -> Result<Self, Error> {
        let daemon = Daemon::new("postgres", &options.data_dir);
        Ok(Self { options, programs: programs::postgres()?, user: user::for_postgres()?, first_data, daemon })
    }

    fn prepare_data(&self) -> Result<(), Error> {
        let data_dir = &self.options.data_dir;
        let program = self.programs.major;
        match (fs::read_to_string(data_dir.join("PG_VERSION")), self.first_data) {
            (Ok(found), _) if found.trim() == program.to_string() => Ok(()),
            (Ok(found), _) => {
                let (folder, found) = (data_dir.clone(), found.trim().to_owned());
                Err(Error::DataVersion { folder, found, program })
            }
            (Err(_), FirstData::Initdb) => initdb::initialise(&self.programs, self.user, data_dir, &[]),
            (Err(_), FirstData::Template) => template::copy_to(data_dir, &self.programs),
        }
    }

    /// Whether this build of the server takes a setting.
    fn takes(&self, name: &str, value: &str) -> bool {
        let mut command = self.programs.command("postgres");
        if let Some(user) = self.user {
            command.uid(user.user_id).gid(user.group_id);
        }
        // It says what it would run with, and ends.
        command.args(["-C", name, "-c", &format!("{name}={value}"), "-D"]);
        command.arg(&self.options.data_dir).current_dir("/");
        process::output_of(command).is_ok()
    }
}

impl Server for PostgresServer {
    /// A fast shutdown: the polite one waits for every client to leave.
    const STOP_SIGNAL: Signal = Signal::Interrupt;
    /// An immediate shutdown: SIGKILL would leave a shared memory segment behind.
    const ABANDON_SIGNAL: Signal = Signal::Quit;

    fn launch(&mut self) -> Result<ProcessIdentity, Error> {
        let data_dir = &self.options.data_dir;
        self.daemon.kill()?;
        port::check_free(self.options.port)?;
        self.prepare_data()?;
        // None of its processes lives any more. The file of a killed one names a pid that may be somebody
        // else's by now, and Postgres would refuse to start.
        let _ = fs::remove_file(data_dir.join("postmaster.pid"));
        let program = self.programs.path("postgres");
        let mut launch = Launch::new(&program, data_dir, &self.options.log_file).user(self.user);
        launch =
            launch.argument("-D").argument(data_dir).argument("-p").argument(self.options.port.to_string());
        let fsync = if self.options.fsync { "on" } else { "off" };
        let fixed = [("listen_addresses", "127.0.0.1"), ("unix_socket_directories", ""), ("fsync", fsync)];
        let wishes = self.options.wishes.iter().filter(|(name, value)| self.takes(name, value));
        let further =
            self.options.settings.iter().chain(wishes).map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in fixed.into_iter().chain(further) {
            launch = launch.argument("-c").argument(format!("{name}={value}"));
        }
        self.daemon.start(&launch)
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let Some(identity) = self.daemon.identity() else { return Ok(()) };
        let status_file = self.options.data_dir.join("postmaster.pid");
        let address = port::loopback(self.options.port);
        let is_ready = || says_ready(&status_file, identity.pid) && port::accepts(address);
        self.daemon.await_ready(&self.options.log_file, START_PATIENCE, is_ready)
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// The URL of a database, as the superuser: `postgres://kilat_owner@127.0.0.1:PORT/DATABASE`.
#[must_use]
pub fn database_url(port: u16, database: &str) -> String {
    format!("postgres://{OWNER}@127.0.0.1:{port}/{database}")
}

/// Runs SQL, and returns the rows: a line each, columns separated by `|`.
///
/// # Errors
/// [`Error::NoPostgres`], or [`Error::Command`] with what `psql` said.
pub fn query(url: &str, sql: &str) -> Result<String, Error> {
    let mut command = programs::postgres()?.command("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).current_dir("/");
    process::output_of(command)
}

/// Makes a new, empty database that belongs to the superuser, on the server of this port.
///
/// # Errors
/// [`Error::Command`] with what `psql` said, for example when it exists.
pub fn create_database(port: u16, name: &str) -> Result<(), Error> {
    // template1 must have no other session meanwhile; nobody can connect to template0.
    query(&database_url(port, "postgres"), &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))
        .map(|_| ())
}

/// The postmaster accepts connections long before it serves them; line 8 of its pid file says when it does.
fn says_ready(status_file: &Path, pid: u32) -> bool {
    const STATUS_LINE: usize = 7;
    let Ok(text) = fs::read_to_string(status_file) else { return false };
    let lines: Vec<&str> = text.lines().collect();
    lines.first().is_some_and(|line| line.trim() == pid.to_string())
        && lines.get(STATUS_LINE).is_some_and(|line| line.trim() == "ready")
}
