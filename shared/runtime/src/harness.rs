//! The harness: take a batch, decode, judge, publish, acknowledge. Written once, for every stage.
//!
//! **Acknowledge last.** The unacknowledged input is the outbox: whatever happens before the acknowledgement happens
//! again. **An outage never buries a payment**: the harness lets go of what was fetched ahead, keeps the batch in hand
//! alive and tries again in place. DeadLetter needs an unexpected fault of a payment that was judged alone; never a count.
//! **One payment never stops the others**: what waits for something of its own is delivered again later.

mod brake;
mod burial;
mod patience;
mod postponed;
mod reading;

use crate::broker::{BrokerError, Outgoing};
use crate::config::PipelineConfig;
use crate::dead_letters::DeadLetters;
use crate::drain::Drain;
use crate::stage::{Fault, Input, PutBack, Stage, Verdict};
use crate::telemetry::StageMetrics;
use crate::transport::{Delivery, Transport};
use brake::Brake;
use futures::FutureExt;
use patience::{Abandoned, Pause};
use postponed::{Company, Postponed, Wait};
use reading::{Unreadable, decode};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use wire::header::Headers;
use wire::{HopMessage, Stream, Subject};

/// From this delivery on a message is judged alone: if it is what ends the process, it takes no other payment with it.
const ALONE_FROM_ATTEMPT: u64 = 3;

/// Runs one stage on one input stream.
pub struct Harness<S: Stage, T: Transport, M: DeadLetters> {
    stage: S,
    transport: T,
    dead_letters: M,
    pipeline: PipelineConfig,
    metrics: StageMetrics,
    drain: Drain,
    /// The deliveries of the batch in hand that have no answer yet, by sequence: all are kept alive until the last is done.
    in_hand: BTreeMap<u64, T::Receipt>,
    /// When the deliveries in hand were last heard of by the broker.
    kept_at: Mutex<Instant>,
    postponed: Postponed,
    brake: Brake,
}

/// Deliveries and what they were decoded to, place by place.
struct Batch<S: Stage, R> {
    deliveries: Vec<Delivery<R>>,
    inputs: Vec<Input<S::In>>,
}

impl<S: Stage, R: Clone> Batch<S, R> {
    fn empty() -> Batch<S, R> {
        Batch { deliveries: Vec::new(), inputs: Vec::new() }
    }

    fn push(&mut self, delivery: Delivery<R>, input: Input<S::In>) {
        self.deliveries.push(delivery);
        self.inputs.push(input);
    }

    fn into_singles(self) -> impl Iterator<Item = Batch<S, R>> {
        self.deliveries.into_iter().zip(self.inputs).map(|(delivery, input)| Batch { deliveries: vec![delivery], inputs: vec![input] })
    }
}

/// Deliveries, each with why it has no answer.
type Reasoned<R, W> = Vec<(Delivery<R>, W)>;

impl<S: Stage, T: Transport, M: DeadLetters> Harness<S, T, M> {
    /// A stage with its input, its place for the dead and its metrics.
    pub fn new(stage: S, transport: T, dead_letters: M, pipeline: PipelineConfig, metrics: StageMetrics, drain: Drain) -> Harness<S, T, M> {
        let (in_hand, kept_at) = (BTreeMap::new(), Mutex::new(Instant::now()));
        let (postponed, brake) = (Postponed::new(&pipeline), Brake::default());
        Harness { stage, transport, dead_letters, pipeline, metrics, drain, in_hand, kept_at, postponed, brake }
    }

    /// Works until the drain begins.
    pub async fn run(mut self) {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        self.transport.close();
        self.metrics.halted(false);
        let mut is_open = false;
        while !self.drain.has_begun() {
            if !is_open {
                is_open = self.reopen(&mut pause).await;
                continue;
            }
            let (drain, release_at) = (self.drain.clone(), self.brake.release_at());
            let taken = tokio::select! {
                () = drain.begun() => break,
                taken = self.transport.take(self.pipeline.batch_max) => taken,
                () = at(release_at) => Ok(Vec::new()),
            };
            self.release_brake();
            match taken {
                Ok(batch) => {
                    pause.reset();
                    if self.process(batch).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(stage = %S::NAME, %error, "the input ended");
                    is_open = false;
                }
            }
        }
        self.transport.close();
    }

    async fn reopen(&mut self, pause: &mut Pause) -> bool {
        match self.transport.reopen().await {
            Ok(()) => {
                tracing::debug!(stage = %S::NAME, "input open");
                true
            }
            Err(error) => {
                tracing::warn!(stage = %S::NAME, %error, "the input cannot be opened");
                pause.wait(&self.drain).await;
                false
            }
        }
    }

    /// One batch from delivery to acknowledgement.
    async fn process(&mut self, batch: Vec<Delivery<T::Receipt>>) -> Result<(), Abandoned> {
        if batch.is_empty() {
            return Ok(());
        }
        self.in_hand = batch.iter().map(|delivery| (delivery.seq, delivery.receipt.clone())).collect();
        self.kept_now();
        self.postponed.prune(Instant::now());
        self.postponed.take(batch.len(), batch.iter().map(|delivery| delivery.payload.len()).sum());
        self.metrics.batch(batch.len(), batch.iter().filter(|delivery| delivery.attempt > 1).count());
        let (mut together, mut alone) = (Batch::<S, T::Receipt>::empty(), Batch::<S, T::Receipt>::empty());
        let mut newer = Vec::new();
        for delivery in batch {
            if self.dead_letters.is_dead(Subject::payment_token(&delivery.subject)) {
                self.acknowledge(&[delivery]).await;
                continue;
            }
            match decode::<S, T>(&delivery) {
                Ok(input) if self.is_judged_alone(&delivery) => alone.push(delivery, input),
                Ok(input) => together.push(delivery, input),
                // Another release is at work beside this one, or after it; unless nobody can ever judge this.
                Err(Unreadable::Newer) if Subject::payment(&delivery.subject).is_ok() => newer.push((delivery, "a newer release")),
                Err(unreadable) => self.bury(delivery, unreadable.to_string()).await?,
            }
        }
        self.postpone(newer, Company::Others).await;
        if !together.inputs.is_empty() {
            self.judge(together).await?;
        }
        for one in alone.into_singles() {
            self.judge(one).await?;
        }
        Ok(())
    }

    /// What has waited comes again by our own wish, however often.
    fn is_judged_alone(&self, delivery: &Delivery<T::Receipt>) -> bool {
        match self.postponed.company(delivery.seq) {
            Some(company) => company == Company::Alone,
            None => delivery.attempt >= ALONE_FROM_ATTEMPT,
        }
    }

    /// Judges a batch; after an unexpected fault each of its messages alone.
    async fn judge(&mut self, mut batch: Batch<S, T::Receipt>) -> Result<(), Abandoned> {
        let started = Instant::now();
        match self.advance(&batch).await? {
            Ok(verdicts) => {
                self.conclude(batch.deliveries, verdicts).await?;
                self.metrics.judged(started.elapsed());
                Ok(())
            }
            Err(reason) if batch.inputs.len() > 1 => {
                tracing::error!(stage = %S::NAME, reason, size = batch.inputs.len(), "a batch cannot be judged: each message alone");
                for one in batch.into_singles() {
                    Box::pin(self.judge(one)).await?;
                }
                Ok(())
            }
            Err(reason) => match batch.deliveries.pop() {
                Some(delivery) => self.bury(delivery, reason).await,
                None => Ok(()),
            },
        }
    }

    /// The stage's verdicts, waiting out every outage; or why it has none.
    async fn advance(&mut self, batch: &Batch<S, T::Receipt>) -> Result<Result<Vec<Verdict>, String>, Abandoned> {
        let inputs = &batch.inputs;
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            let judged = AssertUnwindSafe(self.stage.advance(inputs)).catch_unwind();
            match self.keeping(judged).await {
                Ok(Ok(verdicts)) if verdicts.len() == inputs.len() => return Ok(Ok(verdicts)),
                Ok(Ok(verdicts)) => return Ok(Err(format!("{} verdicts on {} messages", verdicts.len(), inputs.len()))),
                Ok(Err(Fault::Unexpected(reason))) => return Ok(Err(reason)),
                Err(_) => return Ok(Err("the stage panicked".to_owned())),
                Ok(Err(Fault::Outage(reason))) => self.outage(&mut pause, &reason).await?,
            }
        }
    }

    /// Publishes what the verdicts emit and acknowledges; then postpones and buries the rest.
    async fn conclude(&mut self, deliveries: Vec<Delivery<T::Receipt>>, verdicts: Vec<Verdict>) -> Result<(), Abandoned> {
        let mut routes: BTreeMap<Stream, Reasoned<T::Receipt, Outgoing>> = BTreeMap::new();
        let (mut answered, mut waiting, mut unjudged, mut homeless) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (delivery, verdict) in deliveries.into_iter().zip(verdicts) {
            self.metrics.verdict(&verdict);
            match verdict {
                Verdict::Done => answered.push(delivery),
                Verdict::Later(why) => waiting.push((delivery, why)),
                Verdict::Bury(reason) => unjudged.push((delivery, reason)),
                Verdict::Emit(message) => match outgoing(&message, self.pipeline.shards) {
                    Ok((stream, outgoing)) => routes.entry(stream).or_default().push((delivery, outgoing)),
                    Err(reason) => unjudged.push((delivery, reason)),
                },
                Verdict::PutBack(put_back) => match self.put_back(*put_back).await? {
                    true => answered.push(delivery),
                    false => homeless.push(delivery),
                },
            }
        }
        for (stream, emitted) in routes {
            let refused = self.emit(stream, emitted, &mut answered).await?;
            unjudged.extend(refused);
        }
        self.acknowledge(&answered).await;
        self.postpone(waiting, Company::Others).await;
        for delivery in homeless {
            self.keep_homeless(delivery).await?;
        }
        for (delivery, reason) in unjudged {
            self.bury(delivery, reason).await?;
        }
        Ok(())
    }

    /// Stores what a batch emits into one stream: all of it, or, where the broker objects to the messages, each by itself.
    /// Answers with those that it takes in no way.
    async fn emit(
        &mut self,
        stream: Stream,
        emitted: Reasoned<T::Receipt, Outgoing>,
        answered: &mut Vec<Delivery<T::Receipt>>,
    ) -> Result<Reasoned<T::Receipt, String>, Abandoned> {
        let (deliveries, messages): (Vec<_>, Vec<_>) = emitted.into_iter().unzip();
        if self.publish(stream, &messages).await?.is_ok() {
            answered.extend(deliveries);
            return Ok(Vec::new());
        }
        let mut refused = Vec::new();
        for (delivery, message) in deliveries.into_iter().zip(messages) {
            match self.publish(stream, std::slice::from_ref(&message)).await? {
                Ok(()) => answered.push(delivery),
                Err(reason) => refused.push((delivery, reason)),
            }
        }
        Ok(refused)
    }

    /// Accepts a payment again that the ledger has lost; whether the intake has it now.
    async fn put_back(&mut self, put_back: PutBack) -> Result<bool, Abandoned> {
        let message = HopMessage::Accepted(put_back.accepted);
        let Ok((_, outgoing)) = outgoing(&message, self.pipeline.shards) else { return Ok(false) };
        let outgoing = Outgoing { headers: Headers::redriven(1, put_back.accepted_at), only_if_absent: true, ..outgoing };
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            match self.keeping(self.transport.publish(std::slice::from_ref(&outgoing))).await {
                Ok(()) | Err(BrokerError::Conflict) => return Ok(true),
                // Waiting here for room would wait for ever: what makes room is settled by this very stage.
                Err(BrokerError::Full | BrokerError::Refused(_)) => return Ok(false),
                Err(BrokerError::Missing) => self.declare(&mut pause).await?,
                Err(error) => self.outage(&mut pause, &error.to_string()).await?,
            }
        }
    }

    /// Stores a batch in one stream, waiting for room in a full one and declaring a missing one again. Declaring and trying
    /// again in place, rather than dropping the batch, spares its redelivery; what is stored twice is judged once. The broker
    /// may object to the messages themselves, for good.
    async fn publish(&mut self, stream: Stream, messages: &[Outgoing]) -> Result<Result<(), String>, Abandoned> {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            match self.keeping(self.transport.publish(messages)).await {
                Ok(()) => return Ok(Ok(())),
                Err(BrokerError::Refused(reason)) => return Ok(Err(reason)),
                Err(BrokerError::Full) => {
                    tracing::debug!(stage = %S::NAME, %stream, "the next stream is full");
                    // What fills it must be waiting for its stage; what that has done with goes now.
                    if let Err(error) = self.keeping(self.transport.make_room(stream)).await {
                        tracing::debug!(stage = %S::NAME, %stream, %error, "no room can be made");
                    }
                    self.wait(&mut pause).await?;
                }
                Err(BrokerError::Missing) => self.declare(&mut pause).await?,
                Err(error) => self.outage(&mut pause, &error.to_string()).await?,
            }
        }
    }

    async fn declare(&mut self, pause: &mut Pause) -> Result<(), Abandoned> {
        if let Err(error) = self.transport.declare().await {
            tracing::debug!(stage = %S::NAME, %error, "the next stream cannot be declared");
        }
        self.wait(pause).await
    }

    /// Acknowledges; a failure is not waited for, since the deliveries come again and are answered as before.
    async fn acknowledge(&mut self, deliveries: &[Delivery<T::Receipt>]) {
        if deliveries.is_empty() {
            return;
        }
        let receipts: Vec<T::Receipt> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
        for delivery in deliveries {
            self.in_hand.remove(&delivery.seq);
            self.postponed.ended(delivery.seq);
        }
        if let Err(error) = self.transport.acknowledge(&receipts).await {
            tracing::debug!(stage = %S::NAME, %error, "acknowledgements were not sent");
        }
    }

    /// Has these delivered again later, or lets go of those that have waited for long: the janitor brings them back.
    async fn postpone(&mut self, waiting: Reasoned<T::Receipt, &'static str>, company: Company) {
        let (now, mut again, mut let_go, mut example) = (Instant::now(), Vec::new(), Vec::new(), None);
        for (delivery, why) in waiting {
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

    /// A failure is not waited for, as with an acknowledgement: the deliveries come again after a while of their own.
    async fn deliver_again(&mut self, waiting: Vec<(Delivery<T::Receipt>, Duration)>) {
        if waiting.is_empty() {
            return;
        }
        let receipts: Vec<(T::Receipt, Duration)> = waiting.iter().map(|(delivery, after)| (delivery.receipt.clone(), *after)).collect();
        for (delivery, _) in waiting {
            self.in_hand.remove(&delivery.seq);
        }
        if let Err(error) = self.transport.postpone(&receipts).await {
            tracing::debug!(stage = %S::NAME, %error, "deliveries were not postponed");
        }
    }
}

/// Waits until an instant; for ever when there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn outgoing(message: &HopMessage, shards: u16) -> Result<(Stream, Outgoing), String> {
    let payload = message.encode().map_err(|error| format!("the verdict cannot be written: {error}"))?;
    let (stream, subject) = message.route(shards);
    Ok((stream, Outgoing::new(subject.into_string(), payload)))
}

#[cfg(test)]
#[path = "harness_tests.rs"]
mod tests;
