//! Settle: consumes reserved payments, forwards finished ones.
//!
//! Posts the entries, releases the hold and captures the payment, one transaction per batch. Refuses with
//! `destination_limit` where the destination's balance cannot take the money: the hold is released and the
//! payment fails. A payment that had ended before is told again from its row. One that needs what another
//! transaction has locked waits, and the others do not. One without a row was in a ledger that has been set
//! back since: it is accepted again.

use domain::{StageName, Timestamp};
use host::fault;
use runtime::stage::{Fault, Input, PutBack, Stage, Verdict};
use store::{SettleRequest, Settlement, StageLedger};
use wire::message::{PaymentAccepted, PaymentFinished, PaymentReserved};

/// The stage.
pub(crate) struct Settle<L> {
    /// Where the entries are posted.
    pub(crate) ledger: L,
    /// Whose system accounts it posts to.
    pub(crate) shard: u16,
}

impl<L: StageLedger> Stage for Settle<L> {
    const NAME: StageName = StageName::Settle;
    type In = PaymentReserved;
    type Out = PaymentFinished;

    async fn advance(
        &self,
        batch: &[Input<PaymentReserved>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentFinished>>, Fault> {
        let requests = batch.iter().map(|input| request(&input.message)).collect();
        let settled = self.ledger.settle(requests, now, self.shard).await.map_err(|error| fault(&error))?;
        Ok(batch.iter().zip(settled).map(|(input, settlement)| verdict(&input.message, settlement)).collect())
    }
}

fn request(message: &PaymentReserved) -> SettleRequest {
    let (from, to) = (message.facts.payment.amount.currency, message.quote.destination_amount.currency);
    SettleRequest {
        payment: message.facts.payment.key(),
        source: message.facts.payment.source_account.clone(),
        destination: message.facts.payment.destination_account.clone(),
        conversion: (from != to).then_some((from, to)),
    }
}

fn verdict(message: &PaymentReserved, settlement: Settlement) -> Verdict<PaymentFinished> {
    match settlement {
        Settlement::Recorded(record) => Verdict::Retell(record),
        Settlement::Locked => Verdict::Later("another transaction's lock on its row or an account"),
        Settlement::Unpostable(error) => Verdict::Bury(error.to_string()),
        Settlement::NoRow => {
            let id = &message.facts.payment.id;
            tracing::error!(payment = %id, "a reserved payment has no row: the ledger was set back, and the payment is accepted again");
            let accepted = PaymentAccepted {
                payment: message.facts.payment.clone(),
                fingerprint: message.facts.fingerprint,
            };
            Verdict::PutBack(Box::new(PutBack { accepted, accepted_at: message.facts.accepted_at }))
        }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
