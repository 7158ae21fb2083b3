//! Payments for those who stay until something happens.

use crate::payments::Payments;
use crate::view::PaymentView;
use crate::watch::Watch;
use domain::{PaymentId, PaymentKey};
use runtime::broker::Streams;
use std::time::Duration;
use store::BorderLedger;
use wire::{Caller, Problem};

/// Between two attempts to read what a waiter is to be told.
const ASK_AGAIN: Duration = Duration::from_millis(250);

impl<B: Streams, L: BorderLedger> Payments<B, L> {
    /// A payment's status once it has ended or is what was asked for, or as it is after so long; nothing when
    /// there is none of this id. Whoever waits has a place among those who do, and none among the others.
    pub(crate) async fn status_when(
        &self,
        caller: &Caller,
        id: PaymentId,
        longest: Duration,
        is_asked_for: impl Fn(&PaymentView) -> bool,
    ) -> Result<Option<PaymentView>, Problem> {
        let key = caller.payment(id);
        let is_enough = |view: &PaymentView| view.is_final() || is_asked_for(view);
        // A crowd that there is no room for costs the ledger nothing: the place comes before the read.
        let place = (!longest.is_zero()).then(|| self.listeners.enter_to_wait()).transpose()?;
        let present = self.present(&key).await?;
        if place.is_none() || present.as_ref().is_none_or(is_enough) {
            return Ok(present);
        }
        let waiting = tokio::time::timeout(longest, self.wait(&key, is_enough));
        let awaited = tokio::select! {
            biased;
            awaited = waiting => awaited.ok().flatten(),
            () = self.drain.begun() => None,
        };
        drop(place);
        match awaited {
            Some(view) => Ok(Some(view)),
            // As it is now, not as it was when it was last looked at for whoever watches.
            None => self.present(&key).await,
        }
    }

    /// Watches a payment that is known to exist.
    pub(crate) fn watch(&self, key: &PaymentKey) -> Watch {
        self.watches.watch(key)
    }

    /// Waits for the first view that is enough; nothing when nobody follows the payment any more.
    async fn wait(&self, key: &PaymentKey, is_enough: impl Fn(&PaymentView) -> bool) -> Option<PaymentView> {
        let mut watch = self.watch(key);
        loop {
            let seen = watch.next().await?;
            // The end stays the end.
            if seen.is_final() {
                return Some(PaymentView::clone(&seen));
            }
            if !is_enough(&seen) {
                continue;
            }
            // The follower may be behind what another request has been told already; and when the payment is
            // not to be read now, there is still time.
            loop {
                match self.present(key).await {
                    Ok(Some(view)) if is_enough(&view) => return Some(view),
                    Ok(_) => break,
                    // No further hint may come: it is asked again, until its client's time is over.
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
