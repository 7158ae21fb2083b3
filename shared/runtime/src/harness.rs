//! The harness: take a batch, decode, judge, publish, acknowledge. Written once, for every stage.
//!
//! **Acknowledge last.** The unacknowledged input is the outbox: whatever happens before the acknowledgement happens
//! again. **An outage never buries a payment**: the harness lets go of what was fetched ahead, keeps the batch in hand
//! alive and tries again in place. Burial needs an unexpected fault of a payment that was judged alone; never a count.

use crate::broker::{BrokerError, Outgoing};
use crate::config::PipelineConfig;
use crate::drain::Drain;
use crate::morgue::{Burial, Morgue};
use crate::stage::{Fault, Input, Stage, Verdict};
use crate::telemetry::StageMetrics;
use crate::transport::{Delivery, Transport};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::{HopMessage, Stream, Subject, envelope};

/// From this delivery on a message is judged alone: if it is what ends the process, it takes no other payment with it.
const ALONE_FROM_ATTEMPT: u64 = 3;

/// The first pause of a retry; it doubles up to the configured maximum.
const RETRY_FIRST: Duration = Duration::from_millis(20);

/// Runs one stage on one input stream.
pub struct Harness<S: Stage, T: Transport, M: Morgue> {
    stage: S,
    transport: T,
    morgue: M,
    pipeline: PipelineConfig,
    metrics: StageMetrics,
    drain: Drain,
    /// The deliveries of the batch in hand: all are kept alive until the last of them is done.
    in_hand: Vec<T::Receipt>,
    /// When the deliveries in hand were last heard of by the broker.
    kept_at: Mutex<tokio::time::Instant>,
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

/// The drain began while the batch in hand was waiting out an outage: it stays unacknowledged and comes again.
struct Abandoned;

impl<S: Stage, T: Transport, M: Morgue> Harness<S, T, M> {
    /// A stage with its input, its place for the dead and its metrics.
    pub fn new(stage: S, transport: T, morgue: M, pipeline: PipelineConfig, metrics: StageMetrics, drain: Drain) -> Harness<S, T, M> {
        Harness {
            stage,
            transport,
            morgue,
            pipeline,
            metrics,
            drain,
            in_hand: Vec::new(),
            kept_at: Mutex::new(tokio::time::Instant::now()),
        }
    }

    /// Works until the drain begins.
    pub async fn run(mut self) {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        self.transport.close();
        let mut is_open = false;
        while !self.drain.has_begun() {
            if !is_open {
                is_open = self.reopen(&mut pause).await;
                continue;
            }
            let drain = self.drain.clone();
            let taken = tokio::select! {
                () = drain.begun() => break,
                taken = self.transport.take(self.pipeline.batch_max) => taken,
            };
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
        self.in_hand = batch.iter().map(|delivery| delivery.receipt.clone()).collect();
        self.kept_now();
        self.metrics.batch(batch.len(), batch.iter().filter(|delivery| delivery.attempt > 1).count());
        let (mut together, mut alone) = (Batch::<S, T::Receipt>::empty(), Batch::<S, T::Receipt>::empty());
        for delivery in batch {
            if self.morgue.is_dead(Subject::payment_token(&delivery.subject)) {
                self.acknowledge(&[delivery.receipt]).await;
                continue;
            }
            match decode::<S, T>(&delivery) {
                Ok(input) if delivery.attempt >= ALONE_FROM_ATTEMPT => alone.push(delivery, input),
                Ok(input) => together.push(delivery, input),
                Err(reason) => self.bury(&delivery, reason).await?,
            }
        }
        if !together.inputs.is_empty() {
            self.judge(together).await?;
        }
        for one in alone.into_singles() {
            self.judge(one).await?;
        }
        Ok(())
    }

    /// Judges a batch; after an unexpected fault each of its messages alone.
    async fn judge(&mut self, batch: Batch<S, T::Receipt>) -> Result<(), Abandoned> {
        let started = Instant::now();
        match self.advance(&batch).await? {
            Ok(verdicts) => {
                self.conclude(batch, verdicts).await?;
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
            Err(reason) => match batch.deliveries.first() {
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

    /// Publishes what the verdicts emit, buries what they bury, then acknowledges.
    async fn conclude(&mut self, batch: Batch<S, T::Receipt>, verdicts: Vec<Verdict>) -> Result<(), Abandoned> {
        let (mut routes, mut answered, mut unjudged) = (Routes::default(), Vec::with_capacity(batch.inputs.len()), Vec::new());
        for (delivery, verdict) in batch.deliveries.into_iter().zip(verdicts) {
            self.metrics.verdict(&verdict);
            let routed = match verdict {
                Verdict::Done => Ok(()),
                Verdict::Later(_) | Verdict::PutBack(_) => continue,
                Verdict::Bury(reason) => Err(reason),
                Verdict::Emit(message) => routes.add(&message, self.pipeline.shards),
            };
            match routed {
                Ok(()) => answered.push(delivery.receipt),
                Err(reason) => unjudged.push((delivery, reason)),
            }
        }
        for messages in routes.0.values() {
            self.publish(messages).await?;
        }
        for (delivery, reason) in unjudged {
            self.bury(&delivery, reason).await?;
        }
        self.acknowledge(&answered).await;
        Ok(())
    }

    /// Stores a batch in one stream, waiting for room in a full one and declaring a missing one again. Declaring and trying
    /// again in place, rather than dropping the batch, spares its redelivery; what is stored twice is judged once.
    async fn publish(&mut self, messages: &[Outgoing]) -> Result<(), Abandoned> {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            let stored = self.keeping(self.transport.publish(messages)).await;
            match stored {
                Ok(()) => return Ok(()),
                Err(BrokerError::Full) => {
                    tracing::debug!(stage = %S::NAME, "the next stream is full");
                    self.wait(&mut pause).await?;
                }
                Err(BrokerError::Missing) => {
                    if let Err(error) = self.transport.declare().await {
                        tracing::debug!(stage = %S::NAME, %error, "the next stream cannot be declared");
                    }
                    self.wait(&mut pause).await?;
                }
                Err(error) => self.outage(&mut pause, &error.to_string()).await?,
            }
        }
    }

    /// Writes the dead letter, then the buried message, then acknowledges.
    async fn bury(&mut self, delivery: &Delivery<T::Receipt>, reason: String) -> Result<(), Abandoned> {
        let token = Subject::payment_token(&delivery.subject);
        tracing::error!(stage = %S::NAME, payment = token, reason, "buried");
        let burial = Burial {
            stage: S::NAME,
            token: token.to_owned(),
            stream: self.transport.stream(),
            seq: delivery.seq,
            reason: reason.clone(),
            payload: delivery.payload.clone(),
        };
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        while let Err(error) = self.keeping(self.morgue.bury(&burial)).await {
            self.outage(&mut pause, &error).await?;
        }
        let mut message = Outgoing::new(Subject::dead(S::NAME, token).into_string(), delivery.payload.clone());
        message.headers.push((wire::header::DEAD_REASON, reason.replace(['\r', '\n'], " ")));
        self.publish(&[message]).await?;
        self.metrics.buried();
        self.acknowledge(std::slice::from_ref(&delivery.receipt)).await;
        Ok(())
    }

    /// Acknowledges; a failure is not waited for, since the deliveries come again and are answered as before.
    async fn acknowledge(&self, receipts: &[T::Receipt]) {
        if let Err(error) = self.transport.acknowledge(receipts).await {
            tracing::debug!(stage = %S::NAME, %error, "acknowledgements were not sent");
        }
    }

    /// An outage: what was fetched ahead is let go, the batch in hand is kept alive through a pause.
    async fn outage(&mut self, pause: &mut Pause, reason: &str) -> Result<(), Abandoned> {
        tracing::warn!(stage = %S::NAME, reason, "waiting out an outage");
        self.transport.close();
        self.wait(pause).await
    }

    async fn wait(&self, pause: &mut Pause) -> Result<(), Abandoned> {
        if self.drain.has_begun() {
            return Err(Abandoned);
        }
        self.keeping(pause.wait(&self.drain)).await;
        Ok(())
    }

    /// Does `work`, and says every third of the acknowledgement time that the deliveries are in progress. The time runs on
    /// from one piece of work to the next, or many short pauses would keep nothing.
    async fn keeping<O>(&self, work: impl Future<Output = O>) -> O {
        let period = Duration::from_millis((self.pipeline.ack_wait_ms / 3).max(1));
        let mut work = std::pin::pin!(work);
        loop {
            let due = *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) + period;
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep_until(due) => {
                    if let Err(error) = self.transport.keep(&self.in_hand).await {
                        tracing::debug!(stage = %S::NAME, %error, "deliveries could not be kept");
                    }
                    self.kept_now();
                }
            }
        }
    }

    fn kept_now(&self) {
        *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) = tokio::time::Instant::now();
    }
}

/// What a batch emits, by stream: an atomic batch belongs to one.
#[derive(Default)]
struct Routes(BTreeMap<Stream, Vec<Outgoing>>);

impl Routes {
    fn add(&mut self, message: &HopMessage, shards: u16) -> Result<(), String> {
        let payload = message.encode().map_err(|error| format!("the verdict cannot be written: {error}"))?;
        let (stream, subject) = message.route(shards);
        self.0.entry(stream).or_default().push(Outgoing::new(subject.into_string(), payload));
        Ok(())
    }
}

fn decode<S: Stage, T: Transport>(delivery: &Delivery<T::Receipt>) -> Result<Input<S::In>, String> {
    let message: S::In = envelope::decode(&delivery.payload).map_err(|error| error.to_string())?;
    let named = Subject::payment(&delivery.subject).map_err(|error| format!("the subject's payment {error}"))?;
    if wire::Message::key(&message) != named {
        return Err("the message is about another payment than its subject".to_owned());
    }
    Ok(Input {
        message,
        seq: delivery.seq,
        accepted_at: delivery.first_accepted_at.unwrap_or(delivery.stored_at),
        is_redriven: delivery.first_accepted_at.is_some(),
    })
}

/// Pauses that double up to a maximum.
struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    fn new(milliseconds_max: u64) -> Pause {
        Pause { next: RETRY_FIRST, max: Duration::from_millis(milliseconds_max) }
    }

    fn reset(&mut self) {
        self.next = RETRY_FIRST;
    }

    async fn wait(&mut self, drain: &Drain) {
        let pause = self.next.min(self.max);
        self.next = self.next.saturating_mul(2).min(self.max);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = drain.begun() => {}
        }
    }
}

#[cfg(test)]
#[path = "harness_tests.rs"]
mod tests;
