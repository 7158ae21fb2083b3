//! The terminal, if there is one.

use std::fs::File;
use std::io::{IsTerminal, stdout};
use std::process::{Command, Stdio};

/// How large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Nothing where what is printed goes elsewhere.
pub(crate) fn size() -> Option<Size> {
    let terminal = stdout().is_terminal().then(|| File::open("/dev/tty").ok())??;
    let output = Command::new("stty").arg("size").stdin(terminal).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some(Size { rows: numbers.next()??, columns: numbers.next()?? })
}

/// Whether colours may be used; <https://no-color.org>.
pub(crate) fn has_colours() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
