//! Settle rejected: consumes refusals, forwards finished payments.
//!
//! Records what risk and fx refused as FAILED. A payment that has a row is told from it: refusals of reserve
//! have one already, and one that was reserved meanwhile goes on to settle. One that another transaction is
//! recording just now waits.

use domain::facts::RecordState;
use domain::{PaymentRecord, StageName, Timestamp};
use host::fault;
use runtime::stage::{Fault, Input, Stage, Verdict};
use store::{Answer, StageLedger};
use wire::message::{PaymentFinished, PaymentRejected};

/// The stage.
pub(crate) struct SettleRejected<L> {
    /// Where refusals are recorded.
    pub(crate) ledger: L,
}

impl<L: StageLedger> Stage for SettleRejected<L> {
    const NAME: StageName = StageName::SettleRejected;
    type In = PaymentRejected;
    type Out = PaymentFinished;

    async fn advance(
        &self,
        batch: &[Input<PaymentRejected>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentFinished>>, Fault> {
        let refused = batch.iter().map(|input| record(input, now)).collect();
        let answers = self.ledger.record_rejections(refused).await.map_err(|error| fault(&error))?;
        Ok(answers.into_iter().map(verdict).collect())
    }
}

fn verdict(answer: Answer) -> Verdict<PaymentFinished> {
    match answer {
        Answer::Recorded(record) => Verdict::Retell(record),
        Answer::Locked => Verdict::Later("another transaction that is recording it"),
    }
}

fn record(input: &Input<PaymentRejected>, now: Timestamp) -> PaymentRecord {
    let PaymentRejected { facts, screening, quote, rejection } = input.message.clone();
    let state = RecordState::Failed { screening, quote, reserved_at: None, rejection, finished_at: now };
    PaymentRecord { facts, state, trace: input.trace }
}

#[cfg(test)]
#[path = "settle_rejected_tests.rs"]
mod tests;
