//! What nats-server and Postgres have in common: one process, or a family of them, that works in one data
//! folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::launch::{self, Launch, Launched};
use crate::process::{self, ProcessIdentity, Signal};

/// Ending writes a checkpoint of what is buffered; on a slow disk that takes a while.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(30);

/// A server that can be started again in its data folder.
pub(crate) trait Server: Send + 'static {
    /// Ends it in good order.
    const STOP_SIGNAL: Signal;
    /// Ends it when its data is of no use any more.
    const ABANDON_SIGNAL: Signal;

    /// Starts it, after clearing away what a crash left; does not wait.
    fn launch(&mut self) -> Result<ProcessIdentity, Error>;

    /// Waits until it serves.
    fn await_ready(&mut self) -> Result<(), Error>;

    fn daemon(&mut self) -> &mut Daemon;
}

/// The process of a server, while there is one.
#[derive(Debug)]
pub(crate) struct Daemon {
    program: &'static str,
    data_dir: PathBuf,
    launched: Option<Launched>,
}

impl Daemon {
    pub(crate) fn new(program: &'static str, data_dir: &Path) -> Self {
        Self { program, data_dir: data_dir.to_owned(), launched: None }
    }

    pub(crate) fn identity(&self) -> Option<ProcessIdentity> {
        self.launched.as_ref().map(Launched::identity)
    }

    pub(crate) fn start(&mut self, launch: &Launch) -> Result<ProcessIdentity, Error> {
        let launched = launch.start()?;
        let identity = launched.identity();
        self.launched = Some(launched);
        Ok(identity)
    }

    pub(crate) fn await_ready(
        &self,
        log_file: &Path,
        patience: Duration,
        is_ready: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        match self.identity() {
            Some(identity) => launch::await_ready(self.program, identity, log_file, patience, is_ready),
            None => Ok(()),
        }
    }

    /// Ends all its processes with SIGKILL, as a crash of the machine does, also those that an earlier crash
    /// left over.
    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        process::kill_all_in(&self.data_dir, self.program)?;
        if let Some(identity) = self.identity() {
            identity.stop(Signal::Kill, Duration::ZERO)?;
        }
        self.collect();
        Ok(())
    }

    pub(crate) fn stop(&mut self, signal: Signal) -> Result<(), Error> {
        if let Some(identity) = self.identity() {
            identity.stop(signal, STOP_GRACE)?;
        }
        self.collect();
        Ok(())
    }

    /// Waits for the end of the process, which somebody has brought about, and frees its pid.
    pub(crate) fn collect(&mut self) {
        if let Some(mut launched) = self.launched.take() {
            launched.collect();
        }
    }
}
