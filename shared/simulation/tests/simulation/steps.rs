//! What happens in a run, step by step, as it is told when somebody wants to read it.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// The lines of a run; clones share them. Nothing is kept, nor written, unless somebody reads it.
#[derive(Clone)]
pub(crate) struct Steps {
    started: Instant,
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl Steps {
    pub(crate) fn new(is_read: bool) -> Steps {
        Steps { started: Instant::now(), lines: is_read.then(Arc::default) }
    }

    /// Someone has done something, or something has happened to him.
    pub(crate) fn tell<T: Display>(&self, who: &str, what: impl FnOnce() -> T) {
        if let Some(lines) = &self.lines {
            let seconds = self.started.elapsed().as_secs_f64();
            lines.lock().unwrap().push(format!("{seconds:9.3}  {who:<11} {}", what()));
        }
    }

    /// What has been told.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }
}
