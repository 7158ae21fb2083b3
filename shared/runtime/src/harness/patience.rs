//! Waiting without losing what is in hand.

use super::Harness;
use crate::dead_letters::DeadLetters;
use crate::drain::Drain;
use crate::stage::Stage;
use crate::transport::Transport;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause of a retry; it doubles up to the configured maximum.
const RETRY_FIRST: Duration = Duration::from_millis(20);

/// The longest pause between two signs of life, however long the acknowledgement time is: another release may
/// make it as short as three times this while a batch is in hand.
const KEEP_EVERY_MAX: Duration = Duration::from_secs(1);

/// The drain began while the batch in hand was waiting out an outage: it stays unacknowledged and comes
/// again.
pub(super) struct Abandoned;

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// An outage: what was fetched ahead is let go, the batch in hand is kept alive through a pause.
    pub(super) async fn outage(&mut self, pause: &mut Pause, reason: &str) -> Result<(), Abandoned> {
        tracing::warn!(stage = %S::NAME, reason, "waiting out an outage");
        self.transport.close();
        self.wait(pause).await
    }

    pub(super) async fn wait(&self, pause: &mut Pause) -> Result<(), Abandoned> {
        if self.drain.has_begun() {
            return Err(Abandoned);
        }
        self.keeping(pause.wait(&self.drain)).await;
        Ok(())
    }

    /// Does `work`, and says every second, or more often where the acknowledgement time asks for it, that the
    /// deliveries are in progress. The time runs on from one piece of work to the next, or many short pauses
    /// would keep nothing.
    pub(super) async fn keeping<O>(&self, work: impl Future<Output = O>) -> O {
        let period = (self.transport.ack_wait() / 3).clamp(Duration::from_millis(1), KEEP_EVERY_MAX);
        let mut work = std::pin::pin!(work);
        loop {
            let due = *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) + period;
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep_until(due) => {
                    let receipts: Vec<T::Receipt> = self.in_hand.values().cloned().collect();
                    if let Err(error) = self.transport.keep(&receipts).await {
                        tracing::debug!(stage = %S::NAME, %error, "deliveries could not be kept");
                    }
                    self.kept_now();
                }
            }
        }
    }

    /// A batch was taken. One that was waited for has just come. Of one that was not, the client had fetched no
    /// more behind the batch before last than went into the last one: so it came after the batch before last was
    /// taken.
    pub(super) fn keeping_since(&mut self, has_waited: bool) {
        let now = Instant::now();
        let [last, before_last] = self.taken_at;
        let came_at = if has_waited { now } else { before_last };
        let kept_at = self.kept_at.get_mut().unwrap_or_else(PoisonError::into_inner);
        *kept_at = came_at.max(*kept_at);
        self.taken_at = if has_waited { [now; 2] } else { [now, last] };
    }

    fn kept_now(&self) {
        *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Pauses that double up to a maximum.
pub(super) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(super) fn new(milliseconds_max: u64) -> Pause {
        Pause { next: RETRY_FIRST, max: Duration::from_millis(milliseconds_max) }
    }

    pub(super) fn reset(&mut self) {
        self.next = RETRY_FIRST;
    }

    pub(super) async fn wait(&mut self, drain: &Drain) {
        let pause = self.next.min(self.max);
        self.next = self.next.saturating_mul(2).min(self.max);
        drain.sleep(pause).await;
    }
}
