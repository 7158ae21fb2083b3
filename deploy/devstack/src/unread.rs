//! A program under test whose standard output and standard error have lost their reader, as after `program
//! 2>&1 | head -1`.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::port::{accepts, loopback};
use crate::process::{Signal, wait_until};
use crate::{Error, ProcessIdentity};

/// The longest that a program may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, killed when this is dropped. Everything here blocks.
#[derive(Debug)]
pub struct UnreadProgram(Child);

impl UnreadProgram {
    /// Starts it; both pipes have no reader from the start.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let unread = || io::pipe().map(|(_, writer)| writer);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(unread()?).stderr(unread()?);
        command.spawn().map(Self)
    }

    /// Waits until it listens on this port of 127.0.0.1, or no longer does; says whether that came about
    /// while it ran.
    pub fn await_listening(&mut self, port: u16, listens: bool) -> bool {
        let came = wait_until(PATIENCE, || accepts(loopback(port)) == listens || !self.is_running());
        came && self.is_running()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Command`] when the process cannot be signalled.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        ProcessIdentity::of(self.0.id()).map_or(Ok(()), |process| process.signal(signal))
    }

    /// Waits for its end, and answers with its exit code; nothing when it does not end or is ended by a
    /// signal.
    pub fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        wait_until(PATIENCE, || match self.0.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            _ => false,
        });
        code
    }
}

impl Drop for UnreadProgram {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
