//! What a stage is: a judgement on a batch, and nothing else.
//!
//! A stage never acknowledges, publishes, retries or counts; all of that is the harness'. It must give the same answer to
//! the same message again as far as money is concerned, because deliveries repeat.

use domain::{Refusal, StageName, Timestamp};
use std::future::Future;
use wire::message::PaymentAccepted;
use wire::{HopMessage, Message};

/// A message to be judged, and what its delivery says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input<M> {
    /// The message.
    pub message: M,
    /// Its sequence in the input stream.
    pub seq: u64,
    /// When the payment was accepted, if the input is the intake: the first copy's stream time.
    pub accepted_at: Timestamp,
    /// Whether this is a copy that the janitor published again.
    pub is_redriven: bool,
}

/// What a stage says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The payment goes on, or was refused, or is told again from its row: publish this.
    Emit(Box<HopMessage>),
    /// There is nothing left to say.
    Done,
    /// This one must wait for something that the others need not wait for: ask again in a while. Says for what.
    Later(&'static str),
    /// The ledger does not know a payment that it must have known: it was set back. Accept the payment again.
    PutBack(Box<PutBack>),
    /// This one cannot be judged, for a reason of its own: bury it.
    Bury(String),
}

/// What the intake had of a payment, as a later message still carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// The message that was accepted.
    pub accepted: PaymentAccepted,
    /// When its first copy was.
    pub accepted_at: Timestamp,
}

impl Verdict {
    /// Publish this message.
    pub fn emit(message: impl Into<HopMessage>) -> Verdict {
        Verdict::Emit(Box::new(message.into()))
    }

    /// The refusal that the verdict carries, if any.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Verdict::Emit(message) => match message.as_ref() {
                HopMessage::Rejected(rejected) => Some(rejected.rejection.reason),
                // The one refusal that settle makes itself: what it tells again of other stages was counted there.
                HopMessage::Finished(finished) => finished.reason.filter(|reason| *reason == Refusal::DestinationLimit),
                _ => None,
            },
            Verdict::Done | Verdict::Later(_) | Verdict::PutBack(_) | Verdict::Bury(_) => None,
        }
    }
}

/// Why a batch could not be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Something that every payment needs is away. Nothing is wrong with the batch: wait and try again.
    #[error("outage: {0}")]
    Outage(String),
    /// Something that must not happen. Judged alone, a payment that meets this is buried.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

/// A stage of the pipeline.
pub trait Stage: Send + Sync + 'static {
    /// Its name.
    const NAME: StageName;
    /// What it consumes.
    type In: Message;
    /// What it forwards when it does not refuse; the next stage consumes it.
    type Out: Message;

    /// Judges a batch: one verdict per input, in order.
    fn advance(&self, batch: &[Input<Self::In>]) -> impl Future<Output = Result<Vec<Verdict>, Fault>> + Send;
}

/// Proves at compile time that stage `B` consumes what stage `A` forwards.
pub const fn follows<A: Stage, B: Stage<In = A::Out>>() {}
