//! Publishing until it is stored, or until it is known that it never will be.

use super::concluding::{Told, outgoing};
use super::patience::{Abandoned, Pause};
use super::{Harness, Reasoned};
use crate::broker::{BrokerError, Outgoing};
use crate::dead_letters::DeadLetters;
use crate::stage::{PutBack, Stage};
use crate::telemetry::Outcome;
use crate::transport::{Delivery, Transport};
use std::borrow::Cow;
use wire::header::Headers;
use wire::{HopMessage, Stream};

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// Stores what a batch tells in one stream: all of it, or, where the broker objects to the messages, each
    /// by itself; and counts what is stored. Answers with those that it takes in no way.
    pub(super) async fn tell(
        &mut self,
        stream: Stream,
        told: Reasoned<T::Receipt, Told>,
        answered: &mut Vec<Delivery<T::Receipt>>,
    ) -> Result<Reasoned<T::Receipt, String>, Abandoned> {
        let sizes = told.iter().map(|(delivery, message)| (delivery, message.outgoing.payload.len()));
        let publishing = self.spans.publish(stream, sizes);
        let split = |(delivery, told): (_, Told)| ((delivery, told.telling), told.outgoing);
        let (deliveries, messages): (Vec<_>, Vec<_>) = told.into_iter().map(split).unzip();
        if self.publish(stream, &messages).await?.is_ok() {
            publishing.done();
            for (delivery, telling) in deliveries {
                self.metrics.told(telling);
                answered.push(delivery);
            }
            return Ok(Vec::new());
        }
        publishing.failed("refused");
        let mut refused = Vec::new();
        for ((delivery, telling), message) in deliveries.into_iter().zip(messages) {
            let publishing = self.spans.publish(stream, [(&delivery, message.payload.len())].into_iter());
            match self.publish(stream, std::slice::from_ref(&message)).await? {
                Ok(()) => {
                    publishing.done();
                    self.metrics.told(telling);
                    answered.push(delivery);
                }
                Err(reason) => {
                    publishing.failed("refused");
                    refused.push((delivery, reason));
                }
            }
        }
        Ok(refused)
    }

    /// Accepts a payment again that the ledger has lost; whether the intake has it now.
    pub(super) async fn put_back(
        &mut self,
        put_back: PutBack,
        of: &Delivery<T::Receipt>,
    ) -> Result<bool, Abandoned> {
        let message = HopMessage::Accepted(put_back.accepted);
        let Ok((stream, outgoing)) = outgoing(&message, self.pipeline.shards) else { return Ok(false) };
        let trace = self.spans.context(of);
        let outgoing = Outgoing {
            headers: Headers { trace, ..Headers::redriven(1, put_back.accepted_at) },
            expected_last: Some(0),
            ..outgoing
        };
        self.spans.outcome(of.seq, Outcome::PutBack);
        let publishing = self.spans.publish(stream, [(of, outgoing.payload.len())].into_iter());
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            let published = self.keeping(self.transport.publish(std::slice::from_ref(&outgoing))).await;
            match published.map_err(|unpublished| unpublished.error) {
                Ok(()) | Err(BrokerError::Conflict) => {
                    publishing.done();
                    return Ok(true);
                }
                // Waiting here for room would wait for ever: what makes room is settled by this very stage.
                Err(error @ (BrokerError::Full | BrokerError::Refused(_))) => {
                    publishing.failed(error.kind());
                    return Ok(false);
                }
                Err(BrokerError::Missing) => self.declare(&mut pause).await?,
                Err(error) => self.outage(&mut pause, &error.to_string()).await?,
            }
        }
    }

    /// Stores a batch in one stream, waiting for room in a full one and declaring a missing one again; what is
    /// stored of it is not sent again. Declaring and trying again in place, rather than dropping the batch,
    /// spares its redelivery; what is stored twice is judged once. The broker may object to messages themselves,
    /// for good.
    pub(super) async fn publish(
        &mut self,
        stream: Stream,
        messages: &[Outgoing],
    ) -> Result<Result<(), String>, Abandoned> {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        let mut left = Cow::Borrowed(messages);
        loop {
            let Err(unpublished) = self.keeping(self.transport.publish(&left)).await else {
                return Ok(Ok(()));
            };
            if !unpublished.stored.is_empty() {
                left = Cow::Owned(without(&left, &unpublished.stored));
            }
            match unpublished.error {
                BrokerError::Refused(reason) => return Ok(Err(reason)),
                BrokerError::Full => {
                    tracing::debug!(stage = %S::NAME, %stream, "the next stream is full");
                    // What fills it must be waiting for its stage; what that has done with goes now.
                    if let Err(error) = self.keeping(self.transport.make_room(stream)).await {
                        tracing::debug!(stage = %S::NAME, %stream, %error, "no room can be made");
                    }
                    self.wait(&mut pause).await?;
                }
                BrokerError::Missing => self.declare(&mut pause).await?,
                error => self.outage(&mut pause, &error.to_string()).await?,
            }
        }
    }

    async fn declare(&mut self, pause: &mut Pause) -> Result<(), Abandoned> {
        if let Err(error) = self.keeping(self.transport.declare()).await {
            tracing::debug!(stage = %S::NAME, %error, "the next stream cannot be declared");
        }
        self.wait(pause).await
    }
}

/// The messages but for those at these places, which are in order.
fn without(messages: &[Outgoing], places: &[usize]) -> Vec<Outgoing> {
    let is_left = |(place, _): &(usize, &Outgoing)| places.binary_search(place).is_err();
    messages.iter().enumerate().filter(is_left).map(|(_, message)| message.clone()).collect()
}
