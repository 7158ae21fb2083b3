//! The member that receives spans and keeps them.

use std::io::{Write, stderr};

use devstack::traces::{Receiver, Span, SpanFolder};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::StackError;
use crate::state::StateFolder;

/// Requests that wait to be written, besides the one that is: a large one takes much memory.
const WAITING_MAX: usize = 1;

/// Receives until it is told to end; what was taken by then is kept still.
pub(crate) fn run(state: &StateFolder, port: u16) -> Result<(), StackError> {
    let failed = |source| StackError::Spans { action: "receive", source };
    let folder = SpanFolder::new(&state.traces_data());
    // One thread: two requests at once would need twice the memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let received = runtime.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let receiver = Receiver::bind(port).await?;
        let (sender, spans) = mpsc::channel(WAITING_MAX);
        let keeping = tokio::task::spawn_blocking(move || keep(&folder, spans));
        let ended = async {
            end.recv().await;
        };
        receiver.run(sender, ended).await;
        Ok(keeping.await?)
    });
    received.map_err(failed)
}

/// Writes what comes, until nobody can send any more. A disk that takes nothing costs spans, and one line at
/// its beginning and its end.
fn keep(folder: &SpanFolder, mut spans: mpsc::Receiver<Vec<Span>>) {
    let mut dropped = 0;
    while let Some(come) = spans.blocking_recv() {
        match folder.append(&come) {
            Ok(too_large) => {
                if dropped > 0 {
                    say(&format!("spans are kept again; about {dropped} were dropped"));
                }
                if too_large > 0 {
                    say(&format!("{too_large} spans were dropped: each was larger than 1 MiB"));
                }
                dropped = 0;
            }
            Err(error) => {
                if dropped == 0 {
                    say(&format!("spans are dropped: {error}"));
                }
                dropped += come.len();
            }
        }
    }
}

fn say(text: &str) {
    // The log may be on the disk that is full.
    let _ = writeln!(stderr(), "devstack: {text}");
}
