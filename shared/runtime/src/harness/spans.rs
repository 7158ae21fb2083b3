//! The spans of the batch in hand: one for each payment in it that is traced, from its delivery to its
//! answer, and one for the batch. Where no payment is traced, all of this is one look at an empty map.

use crate::telemetry::{Consumed, LedgerOperation, Outcome, Span, Traces};
use crate::transport::Delivery;
use domain::{Refusal, StageName, TraceContext};
use std::collections::HashMap;
use wire::message::{FinalStatus, PaymentFinished};
use wire::{Hop, HopMessage, Stream};

/// A payment's span, and what is known so far of what becomes of it: the last word counts, and an attribute
/// can be written once.
struct PaymentSpan {
    span: Span,
    outcome: Option<(Outcome, Option<Refusal>)>,
}

impl PaymentSpan {
    fn end(mut self, outcome: Option<(Outcome, Option<Refusal>)>) {
        let Some((outcome, refusal)) = outcome else { return };
        self.span.outcome(outcome);
        if let Some(refusal) = refusal {
            self.span.refusal(refusal);
        }
        match outcome {
            Outcome::Buried => self.span.failed("unjudgeable"),
            Outcome::Abandoned => self.span.failed("abandoned"),
            _ => {}
        }
    }
}

pub(super) struct BatchSpans {
    traces: Traces,
    stage: StageName,
    /// Where the batch comes from.
    stream: Stream,
    /// What the stage forwards.
    forwards: Hop,
    /// By the deliveries' sequences.
    payments: HashMap<u64, PaymentSpan>,
    batch: Option<Span>,
}

/// The spans of something that is being done. It is abandoned unless it is said how it went.
#[must_use]
pub(super) struct Doing(Vec<Span>);

impl Doing {
    pub(super) fn done(mut self) {
        self.0.clear();
    }

    pub(super) fn failed(mut self, error: &'static str) {
        for mut span in self.0.drain(..) {
            span.failed(error);
        }
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        for span in &mut self.0 {
            span.failed("abandoned");
        }
    }
}

impl BatchSpans {
    /// Of a stage that nothing was delivered to yet.
    pub(super) fn new(traces: Traces, stage: StageName, stream: Stream, forwards: Hop) -> BatchSpans {
        BatchSpans { traces, stage, stream, forwards, payments: HashMap::new(), batch: None }
    }

    /// These deliveries are in hand.
    pub(super) fn begin<R>(&mut self, batch: &[Delivery<R>]) {
        for delivery in batch.iter().filter(|delivery| delivery.headers.trace.is_some()) {
            let span = self.traces.consume(&Consumed {
                parent: delivery.headers.trace,
                stage: self.stage,
                stream: self.stream,
                subject: &delivery.subject,
                seq: delivery.seq,
                attempt: delivery.attempt,
                redrives: delivery.headers.redrive.map_or(0, |redrive| redrive.times),
                size: delivery.payload.len(),
            });
            self.payments.extend(span.map(|span| (delivery.seq, PaymentSpan { span, outcome: None })));
        }
        if !self.payments.is_empty() {
            let of = |delivery: &Delivery<R>| Some(self.payments.get(&delivery.seq)?.span.context());
            let links = batch.iter().filter_map(of).collect();
            self.batch = self.traces.consume_batch(links, self.stage, self.stream, batch.len());
        }
    }

    /// What follows from a delivery comes from its span; where nothing is recorded here, from what sent it.
    pub(super) fn context<R>(&self, delivery: &Delivery<R>) -> Option<TraceContext> {
        let sender = delivery.headers.trace.filter(|trace| trace.is_sampled)?;
        Some(self.payments.get(&delivery.seq).map_or(sender, |payment| payment.span.context()))
    }

    /// What the stage asks of the ledger about these.
    pub(super) fn ask_ledger<R>(&self, deliveries: &[Delivery<R>]) -> Doing {
        Doing(match LedgerOperation::of(self.stage) {
            Some(operation) if !self.payments.is_empty() => {
                let parents = deliveries.iter().filter_map(|delivery| self.context(delivery));
                self.traces.ask_ledger(parents, operation, deliveries.len())
            }
            _ => Vec::new(),
        })
    }

    /// What is told of these on its way into a stream.
    pub(super) fn publish<'d, R: 'd>(
        &self,
        stream: Stream,
        told: impl Iterator<Item = (&'d Delivery<R>, usize)>,
    ) -> Doing {
        if self.payments.is_empty() {
            return Doing(Vec::new());
        }
        let publish = |(delivery, size)| self.traces.publish(self.context(delivery), stream, size);
        Doing(told.filter_map(publish).collect())
    }

    /// This is told of a delivery.
    pub(super) fn told(&mut self, seq: u64, message: &HopMessage) {
        let Some(payment) = self.payments.get_mut(&seq) else { return };
        payment.outcome = Some(match message {
            HopMessage::Rejected(rejected) => (Outcome::Rejected, Some(rejected.rejection.reason)),
            HopMessage::Finished(PaymentFinished { status: FinalStatus::Captured, .. }) => {
                (Outcome::Captured, None)
            }
            HopMessage::Finished(finished) => (Outcome::Failed, finished.reason),
            message if message.hop() == self.forwards => (Outcome::Forwarded, None),
            HopMessage::Accepted(_)
            | HopMessage::Screened(_)
            | HopMessage::Quoted(_)
            | HopMessage::Reserved(_) => (Outcome::Retold, None),
        });
    }

    /// This has become of a delivery.
    pub(super) fn outcome(&mut self, seq: u64, outcome: Outcome) {
        if let Some(payment) = self.payments.get_mut(&seq) {
            payment.outcome = Some((outcome, None));
        }
    }

    /// A delivery has its answer.
    pub(super) fn answered(&mut self, seq: u64) {
        if self.payments.is_empty() {
            return;
        }
        if let Some(payment) = self.payments.remove(&seq) {
            let outcome = payment.outcome;
            payment.end(outcome);
        }
    }

    /// The batch is done with, or let go of: what has no answer by now comes again.
    pub(super) fn end(&mut self) {
        for (_, payment) in self.payments.drain() {
            payment.end(Some((Outcome::Abandoned, None)));
        }
        self.batch = None;
    }
}
