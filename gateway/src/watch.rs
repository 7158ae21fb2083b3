//! Following payments for those who wait for them: one task for each payment that is watched, however many
//! watch it.
//!
//! What the task sees is read as every other status is. A message about the payment is a hint to read again,
//! and so is every second: hints can be missed, and can tell of what is not so yet, so none of them is an
//! answer. The task ends with the payment, or when nobody watches any more; there are never more of them than
//! there are places for listeners.

use crate::status::StatusReader;
use crate::view::PaymentView;
use domain::PaymentKey;
use runtime::broker::{Streams, Subscription};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::BorderLedger;
use tokio::sync::{Semaphore, watch};
use wire::{Problem, Subject};

/// A status is read so often when nothing hints that it may be another one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When it is looked at again after hints were asked for: the broker may have heard of it a moment after the end
/// was told.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The longest pause after reads that fail.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Statuses read at once for all who watch. An outage holds up so many connections to the ledger at most, and
/// a burst of hints is worked off behind other requests instead of before them.
const READS_MAX: usize = 16;

/// What was seen of a payment last; nothing before the first read.
type Seen = Option<Arc<PaymentView>>;

/// Every payment that is watched; clones share them.
pub(crate) struct Watches<B, L>(Arc<Shared<B, L>>);

struct Shared<B, L> {
    status: StatusReader<B, L>,
    reads: Semaphore,
    followed: Mutex<HashMap<PaymentKey, watch::Sender<Seen>>>,
}

/// One payment as its follower sees it, for one who watches.
#[derive(Debug)]
pub(crate) struct Watch(watch::Receiver<Seen>);

impl Watch {
    /// The next view that differs from the one before; of those that come meanwhile, the newest. Nothing when
    /// there will be no further one.
    pub(crate) async fn next(&mut self) -> Option<Arc<PaymentView>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(view) = self.0.borrow_and_update().clone() {
                return Some(view);
            }
        }
    }
}

impl<B, L> Clone for Watches<B, L> {
    fn clone(&self) -> Watches<B, L> {
        Watches(self.0.clone())
    }
}

impl<B: Streams, L: BorderLedger> Watches<B, L> {
    /// Watches that read with this.
    pub(crate) fn new(status: StatusReader<B, L>) -> Watches<B, L> {
        Watches(Arc::new(Shared { status, reads: Semaphore::new(READS_MAX), followed: Mutex::default() }))
    }

    /// Watches a payment that is known to exist.
    pub(crate) fn watch(&self, key: &PaymentKey) -> Watch {
        let mut followed = self.0.followed();
        if let Some(seen) = followed.get(key) {
            let mut receiver = seen.subscribe();
            // What was seen before is news to whoever comes later.
            receiver.mark_changed();
            return Watch(receiver);
        }
        let (seen, receiver) = watch::channel(None);
        followed.insert(key.clone(), seen.clone());
        let follower = Follower { shared: self.0.clone(), key: key.clone(), seen };
        tokio::spawn(follower.follow());
        Watch(receiver)
    }
}

impl<B, L> Shared<B, L> {
    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<PaymentKey, watch::Sender<Seen>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What reads a payment's status for those who watch it.
struct Follower<B, L> {
    shared: Arc<Shared<B, L>>,
    key: PaymentKey,
    seen: watch::Sender<Seen>,
}

/// However the follower ends, the payment is no longer followed: whoever comes next starts another one.
impl<B, L> Drop for Follower<B, L> {
    fn drop(&mut self) {
        let mut followed = self.shared.followed();
        if followed.get(&self.key).is_some_and(|seen| seen.same_channel(&self.seen)) {
            followed.remove(&self.key);
        }
    }
}

impl<B: Streams, L: BorderLedger> Follower<B, L> {
    async fn follow(self) {
        loop {
            tokio::select! {
                biased;
                () = self.look() => return,
                () = self.seen.closed() => {}
            }
            // Whoever watches joins under the same lock.
            let mut followed = self.shared.followed();
            if self.seen.receiver_count() == 0 {
                followed.remove(&self.key);
                return;
            }
        }
    }

    /// Reads again and again until the payment has ended.
    async fn look(&self) {
        let (mut hints, mut pause) = (None, LOOK_EVERY);
        loop {
            // Before the read: what happens after it is hinted at.
            let had_hints = hints.is_some();
            hints = self.subscribed(hints).await;
            match self.read().await {
                Ok(view) if view.as_ref().is_some_and(|view| view.is_final()) => return self.show(view),
                Ok(view) => {
                    self.show(view);
                    let is_new = hints.is_some() && !had_hints;
                    pause = if is_new { LOOK_AGAIN } else { LOOK_EVERY };
                }
                Err(problem) => {
                    tracing::debug!(%problem, "the status of a watched payment is not known");
                    pause = (pause * 2).min(PAUSE_MAX);
                    // A hint does not end an outage.
                    tokio::time::sleep(pause).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                is_hint = hint(&mut hints) => if !is_hint {
                    hints = None;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The hints that there are, without those that came before the read that follows; or a new subscription,
    /// or none while the broker is away.
    async fn subscribed(&self, hints: Option<Subscription>) -> Option<Subscription> {
        if let Some(mut present) = hints
            && present.forget_present()
        {
            return Some(present);
        }
        let pattern = Subject::all_about(&self.key);
        self.shared.status.streams.subscribe(pattern.as_str()).await.ok()
    }

    async fn read(&self) -> Result<Seen, Problem> {
        // It is never closed.
        let _place = self.shared.reads.acquire().await.ok();
        let status = &self.shared.status;
        let view = status.read(&self.key).await?;
        // Between the ledger's answer and the broker's the payment may have ended, and others may know of it.
        if view.as_ref().is_some_and(|view| !view.is_final())
            && let Some(ended) = status.ended(&self.key).await?
        {
            return Ok(Some(Arc::new(ended)));
        }
        Ok(view.map(Arc::new))
    }

    /// A payment that was there is not gone because a read says so: what was seen stays.
    fn show(&self, view: Seen) {
        self.seen.send_if_modified(|seen| {
            let is_news = view.is_some() && view != *seen;
            if is_news {
                *seen = view;
            }
            is_news
        });
    }
}

/// Waits for a hint; whether it was one, and not the end of them.
async fn hint(hints: &mut Option<Subscription>) -> bool {
    match hints {
        Some(hints) => hints.next().await.is_some(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
impl<B, L> Watches<B, L> {
    /// How many payments are watched.
    pub(crate) fn followed(&self) -> usize {
        self.0.followed().len()
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
