//! What a stage is: a judgement on a batch, and nothing else.
//!
//! A stage never acknowledges, publishes, retries, counts or asks the clock; all of that is the harness'. It
//! must give the same answer to the same message again as far as money is concerned, because deliveries
//! repeat.

use domain::{PaymentRecord, StageName, Timestamp, TraceContext};
use std::future::Future;
use wire::message::{PaymentAccepted, PaymentRejected};
use wire::{Message, Stream};

/// A message to be judged, and what its delivery says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input<M> {
    /// What the stage before has told.
    pub message: M,
    /// Its sequence in the input stream.
    pub seq: u64,
    /// When the payment was accepted, if the input is the intake: the first copy's stream time.
    pub accepted_at: Timestamp,
    /// Whether this is a copy that the janitor published again.
    pub is_redriven: bool,
    /// Its span at this stage, where the payment is traced.
    pub trace: Option<TraceContext>,
}

/// What a stage says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<Out> {
    /// The payment goes on to the next stage.
    Forward(Out),
    /// It is refused.
    Reject(Box<PaymentRejected>),
    /// It is in the ledger, and its row says what is told of it: see [`wire::HopMessage::of_record`].
    Retell(Box<PaymentRecord>),
    /// This one must wait for something that the others need not wait for: ask again in a while. Says for
    /// what.
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

impl Fault {
    /// Which of these it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Fault::Outage(_) => "outage",
            Fault::Unexpected(_) => "unexpected",
        }
    }
}

/// A stage of the pipeline.
pub trait Stage: Send + Sync + 'static {
    /// Its name, and that of its durable consumer.
    const NAME: StageName;
    /// What it consumes.
    type In: Message;
    /// What it forwards when it does not refuse; the next stage consumes it.
    type Out: Message;

    /// Judges a batch, at the time `now`: one verdict per input, in order.
    fn advance(
        &self,
        batch: &[Input<Self::In>],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Verdict<Self::Out>>, Fault>> + Send;

    /// The stream that it consumes in a shard.
    fn input(shard: u16) -> Stream {
        Stream::of(Self::In::HOP, shard)
    }
}

/// Proves at compile time that stage `B` consumes what stage `A` forwards.
pub const fn follows<A: Stage, B: Stage<In = A::Out>>() {}

/// Whether the stream that a stage consumes is consumed under the stage's name.
pub(crate) const fn consumes_its_stream<S: Stage>() -> bool {
    match Stream::of(S::In::HOP, 0).consumer() {
        Some(consumer) => consumer as u8 == S::NAME as u8,
        None => false,
    }
}
