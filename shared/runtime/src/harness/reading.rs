//! From a delivery to an input: what a stage is asked about is a message of this build's, about the payment
//! of its subject.

use crate::stage::{Input, Stage};
use crate::transport::{Delivery, Transport};
use domain::TraceContext;
use wire::Subject;
use wire::envelope::{self, DecodeError};

/// Why a delivery is no input.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// This build does not know its version.
    #[error("a message of a newer version")]
    Newer,
    #[error("{0}")]
    Malformed(String),
}

pub(super) fn decode<S: Stage, T: Transport>(
    delivery: &Delivery<T::Receipt>,
    trace: Option<TraceContext>,
) -> Result<Input<S::In>, Unreadable> {
    let message: S::In = envelope::decode(&delivery.payload).map_err(|error| match error {
        DecodeError::UnknownVersion(version) if version > envelope::VERSION => Unreadable::Newer,
        error => Unreadable::Malformed(error.to_string()),
    })?;
    let named = Subject::payment(&delivery.subject)
        .map_err(|error| Unreadable::Malformed(format!("the subject's payment {error}")))?;
    if wire::Message::key(&message) != named {
        return Err(Unreadable::Malformed(
            "the message is about another payment than its subject".to_owned(),
        ));
    }
    Ok(Input {
        message,
        seq: delivery.seq,
        accepted_at: delivery.headers.accepted_at(delivery.stored_at),
        is_redriven: delivery.headers.redrive.is_some(),
        trace,
    })
}
