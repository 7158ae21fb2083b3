//! Settle rejected: consumes refusals, forwards finished payments.
//!
//! Records what risk and fx refused as FAILED. A payment that has a row is told from it: refusals of reserve have one
//! already, and one that was reserved meanwhile goes on to settle. One that another transaction is recording just now waits.

use crate::faults::fault;
use domain::facts::RecordState;
use domain::{PaymentRecord, StageName, Timestamp};
use runtime::stage::{Fault, Input, Stage, Verdict};
use store::{Answer, Store};
use wire::HopMessage;
use wire::message::{PaymentFinished, PaymentRejected};

/// The stage.
pub(crate) struct SettleRejected {
    /// The ledger.
    pub(crate) store: Store,
}

impl Stage for SettleRejected {
    const NAME: StageName = StageName::SettleRejected;
    type In = PaymentRejected;
    type Out = PaymentFinished;

    async fn advance(&self, batch: &[Input<PaymentRejected>]) -> Result<Vec<Verdict>, Fault> {
        let now = runtime::clock::now();
        let refused = batch.iter().map(|input| record(&input.message, now)).collect();
        let answers = self.store.record_rejections(refused).await.map_err(|error| fault(&error))?;
        Ok(answers.iter().map(verdict).collect())
    }
}

fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Answer::Locked => Verdict::Later("another transaction that is recording it"),
        Answer::Recorded(record) => match PaymentFinished::of_record(record) {
            Some(finished) => Verdict::emit(finished),
            None => Verdict::emit(HopMessage::of_record(record)),
        },
    }
}

fn record(message: &PaymentRejected, now: Timestamp) -> PaymentRecord {
    let PaymentRejected { facts, screening, quote, rejection } = message.clone();
    let state = RecordState::Failed { screening, quote, reserved_at: None, rejection, finished_at: now };
    PaymentRecord { facts, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_waits() {
        assert!(matches!(verdict(&Answer::Locked), Verdict::Later(_)));
    }
}
