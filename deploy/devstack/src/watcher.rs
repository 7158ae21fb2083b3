//! Cleans up after a test process, however that ends: panic, exit, or SIGKILL.
//!
//! The watcher is a small shell that reads a pipe from the test process. The kernel closes the pipe when that
//! process ends, and the end of the pipe is the watcher's order to end the server and remove its folder. An
//! orderly drop gives the same order the same way, so the path that matters after a crash is the one that
//! every test takes.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::Error;
use crate::process::{ProcessIdentity, Signal};

/// Each line names the server's process, or is empty when it has none. A dead process that nobody has
/// collected counts as ended: in a container, process 1 may not collect at all.
const SCRIPT: &str = r#"
runs() {
    read -r stat <"/proc/$1/stat" || return 1
    case ${stat##*) } in [ZX]*) return 1 ;; esac
}
trap '' HUP INT TERM
process=
while read -r line; do process=$line; done
if [ -n "$process" ] && runs "$process"; then
    kill -s "$1" "$process"
    polls=0
    while runs "$process" && [ "$polls" -lt 500 ]; do
        polls=$((polls + 1))
        [ "$polls" -eq 250 ] && kill -s KILL "$process"
        sleep 0.02
    done
fi
rm -rf -- "$2"
"#;

/// The guard of one server and its folder.
#[derive(Debug)]
pub(crate) struct Watcher {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    /// Starts a watcher that will send `signal` to the server, and remove `folder`.
    pub(crate) fn start(signal: Signal, folder: &Path) -> Result<Self, Error> {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", SCRIPT, "kilat-test-watcher", signal.name()]).arg(folder).current_dir("/");
        // It must not keep the output of the test process open, or `cargo test | tail` would hang.
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut shell = spawned.map_err(|source| Error::Spawn { program: "setsid".into(), source })?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// From now on the server is this process, or none.
    pub(crate) fn watch(&mut self, server: Option<ProcessIdentity>) -> Result<(), Error> {
        let line = server.map_or_else(|| "\n".to_owned(), |server| format!("{}\n", server.pid));
        let written = match &mut self.pipe {
            Some(pipe) => pipe.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(Error::file("write to", Path::new("the watcher of the test server")))
    }

    /// Gives the order to clean up, and waits until that is done.
    pub(crate) fn clean_up(&mut self) {
        self.pipe = None;
        // It fails only when it was waited for before.
        let _ = self.shell.wait();
    }
}
