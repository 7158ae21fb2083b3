//! Starts a server in the background: in a session of its own, so that Ctrl-C in a terminal and its closing
//! pass it by.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Error;
use crate::process::{self, ProcessIdentity};
use crate::user::User;

/// Enough of a log to see why a server refused to start.
const TAIL_LINES: usize = 20;

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    folder: PathBuf,
    log_file: PathBuf,
    user: Option<User>,
}

impl Launch {
    /// A program that runs in `folder` and writes to `log_file`; it inherits the environment.
    #[must_use]
    pub fn new(program: &Path, folder: &Path, log_file: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: folder.to_owned(),
            log_file: log_file.to_owned(),
            user: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Runs it as another user; only root may.
    pub(crate) fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Starts it. It runs on when this process ends.
    ///
    /// # Errors
    /// When the log file cannot be written, or `setsid` or the program cannot be run.
    pub fn start(&self) -> Result<Launched, Error> {
        let log_failed = |source| Error::File { action: "write", path: self.log_file.clone(), source };
        let log = File::options().append(true).create(true).open(&self.log_file).map_err(log_failed)?;
        // `setsid` makes way for the program, so the pid is the program's own.
        let mut command = Command::new("setsid");
        command.arg(&self.program).args(&self.arguments).current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(log_failed)?).stderr(log);
        if let Some(user) = self.user {
            command.uid(user.user_id).gid(user.group_id);
        }
        let spawned = command.spawn();
        let child = spawned.map_err(|source| Error::Spawn { program: self.program.clone(), source })?;
        let pid = child.id();
        // A program that has ended already keeps its pid until it is collected, so no start time is needed to
        // be safe.
        let identity = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, start_time: 0 });
        Ok(Launched { child, identity })
    }
}

/// A server that this process started. Dropping the handle leaves the server running.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    identity: ProcessIdentity,
}

impl Launched {
    /// The running process.
    #[must_use]
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Collects the ended process, so that its pid becomes free. Blocks until it has ended.
    pub(crate) fn collect(&mut self) {
        // It fails only when it was collected before.
        let _ = self.child.wait();
    }
}

/// Waits until `is_ready`; a server that ends meanwhile, or is not ready in time, fails with the end of its
/// log.
///
/// # Errors
/// [`Error::Ended`] or [`Error::NotReady`].
pub fn await_ready(
    name: &str,
    server: ProcessIdentity,
    log_file: &Path,
    patience: Duration,
    mut is_ready: impl FnMut() -> bool,
) -> Result<(), Error> {
    let mut is_alive = true;
    let settled = process::wait_until(patience, || {
        is_alive = server.is_alive();
        !is_alive || is_ready()
    });
    if settled && is_alive {
        return Ok(());
    }
    let (name, log, tail) = (name.to_owned(), log_file.to_owned(), tail(log_file, TAIL_LINES));
    if !is_alive {
        return Err(Error::Ended { name, log, tail });
    }
    Err(Error::NotReady { name, seconds: patience.as_secs(), log, tail })
}

/// The last lines of a log file; empty when there is none.
#[must_use]
pub fn tail(log_file: &Path, lines_max: usize) -> String {
    let Ok(file) = File::open(log_file) else { return String::new() };
    let mut last = VecDeque::with_capacity(lines_max + 1);
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        last.push_back(String::from_utf8_lossy(&line).into_owned());
        if last.len() > lines_max {
            last.pop_front();
        }
    }
    Vec::from(last).join("\n")
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))
}
