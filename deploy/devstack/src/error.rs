//! What can go wrong while servers are found, started and stopped. Each message says what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why a server could not be found, started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No broker program that is young enough.
    #[error("no nats-server {wanted} or newer: {tried}; run `make deps` in {root}")]
    NoNatsServer {
        /// The oldest version that will do.
        wanted: String,
        /// What was looked at, and why it did not do.
        tried: String,
        /// The folder in which `make deps` helps.
        root: String,
    },
    /// No database server programs that are young enough.
    #[error(
        "no Postgres server programs, version {wanted} or newer: {tried}; run `make deps`, or as root `apt-get install postgresql`"
    )]
    NoPostgres {
        /// The oldest major version that will do.
        wanted: u32,
        /// What was looked at, and why it did not do.
        tried: String,
    },
    /// No program that keeps metrics.
    #[error("no program `prometheus` on PATH: run `make deps`, or as root `apt-get install prometheus`")]
    NoPrometheus,
    /// A program that is not needed everywhere, and is not here.
    #[error("no program `{program}` on PATH")]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// Postgres refuses to run as root, and there is no other user to run it as.
    #[error(
        "Postgres refuses to run as root and /etc/passwd has no user `postgres`: run `make deps`, or work as an ordinary user"
    )]
    NoPostgresUser,
    /// No temporary folder that the user of the server may enter.
    #[error(
        "none of the folders {tried} can be entered by user `postgres`: set TMPDIR to one that can (mode a+x on every folder above it)"
    )]
    NoScratchFolder {
        /// The folders that were looked at.
        tried: String,
    },
    /// The data folder belongs to another major version.
    #[error(
        "{folder} was made by Postgres {found}, but the programs are version {program}: install {found}, or remove the folder"
    )]
    DataVersion {
        /// The data folder.
        folder: PathBuf,
        /// The major version that its `PG_VERSION` names.
        found: String,
        /// The version of the server programs.
        program: u32,
    },
    /// The workspace folder was not found.
    #[error(
        "no Kilat checkout above the program or the current folder: run from inside one, or give --root FOLDER"
    )]
    NoCheckout,
    /// A file or folder could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder that it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot run {program}")]
    Spawn {
        /// The program's path, as it was called.
        program: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A helper program ended with a failure.
    #[error("{program} failed ({status}): {output}")]
    Command {
        /// The program's path, as it was called.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// A server ended while it was awaited.
    #[error("{name} ended before it was ready; the end of {log}:\n{tail}")]
    Ended {
        /// Which server.
        name: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A server did not become ready in time.
    #[error("{name} was not ready after {seconds} s; the end of {log}:\n{tail}")]
    NotReady {
        /// Which server.
        name: String,
        /// How long it was awaited.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A server goes on with the configuration that it had.
    #[error(
        "prometheus refuses its new configuration and goes on with the old one; the end of {log}:\n{tail}"
    )]
    Refused {
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process is still there after SIGKILL.
    #[error(
        "process {pid} does not end, not even by SIGKILL: it may belong to another user, or hang in the kernel"
    )]
    WillNotEnd {
        /// The pid that is still in `/proc`.
        pid: u32,
    },
    /// Somebody else listens on the port.
    #[error("port {port} on 127.0.0.1 is in use by another program")]
    PortTaken {
        /// The port that the server was to listen on.
        port: u16,
    },
    /// A port could not be opened.
    #[error("cannot listen on port {port} of 127.0.0.1")]
    Listen {
        /// The port.
        port: u16,
        /// Why it failed.
        source: io::Error,
    },
    /// All ports of the test range are in use.
    #[error("no free port between {first} and {last} for a test server")]
    NoFreePort {
        /// Start of the range.
        first: u16,
        /// End of the range.
        last: u16,
    },
}

impl Error {
    /// Wraps an I/O error with the action and the path, for `map_err`.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The message with those of its sources, for a person.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}
