//! The logs of the members.

use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::StackError;
use crate::member::Member;
use crate::state::StateFolder;

pub(crate) fn show(
    state: &StateFolder,
    members: &[Member],
    lines: usize,
    follow: bool,
) -> Result<(), StackError> {
    let files: Vec<PathBuf> =
        members.iter().map(|member| state.log_file(member.name())).filter(|file| file.exists()).collect();
    if files.is_empty() {
        return Ok(writeln!(stdout(), "no logs yet: run `make up`")?);
    }
    let mut command = Command::new("tail");
    command.arg("-n").arg(lines.to_string());
    if follow {
        command.arg("-F");
    }
    // `tail` takes this program's place, so that Ctrl-C ends both.
    let source = command.arg("--").args(files).exec();
    Err(devstack::Error::Spawn { program: "tail".into(), source }.into())
}
