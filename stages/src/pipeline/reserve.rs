//! Reserve: consumes quoted payments, forwards those whose money is held.
//!
//! Refuses with `account_not_found`, `account_frozen`, `currency_mismatch` or `insufficient_funds`. One transaction per
//! batch; a payment that has a row is answered from it, whatever the message says, so asking twice changes nothing. One
//! whose account another transaction has locked waits, and the others do not.

use crate::faults::fault;
use domain::StageName;
use runtime::stage::{Fault, Input, Stage, Verdict};
use store::{Answer, HoldRequest, Store};
use wire::HopMessage;
use wire::message::{PaymentQuoted, PaymentReserved};

/// The stage.
pub(crate) struct Reserve {
    /// The ledger.
    pub(crate) store: Store,
}

impl Stage for Reserve {
    const NAME: StageName = StageName::Reserve;
    type In = PaymentQuoted;
    type Out = PaymentReserved;

    async fn advance(&self, batch: &[Input<PaymentQuoted>]) -> Result<Vec<Verdict>, Fault> {
        let requests = batch.iter().map(|input| request(&input.message)).collect();
        let answers = self.store.reserve(requests, runtime::clock::now()).await.map_err(|error| fault(&error))?;
        Ok(answers.iter().map(verdict).collect())
    }
}

fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Answer::Recorded(record) => Verdict::emit(HopMessage::of_record(record)),
        Answer::Locked => Verdict::Later("another transaction's lock on its account or its id"),
    }
}

fn request(message: &PaymentQuoted) -> HoldRequest {
    let PaymentQuoted { facts, screening, quote } = message.clone();
    HoldRequest { facts, screening, quote }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_waits() {
        assert!(matches!(verdict(&Answer::Locked), Verdict::Later(_)));
    }
}
