//! Answering deliveries: acknowledged for good, or delivered again later.

use super::postponed::{Company, Wait};
use super::{Harness, Reasoned};
use crate::dead_letters::DeadLetters;
use crate::stage::Stage;
use crate::telemetry::Outcome;
use crate::transport::{Delivery, Transport};
use std::time::Duration;
use tokio::time::Instant;
use wire::Subject;

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// Acknowledges; a failure is not waited for, since the deliveries come again and are answered as before.
    pub(super) async fn acknowledge(&mut self, deliveries: &[Delivery<T::Receipt>]) {
        if deliveries.is_empty() {
            return;
        }
        let receipts: Vec<T::Receipt> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
        for delivery in deliveries {
            self.in_hand.remove(&delivery.seq);
            self.postponed.ended(delivery.seq);
        }
        let sent = self.transport.acknowledge(&receipts).await;
        for delivery in deliveries {
            self.spans.answered(delivery.seq);
        }
        if let Err(error) = sent {
            tracing::debug!(stage = %S::NAME, %error, "acknowledgements were not sent");
        }
    }

    /// Has these delivered again later, or lets go of those that have waited for long: the janitor brings
    /// them back.
    pub(super) async fn postpone(&mut self, waiting: Reasoned<T::Receipt, &'static str>, company: Company) {
        let (now, mut again, mut let_go, mut example) = (Instant::now(), Vec::new(), Vec::new(), None);
        for (delivery, why) in waiting {
            self.spans.outcome(delivery.seq, Outcome::Later);
            match self.postponed.wait(delivery.seq, company, now) {
                Wait::Again(after) => again.push((delivery, after)),
                Wait::LetGo => {
                    example = Some((Subject::payment_token(&delivery.subject).to_owned(), why));
                    let_go.push(delivery);
                }
            }
        }
        self.deliver_again(again).await;
        if let Some((payment, why)) = example {
            tracing::warn!(stage = %S::NAME, count = let_go.len(), payment, "let go for now, such as this one that waits for {why}");
        }
        self.acknowledge(&let_go).await;
    }

    /// A failure is not waited for, as with an acknowledgement: the deliveries come again after a while of
    /// their own.
    pub(super) async fn deliver_again(&mut self, waiting: Vec<(Delivery<T::Receipt>, Duration)>) {
        if waiting.is_empty() {
            return;
        }
        let receipts: Vec<(T::Receipt, Duration)> =
            waiting.iter().map(|(delivery, after)| (delivery.receipt.clone(), *after)).collect();
        for (delivery, _) in &waiting {
            self.in_hand.remove(&delivery.seq);
        }
        let sent = self.transport.postpone(&receipts).await;
        for (delivery, _) in waiting {
            self.spans.answered(delivery.seq);
        }
        if let Err(error) = sent {
            tracing::debug!(stage = %S::NAME, %error, "deliveries were not postponed");
        }
    }
}
