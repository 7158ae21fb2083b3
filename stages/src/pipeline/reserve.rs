//! Reserve: consumes quoted payments, forwards those whose money is held.
//!
//! Refuses with `account_not_found`, `account_frozen`, `currency_mismatch` or `insufficient_funds`, and a
//! conversion that has waited too long since it was quoted with `fx_rate_stale`. One transaction per batch; a
//! payment that has a row is answered from it, whatever the message says, so asking twice changes nothing. One
//! whose account another transaction has locked waits, and the others do not.

use domain::{StageName, Timestamp};
use host::fault;
use runtime::stage::{Fault, Input, Stage, Verdict};
use store::{Answer, HoldRequest, StageLedger};
use wire::message::{PaymentQuoted, PaymentReserved};

/// The stage.
pub(crate) struct Reserve<L> {
    /// Where the money is held.
    pub(crate) ledger: L,
    /// The oldest quote of a conversion that money is held for, in seconds.
    pub(crate) quote_age_seconds_max: i64,
}

impl<L: StageLedger> Stage for Reserve<L> {
    const NAME: StageName = StageName::Reserve;
    type In = PaymentQuoted;
    type Out = PaymentReserved;

    async fn advance(
        &self,
        batch: &[Input<PaymentQuoted>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentReserved>>, Fault> {
        let requests = batch.iter().map(|input| self.request(input, now)).collect();
        let answers = self.ledger.reserve(requests, now).await.map_err(|error| fault(&error))?;
        Ok(answers.into_iter().map(verdict).collect())
    }
}

fn verdict(answer: Answer) -> Verdict<PaymentReserved> {
    match answer {
        Answer::Recorded(record) => Verdict::Retell(record),
        Answer::Locked => Verdict::Later("another transaction's lock on its account or its id"),
    }
}

impl<L> Reserve<L> {
    fn request(&self, input: &Input<PaymentQuoted>, now: Timestamp) -> HoldRequest {
        let PaymentQuoted { facts, screening, quote } = input.message.clone();
        let is_quote_outdated = quote.is_outdated(now, self.quote_age_seconds_max);
        HoldRequest { facts, screening, quote, is_quote_outdated, trace: input.trace }
    }
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;
