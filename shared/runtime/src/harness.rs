//! The harness: take a batch, decode, judge, publish, acknowledge. Written once, for every stage.
//!
//! **Acknowledge last.** The unacknowledged input is the outbox: whatever happens before the acknowledgement
//! happens again. **An outage never buries a payment**: the harness lets go of what was fetched ahead, keeps
//! the batch in hand alive and tries again in place. Burial needs an unexpected fault of a payment that was
//! judged alone; never a count. **One payment never stops the others**: what waits for something of its own
//! is delivered again later.

mod answering;
mod brake;
mod burial;
mod concluding;
mod patience;
mod postponed;
mod publishing;
mod reading;
mod spans;

use crate::clock::Clock;
use crate::config::PipelineConfig;
use crate::dead_letters::DeadLetters;
use crate::drain::Drain;
use crate::stage::{Fault, Input, Stage, Verdict};
use crate::telemetry::{Outcome, StageMetrics, Traces};
use crate::transport::{Delivery, Transport};
use brake::Brake;
use futures::FutureExt;
use patience::{Abandoned, Pause};
use postponed::{Company, Postponed};
use reading::{Unreadable, decode};
use spans::BatchSpans;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::task::Poll;
use tokio::task::unconstrained;
use tokio::time::Instant;
use wire::{Message, Subject};

/// From this delivery on a message is judged alone: if it is what ends the process, it takes no other payment
/// with it.
const ALONE_FROM_ATTEMPT: u64 = 3;

/// What is seen of a stage from outside.
pub struct StageTelemetry {
    /// Its figures.
    pub metrics: StageMetrics,
    /// Its part in the traces of payments.
    pub traces: Traces,
}

/// Runs one stage on one input stream.
pub struct Harness<S: Stage, T: Transport, D: DeadLetters> {
    stage: S,
    transport: T,
    dead_letters: D,
    pipeline: PipelineConfig,
    metrics: StageMetrics,
    spans: BatchSpans,
    clock: Clock,
    drain: Drain,
    /// The deliveries of the batch in hand that have no answer yet, by sequence: all are kept alive until the
    /// last is done.
    in_hand: BTreeMap<u64, T::Receipt>,
    /// Nothing in hand has gone unheard of for longer than since then.
    kept_at: Mutex<Instant>,
    /// When the last batch was taken, and the one before.
    taken_at: [Instant; 2],
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
        self.deliveries
            .into_iter()
            .zip(self.inputs)
            .map(|(delivery, input)| Batch { deliveries: vec![delivery], inputs: vec![input] })
    }
}

/// Deliveries, each with what its verdict asks for.
type Reasoned<R, W> = Vec<(Delivery<R>, W)>;

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// A stage with its input, its place for the dead, what is seen of it and its clock.
    pub fn new(
        stage: S,
        transport: T,
        dead_letters: D,
        pipeline: PipelineConfig,
        telemetry: StageTelemetry,
        clock: Clock,
        drain: Drain,
    ) -> Harness<S, T, D> {
        let now = Instant::now();
        let (in_hand, kept_at, taken_at) = (BTreeMap::new(), Mutex::new(now), [now; 2]);
        let (postponed, brake) = (Postponed::new(&pipeline), Brake::default());
        let StageTelemetry { metrics, traces } = telemetry;
        let spans = BatchSpans::new(traces, S::NAME, transport.stream(), S::Out::HOP);
        Harness {
            stage,
            transport,
            dead_letters,
            pipeline,
            metrics,
            spans,
            clock,
            drain,
            in_hand,
            kept_at,
            taken_at,
            postponed,
            brake,
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
            let (drain, release_at) = (self.drain.clone(), self.brake.release_at());
            let (taken, has_waited) = tokio::select! {
                biased;
                () = drain.begun() => break,
                taken = noting_a_wait(self.transport.take(self.pipeline.batch_max)) => taken,
                () = at(release_at) => (Ok(Vec::new()), true),
            };
            self.keeping_since(has_waited);
            self.release_brake();
            match taken {
                Ok(batch) => {
                    pause.reset();
                    let processed = self.process(batch).await;
                    self.spans.end();
                    if processed.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(stage = %S::NAME, %error, "the input ended");
                    is_open = false;
                }
            }
        }
        self.give_back().await;
    }

    /// What is not done goes to another process at once, if there is one.
    async fn give_back(&mut self) {
        let abandoned: Vec<T::Receipt> = std::mem::take(&mut self.in_hand).into_values().collect();
        if let Err(error) = self.transport.give_back(&abandoned).await {
            tracing::debug!(stage = %S::NAME, %error, "deliveries could not be given back");
        }
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
        self.spans.begin(&batch);
        self.postponed.prune(Instant::now());
        self.postponed.take(batch.len(), batch.iter().map(|delivery| delivery.payload.len()).sum());
        self.metrics.batch(batch.len(), batch.iter().filter(|delivery| delivery.attempt > 1).count());
        let (mut together, mut alone) = (Batch::<S, T::Receipt>::empty(), Batch::<S, T::Receipt>::empty());
        let mut newer = Vec::new();
        for delivery in batch {
            if self.dead_letters.is_dead(Subject::payment_token(&delivery.subject)) {
                self.spans.outcome(delivery.seq, Outcome::Buried);
                self.acknowledge(&[delivery]).await;
                continue;
            }
            match decode::<S, T>(&delivery, self.spans.context(&delivery)) {
                Ok(input) if self.is_judged_alone(&delivery) => alone.push(delivery, input),
                Ok(input) => together.push(delivery, input),
                // Another release is at work beside this one, or after it; unless nobody can ever judge this.
                Err(Unreadable::Newer) if Subject::payment(&delivery.subject).is_ok() => {
                    newer.push((delivery, "a newer release"))
                }
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
    async fn advance(
        &mut self,
        batch: &Batch<S, T::Receipt>,
    ) -> Result<Result<Vec<Verdict<S::Out>>, String>, Abandoned> {
        let inputs = &batch.inputs;
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            let asking = self.spans.ask_ledger(&batch.deliveries);
            let judged = AssertUnwindSafe(self.stage.advance(inputs, self.clock.now())).catch_unwind();
            let judged = self.keeping(judged).await;
            match &judged {
                Ok(Ok(_)) => asking.done(),
                Ok(Err(fault)) => asking.failed(fault.kind()),
                Err(_) => asking.failed("panic"),
            }
            match judged {
                Ok(Ok(verdicts)) if verdicts.len() == inputs.len() => return Ok(Ok(verdicts)),
                Ok(Ok(verdicts)) => {
                    return Ok(Err(format!("{} verdicts on {} messages", verdicts.len(), inputs.len())));
                }
                Ok(Err(Fault::Unexpected(reason))) => return Ok(Err(reason)),
                Err(_) => return Ok(Err("the stage panicked".to_owned())),
                Ok(Err(Fault::Outage(reason))) => self.outage(&mut pause, &reason).await?,
            }
        }
    }
}

/// What a future answers, and whether it had to be waited for.
async fn noting_a_wait<F: Future>(future: F) -> (F::Output, bool) {
    let mut future = std::pin::pin!(future);
    // Without tokio's budget, at whose end everything seems to have to be waited for.
    match futures::poll!(unconstrained(future.as_mut())) {
        Poll::Ready(answer) => (answer, false),
        Poll::Pending => (future.await, true),
    }
}

/// Waits until an instant; for ever when there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
