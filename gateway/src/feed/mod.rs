//! What happens to all payments, told to everyone who listens: one feed a process, which runs only while somebody
//! does.
//!
//! Messages say that something has happened, the ledger says what is true of it; what is told is chosen by
//! [`stories`], encoded once, and sent to all. The cost is bounded whatever the traffic is: some messages of each
//! stream and one read of the ledger a round. There is no way back to what was missed.

mod listeners;
mod round;
mod sighting;
mod stories;

use listeners::Listener;
use round::Running;
use runtime::broker::Broker;
use runtime::drain::Drain;
use runtime::http::EventSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use wire::{Code, Problem};

/// Listeners that may wait to be taken in; that is done several times a second at the least.
const JOINING_MAX: usize = 1_024;

/// How long the end of a feed is waited for; what it leaves behind at the broker ends by itself.
const CLOSING_MAX: Duration = Duration::from_secs(3);

/// Where listeners join; clones are the same feed.
#[derive(Clone)]
pub(crate) struct Feed {
    broker: Broker,
    ledger: Store,
    shards: u16,
    drain: Drain,
    door: Arc<Mutex<Option<Door>>>,
}

/// The way into a feed that runs.
struct Door {
    joining: mpsc::Sender<Listener>,
    task: JoinHandle<()>,
}

impl Feed {
    /// A feed of these streams, checked against this ledger. Nothing runs yet.
    pub(crate) fn new(broker: Broker, ledger: Store, shards: u16, drain: Drain) -> Feed {
        Feed { broker, ledger, shards, drain, door: Arc::default() }
    }

    /// Tells from now on; the first to join starts the feed, and when the last has gone it ends. `place` is held
    /// until this listener goes.
    pub(crate) fn join(&self, sender: EventSender, place: OwnedSemaphorePermit) -> Result<(), Problem> {
        let mut door = self.lock();
        let mut listener = Listener::new(sender, place);
        if let Some(open) = door.as_ref() {
            match open.joining.try_send(listener) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    let detail = "too many streams of events are opened at once";
                    return Err(Problem::new(Code::Overloaded, detail));
                }
                // Its task has panicked, and the next one takes over.
                Err(mpsc::error::TrySendError::Closed(returned)) => listener = returned,
            }
        }
        let (joining, joins) = mpsc::channel(JOINING_MAX);
        let task = tokio::spawn(Running::new(self.clone(), joins, listener).run());
        *door = Some(Door { joining, task });
        Ok(())
    }

    /// Waits until a feed that runs has ended; it does so with the drain.
    pub(crate) async fn close(&self) {
        let door = self.lock().take();
        if let Some(Door { task, .. }) = door {
            let _ = tokio::time::timeout(CLOSING_MAX, task).await;
        }
    }

    /// Shuts the door behind the last listener; whoever came in meanwhile is handed over instead.
    fn leave(&self, joins: &mut mpsc::Receiver<Listener>) -> Option<Listener> {
        let mut door = self.lock();
        let latecomer = joins.try_recv().ok();
        if latecomer.is_none() {
            *door = None;
        }
        latecomer
    }

    fn lock(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
