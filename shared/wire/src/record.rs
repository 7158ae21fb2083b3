//! What is told of a payment that is in the ledger: its row answers, never the message in hand.

use crate::HopMessage;
use crate::message::{FinalStatus, PaymentFinished, PaymentRejected, PaymentReserved};
use domain::facts::{Facts, PaymentRecord, Quote, RecordState, Reserved};
use domain::{Refusal, StageName, Timestamp};

impl HopMessage {
    /// What a stage tells of a row; nothing where it cannot have met such a row: risk and fx ask for none,
    /// and what settle has settled is not reserved any more.
    pub fn of_record(record: PaymentRecord, stage: StageName) -> Option<HopMessage> {
        use StageName::{Fx, Reserve, Risk, Settle, SettleRejected};
        let PaymentRecord { facts, state, .. } = record;
        match (state, stage) {
            (_, Risk | Fx) | (RecordState::Reserved(_), Settle) => None,
            (RecordState::Reserved(reserved), Reserve | SettleRejected) => {
                let Reserved { screening, quote, at } = reserved;
                Some(PaymentReserved { facts, screening, quote, reserved_at: at }.into())
            }
            (RecordState::Failed { screening, quote, rejection, .. }, Reserve) => {
                Some(PaymentRejected { facts, screening, quote, rejection }.into())
            }
            (RecordState::Failed { quote, rejection, finished_at, .. }, Settle | SettleRejected) => Some(
                finished(&facts, FinalStatus::Failed, Some(rejection.reason), quote.as_ref(), finished_at),
            ),
            (RecordState::Captured { reserved, finished_at }, Reserve | Settle | SettleRejected) => {
                Some(finished(&facts, FinalStatus::Captured, None, Some(&reserved.quote), finished_at))
            }
        }
    }
}

fn finished(
    facts: &Facts,
    status: FinalStatus,
    reason: Option<Refusal>,
    quote: Option<&Quote>,
    finished_at: Timestamp,
) -> HopMessage {
    HopMessage::Finished(PaymentFinished {
        key: facts.payment.key(),
        status,
        reason,
        amount: facts.payment.amount,
        destination_amount: quote.map(|quote| quote.destination_amount),
        accepted_seq: facts.accepted_seq,
        accepted_at: facts.accepted_at,
        finished_at,
    })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
