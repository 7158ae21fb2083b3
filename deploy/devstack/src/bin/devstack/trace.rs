//! `devstack trace PAYMENT`: a payment's way through all processes, drawn.

use std::io::{ErrorKind, Write, stdout};

use devstack::traces::{Found, SpanFolder, Trace, find, newest_payment, waterfall};

use crate::error::StackError;
use crate::state::StateFolder;
use crate::terminal;

/// Of a page or a pipe.
const WIDTH_DEFAULT: usize = 100;
const WIDTH_MIN: usize = 60;
const WIDTH_MAX: usize = 400;

#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// The id of a payment, or of a trace (32 hexadecimal digits); else the newest that was traced to its end.
    payment: Option<String>,
    /// Print the spans instead, a line of JSON each.
    #[arg(long)]
    json: bool,
}

pub(crate) fn show(state: &StateFolder, wanted: &Wanted) -> Result<(), StackError> {
    let failed = |source| StackError::Spans { action: "read", source };
    let folder = SpanFolder::new(&state.traces_data());
    let payment = match &wanted.payment {
        Some(payment) => Some(payment.clone()),
        None => newest_payment(&folder).map_err(failed)?,
    };
    let found = payment.as_ref().map(|payment| find(&folder, payment)).transpose().map_err(failed)?;
    let Some(found) = found.filter(|found| !found.traces.is_empty()) else {
        let wanted = payment.unwrap_or_else(|| "any payment that has ended".to_owned());
        return Err(StackError::NoTrace { wanted, example: new_traceparent() });
    };
    let text = if wanted.json { lines(&found)? } else { drawn(&found) };
    match stdout().write_all(text.as_bytes()) {
        // A reader that has gone has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn drawn(found: &Found) -> String {
    let width = width();
    let mut texts: Vec<String> = found.traces.iter().map(|trace| waterfall(trace, width)).collect();
    if texts.len() > 1 {
        texts.insert(0, format!("{} traces, the newest first\n", texts.len()));
    }
    if found.is_cut {
        texts.push("There is more than is shown.\n".to_owned());
    }
    texts.join("\n")
}

fn lines(found: &Found) -> Result<String, StackError> {
    let mut text = String::new();
    let spans = |trace: &Trace| trace.spans.iter().chain(&trace.batches).cloned().collect::<Vec<_>>();
    for span in found.traces.iter().flat_map(spans) {
        text.push_str(&serde_json::to_string(&span).map_err(std::io::Error::from)?);
        text.push('\n');
    }
    Ok(text)
}

/// Columns of the terminal, if it is one.
fn width() -> usize {
    terminal::size().map_or(WIDTH_DEFAULT, |size| size.columns).clamp(WIDTH_MIN, WIDTH_MAX)
}

/// A trace that nobody has begun yet.
fn new_traceparent() -> String {
    use std::hash::BuildHasher;
    let random = || std::collections::hash_map::RandomState::new().hash_one(std::process::id());
    format!("00-{:016x}{:016x}-{:016x}-01", random(), random() | 1, random() | 1)
}
