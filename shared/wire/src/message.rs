//! The messages: one struct per hop, each the one before plus what its stage found out.

use crate::{Hop, Stream, Subject};
use domain::facts::{Facts, Quote, Rejection, Screening};
use domain::{Fingerprint, Money, Payment, PaymentId, PaymentKey, Refusal, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

/// A message of the pipeline.
pub trait Message:
    Serialize + serde::de::DeserializeOwned + Into<HopMessage> + Send + Sync + 'static
{
    /// The hop that the payment has behind it.
    const HOP: Hop;

    /// Which payment it is about.
    fn key(&self) -> PaymentKey;
}

/// Durable at the intake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAccepted {
    /// What the sender asked for.
    pub payment: Payment,
    /// What a second request under the same id is compared with.
    pub fingerprint: Fingerprint,
}

/// A [`PaymentAccepted`] in its envelope, of a payment that stays where it is.
pub fn encode_accepted(payment: &Payment, fingerprint: &Fingerprint) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Accepted<'p> {
        payment: &'p Payment,
        fingerprint: &'p Fingerprint,
    }
    crate::envelope::encode(&Accepted { payment, fingerprint })
}

/// A payment that risk let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentScreened {
    /// What is known since the payment was accepted.
    #[serde(flatten)]
    pub facts: Facts,
    /// What risk found.
    pub screening: Screening,
}

/// Has its destination amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentQuoted {
    /// What is known since the payment was accepted.
    #[serde(flatten)]
    pub facts: Facts,
    /// What risk found.
    pub screening: Screening,
    /// What will arrive, and how it was worked out.
    pub quote: Quote,
}

/// Its money is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentReserved {
    /// What is known since the payment was accepted.
    #[serde(flatten)]
    pub facts: Facts,
    /// What risk found.
    pub screening: Screening,
    /// What will arrive, and how it was worked out.
    pub quote: Quote,
    /// When the hold was made.
    pub reserved_at: Timestamp,
}

/// Refused by a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentRejected {
    /// What is known since the payment was accepted.
    #[serde(flatten)]
    pub facts: Facts,
    /// What risk found; absent when risk itself refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screening: Option<Screening>,
    /// What would have arrived; absent when risk or fx refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// Who refused and why.
    pub rejection: Rejection,
}

/// Reading a message whose facts stand beside its other fields. Serde's own `flatten` reads through a buffer
/// that a raw JSON value, as the sender's metadata is, cannot pass (serde-rs/json 599 and 1099).
macro_rules! read_flat {
    ($message:ident { $($field:ident: $kind:ty),+ $(,)? }) => {
        impl<'de> Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$message, D::Error> {
                #[derive(Deserialize)]
                struct Flat {
                    payment: Payment,
                    fingerprint: Fingerprint,
                    accepted_seq: u64,
                    accepted_at: Timestamp,
                    $($field: $kind,)+
                }
                let Flat { payment, fingerprint, accepted_seq, accepted_at, $($field),+ } = Flat::deserialize(deserializer)?;
                Ok($message { facts: Facts { payment, fingerprint, accepted_seq, accepted_at }, $($field),+ })
            }
        }
    };
}

read_flat!(PaymentScreened { screening: Screening });
read_flat!(PaymentQuoted { screening: Screening, quote: Quote });
read_flat!(PaymentReserved { screening: Screening, quote: Quote, reserved_at: Timestamp });
read_flat!(PaymentRejected { screening: Option<Screening>, quote: Option<Quote>, rejection: Rejection });

/// Captured or failed, recorded in the ledger. May be repeated: readers go by payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentFinished {
    /// The payment that has come to its end.
    #[serde(flatten)]
    pub key: PaymentKey,
    /// How it ended.
    pub status: FinalStatus,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
    /// What left, or would have.
    pub amount: Money,
    /// What arrived, or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_amount: Option<Money>,
    /// The sequence of the accepted message that this was derived from.
    pub accepted_seq: u64,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl<'de> Deserialize<'de> for PaymentFinished {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PaymentFinished, D::Error> {
        /// The key's fields stand beside the others; read so, nothing is buffered.
        #[derive(Deserialize)]
        struct Flat {
            tenant: Tenant,
            id: PaymentId,
            status: FinalStatus,
            reason: Option<Refusal>,
            amount: Money,
            destination_amount: Option<Money>,
            accepted_seq: u64,
            accepted_at: Timestamp,
            finished_at: Timestamp,
        }
        let flat = Flat::deserialize(deserializer)?;
        Ok(PaymentFinished {
            key: PaymentKey { tenant: flat.tenant, id: flat.id },
            status: flat.status,
            reason: flat.reason,
            amount: flat.amount,
            destination_amount: flat.destination_amount,
            accepted_seq: flat.accepted_seq,
            accepted_at: flat.accepted_at,
            finished_at: flat.finished_at,
        })
    }
}

/// How a payment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FinalStatus {
    /// The money moved.
    Captured,
    /// It did not, and will not.
    Failed,
}

impl FinalStatus {
    /// The status as clients and the ledger spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            FinalStatus::Captured => "CAPTURED",
            FinalStatus::Failed => "FAILED",
        }
    }
}

macro_rules! hop_messages {
    ($($name:ident($message:ident) via $key:ident),+ $(,)?) => {
        /// Any message that a stage can emit.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum HopMessage {
            $(
                /// See the message of this name.
                $name($message),
            )+
        }

        $(
            impl Message for $message {
                const HOP: Hop = Hop::$name;
                fn key(&self) -> PaymentKey {
                    hop_messages!(@key self $key)
                }
            }

            impl From<$message> for HopMessage {
                fn from(message: $message) -> HopMessage {
                    HopMessage::$name(message)
                }
            }
        )+

        /// Each hop has its message.
        const _: fn(Hop) = |hop| match hop { $(Hop::$name => {}),+ };

        impl HopMessage {
            /// The hop that the payment has behind it.
            pub const fn hop(&self) -> Hop {
                match self { $(HopMessage::$name(_) => Hop::$name),+ }
            }

            /// Which payment it is about.
            pub fn key(&self) -> PaymentKey {
                match self { $(HopMessage::$name(message) => message.key()),+ }
            }

            /// The message in its envelope.
            pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self { $(HopMessage::$name(message) => crate::envelope::encode(message)),+ }
            }

            /// The shard that it travels in, of `shards`.
            pub fn shard(&self, shards: u16) -> u16 {
                // All travel in the only one.
                if shards <= 1 {
                    return 0;
                }
                match self { $(HopMessage::$name(message) => hop_messages!(@shard message $key shards)),+ }
            }

            /// The stream and subject that it is published to.
            pub fn route(&self, shards: u16) -> (Stream, Subject) {
                let shard = self.shard(shards);
                (Stream::of(self.hop(), shard), Subject::of(self.hop(), shard, &self.key()))
            }
        }
    };
    (@key $self:ident payment) => { $self.payment.key() };
    (@key $self:ident facts) => { $self.facts.payment.key() };
    (@key $self:ident key) => { $self.key.clone() };
    (@shard $message:ident payment $shards:ident) => { $message.payment.source_key().shard($shards) };
    (@shard $message:ident facts $shards:ident) => { $message.facts.payment.source_key().shard($shards) };
    (@shard $message:ident key $shards:ident) => { { let _ = $message; 0 } };
}

hop_messages! {
    Accepted(PaymentAccepted) via payment,
    Screened(PaymentScreened) via facts,
    Quoted(PaymentQuoted) via facts,
    Reserved(PaymentReserved) via facts,
    Rejected(PaymentRejected) via facts,
    Finished(PaymentFinished) via key,
}
