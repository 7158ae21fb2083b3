//! From verdicts to what becomes of their deliveries.

use super::patience::Abandoned;
use super::postponed::Company;
use super::{Harness, Reasoned};
use crate::broker::Outgoing;
use crate::dead_letters::DeadLetters;
use crate::stage::{PutBack, Stage, Verdict};
use crate::telemetry::Telling;
use crate::transport::{Delivery, Transport};
use std::collections::BTreeMap;
use wire::{HopMessage, Stream};

/// A message that tells of a delivery.
pub(super) struct Told {
    pub(super) outgoing: Outgoing,
    pub(super) telling: Telling,
}

/// Deliveries, sorted by what their verdicts ask for.
struct Sorted<R> {
    told: BTreeMap<Stream, Reasoned<R, Told>>,
    put_back: Reasoned<R, PutBack>,
    waiting: Reasoned<R, &'static str>,
    unjudged: Reasoned<R, String>,
}

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// Publishes what the verdicts tell and acknowledges; then postpones and buries the rest.
    pub(super) async fn conclude(
        &mut self,
        deliveries: Vec<Delivery<T::Receipt>>,
        verdicts: Vec<Verdict<S::Out>>,
    ) -> Result<(), Abandoned> {
        let Sorted { told, put_back, waiting, mut unjudged } = self.sort(deliveries, verdicts);
        let (mut answered, mut homeless) = (Vec::new(), Vec::new());
        for (delivery, put_back) in put_back {
            match self.put_back(put_back, &delivery).await? {
                true => answered.push(delivery),
                false => homeless.push(delivery),
            }
        }
        let mut published = Ok(());
        for (stream, told) in told {
            match self.tell(stream, told, &mut answered).await {
                Ok(refused) => unjudged.extend(refused),
                Err(abandoned) => {
                    published = Err(abandoned);
                    break;
                }
            }
        }
        self.acknowledge(&answered).await;
        published?;
        self.postpone(waiting, Company::Others).await;
        for delivery in homeless {
            self.keep_homeless(delivery).await?;
        }
        for (delivery, reason) in unjudged {
            self.bury(delivery, reason).await?;
        }
        Ok(())
    }

    fn sort(
        &mut self,
        deliveries: Vec<Delivery<T::Receipt>>,
        verdicts: Vec<Verdict<S::Out>>,
    ) -> Sorted<T::Receipt> {
        let mut sorted =
            Sorted { told: BTreeMap::new(), put_back: Vec::new(), waiting: Vec::new(), unjudged: Vec::new() };
        for (delivery, verdict) in deliveries.into_iter().zip(verdicts) {
            let message = match verdict {
                Verdict::Forward(message) => Ok(message.into()),
                Verdict::Reject(rejected) => Ok(HopMessage::Rejected(*rejected)),
                Verdict::Retell(record) => HopMessage::of_record(*record, S::NAME)
                    .ok_or_else(|| format!("its row is one that {} cannot meet", S::NAME)),
                Verdict::Bury(reason) => Err(reason),
                Verdict::Later(why) => {
                    sorted.waiting.push((delivery, why));
                    continue;
                }
                Verdict::PutBack(put_back) => {
                    sorted.put_back.push((delivery, *put_back));
                    continue;
                }
            };
            let told = message.and_then(|message| {
                self.spans.told(delivery.seq, &message);
                let (stream, outgoing) = outgoing(&message, self.pipeline.shards)?;
                Ok((stream, outgoing, self.metrics.telling(&message)))
            });
            match told {
                Ok((stream, mut outgoing, telling)) => {
                    outgoing.headers.trace = self.spans.context(&delivery);
                    sorted.told.entry(stream).or_default().push((delivery, Told { outgoing, telling }));
                }
                Err(reason) => sorted.unjudged.push((delivery, reason)),
            }
        }
        sorted
    }
}

/// A message as it is published, and where.
pub(super) fn outgoing(message: &HopMessage, shards: u16) -> Result<(Stream, Outgoing), String> {
    let payload = message.encode().map_err(|error| format!("the verdict cannot be written: {error}"))?;
    let (stream, subject) = message.route(shards);
    Ok((stream, Outgoing::new(subject.into_string(), payload)))
}
