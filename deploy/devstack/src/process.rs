//! Processes known by more than their number: a pid is only signalled while it still means the process it was
//! noted for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// How often a condition outside this process is looked at; servers start in tens of milliseconds.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The kernel keeps so much of a program's name.
const NAME_BYTES_MAX: usize = 15;
/// SIGKILL works at once, except on a process that waits for a slow disk.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A signal that ends a process, more or less politely, or halts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish what you are doing.
    Terminate,
    /// SIGINT: Postgres rolls open transactions back, writes a checkpoint and ends.
    Interrupt,
    /// SIGQUIT: Postgres ends at once and recovers at the next start.
    Quit,
    /// SIGKILL: a crash.
    Kill,
    /// SIGHUP: read your configuration again.
    Reload,
    /// SIGSTOP: stand still, as if the machine slept, until [`Resume`](Self::Resume).
    Suspend,
    /// SIGCONT: go on.
    Resume,
}

impl Signal {
    /// The name without `SIG`, as `kill -s` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Reload => "HUP",
            Self::Suspend => "STOP",
            Self::Resume => "CONT",
        }
    }
}

/// One process: its pid, and when it started, since the kernel gives a pid out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// The number that signals go to.
    pub pid: u32,
    /// Clock ticks from boot to its start: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl ProcessIdentity {
    /// The process that has this pid now; a dead one that its parent has not collected does not count.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_time })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; nothing happens when the process is gone.
    ///
    /// # Errors
    /// [`Error::Command`] when the process belongs to another user.
    pub fn signal(self, signal: Signal) -> Result<(), Error> {
        if !self.is_alive() {
            return Ok(());
        }
        // The shell's built-in `kill`: the standard library has no safe call for it.
        let mut command = Command::new("sh");
        command.args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal.name(), &self.pid.to_string()]);
        match output_of(command) {
            Err(Error::Command { .. }) if !self.is_alive() => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Waits until it has ended, and says whether it has.
    #[must_use]
    pub fn wait_gone(self, patience: Duration) -> bool {
        wait_until(patience, || !self.is_alive())
    }

    /// Ends it with this signal, and with SIGKILL when it has not ended after `grace`.
    ///
    /// # Errors
    /// [`Error::Command`] when it belongs to another user, [`Error::WillNotEnd`] when even SIGKILL has no
    /// effect.
    pub fn stop(self, signal: Signal, grace: Duration) -> Result<(), Error> {
        self.signal(signal)?;
        if self.wait_gone(grace) {
            return Ok(());
        }
        self.signal(Signal::Kill)?;
        if self.wait_gone(KILL_PATIENCE) { Ok(()) } else { Err(Error::WillNotEnd { pid: self.pid }) }
    }
}

/// The processes of one program that work in this folder: a server, the backends it started, and what a crash
/// of it left behind; not somebody's shell.
pub(crate) fn working_in(folder: &Path, program: &str) -> Vec<ProcessIdentity> {
    let (Ok(folder), Ok(entries)) = (folder.canonicalize(), fs::read_dir("/proc")) else { return Vec::new() };
    let name_seen = program.get(..NAME_BYTES_MAX).unwrap_or(program);
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_there =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|current| current == folder);
    let is_program = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == name_seen)
    };
    pids.filter(is_there).filter(is_program).filter_map(ProcessIdentity::of).collect()
}

/// Kills every process of the program that works in this folder, and waits until they are gone: what a crash
/// of a server left behind, also when nobody noted its pid.
///
/// # Errors
/// [`Error::Command`] when one belongs to another user, [`Error::WillNotEnd`] when SIGKILL has no effect.
pub fn kill_all_in(folder: &Path, program: &str) -> Result<(), Error> {
    let found = working_in(folder, program);
    for process in &found {
        process.signal(Signal::Kill)?;
    }
    match found.iter().find(|process| !process.wait_gone(KILL_PATIENCE)) {
        None => Ok(()),
        Some(process) => Err(Error::WillNotEnd { pid: process.pid }),
    }
}

/// Looks at the condition until it holds or patience ends; says whether it held.
pub(crate) fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Runs a helper program to its end and returns what it wrote to standard output.
pub(crate) fn output_of(mut command: Command) -> Result<String, Error> {
    let program = PathBuf::from(command.get_program());
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(source) => return Err(Error::Spawn { program, source }),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr)).trim().to_owned();
    Err(Error::Command { program, status: output.status, output: said })
}

/// State and start time from a line of `/proc/PID/stat`. The name in brackets may hold spaces and brackets
/// itself.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    const START_TIME_AFTER_STATE: usize = 19;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(START_TIME_AFTER_STATE - 1)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::{ProcessIdentity, parse_stat};

    #[test]
    fn stat_lines_are_read_past_any_name() {
        let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987 20 21";
        let rows = [
            (format!("7 (sh) S {numbers}"), Some(('S', 987))),
            (format!("7 (a) b) Z (c) R {numbers}"), Some(('R', 987))),
            ("7 (sh) S 1 2".to_owned(), None),
            (String::new(), None),
        ];
        for (stat, expected) in rows {
            assert_eq!(parse_stat(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let own = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessIdentity { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
