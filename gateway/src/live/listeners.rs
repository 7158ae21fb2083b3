//! Who looks at `/live` now.

use bytes::Bytes;
use runtime::http::EventSender;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// The listeners; each has a place, and places are bounded.
#[derive(Default)]
pub(super) struct Watching {
    all: Mutex<All>,
    joined: Notify,
}

#[derive(Default)]
struct All {
    listeners: Vec<Listener>,
    /// The last event, while it is of this second.
    latest: Option<Bytes>,
}

struct Listener {
    sender: EventSender,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// Whoever comes while others look sees at once what they see.
    pub(super) fn join(&self, sender: EventSender, place: OwnedSemaphorePermit) {
        let mut all = self.all();
        if let Some(latest) = all.latest.clone()
            && sender.send(latest).is_err()
        {
            return;
        }
        all.listeners.push(Listener { sender, _place: place });
        drop(all);
        self.joined.notify_one();
    }

    /// Waits until somebody looks.
    pub(super) async fn begun(&self) {
        while self.is_empty() {
            self.joined.notified().await;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().listeners.is_empty()
    }

    /// Tells everyone, and lets go of those who have left. Nothing stays of the event once nobody looks.
    pub(super) fn tell(&self, event: &Bytes) {
        let mut all = self.all();
        all.listeners.retain(|listener| listener.sender.send(event.clone()).is_ok());
        all.latest = (!all.listeners.is_empty()).then(|| event.clone());
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watching").field("listeners", &self.all().listeners.len()).finish()
    }
}
