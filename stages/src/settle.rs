//! Settle: consumes reserved payments, forwards finished ones.
//!
//! Posts the entries, releases the hold and captures the payment, one transaction per batch. It refuses nothing: the money
//! is held. A payment that was captured before is told again from its row; one that failed has been told already.

use crate::faults::fault;
use domain::facts::RecordState;
use domain::{Currency, StageName, Tenant};
use runtime::stage::{Fault, Input, Stage, Verdict};
use store::Store;
use wire::HopMessage;
use wire::message::{PaymentFinished, PaymentReserved};

/// The stage.
pub struct Settle {
    /// The ledger.
    pub store: Store,
    /// Whose system accounts it posts to.
    pub shard: u16,
}

impl Stage for Settle {
    const NAME: StageName = StageName::Settle;
    type In = PaymentReserved;
    type Out = PaymentFinished;

    async fn advance(&self, batch: &[Input<PaymentReserved>]) -> Result<Vec<Verdict>, Fault> {
        let keys = batch.iter().map(|input| input.message.payment.key()).collect();
        let currencies = batch.iter().flat_map(|input| conversions(&input.message)).collect();
        let settled = self.store.settle(keys, currencies, runtime::clock::now(), self.shard).await.map_err(|error| fault(&error))?;
        let verdicts = settled.into_iter().map(|outcome| match outcome {
            Err(fault) => Verdict::Bury(fault.to_string()),
            Ok(record) => match record.state {
                RecordState::Failed { .. } => Verdict::Done,
                RecordState::Captured { .. } => Verdict::emit(HopMessage::of_record(&record)),
                RecordState::Reserved(_) => Verdict::Bury("a payment stayed reserved through its settlement".to_owned()),
            },
        });
        Ok(verdicts.collect())
    }
}

/// The currencies whose system accounts a payment posts to: none unless it converts.
fn conversions(message: &PaymentReserved) -> Vec<(Tenant, Currency)> {
    let (from, to) = (message.payment.amount.currency, message.quote.destination_amount.currency);
    if from == to { Vec::new() } else { vec![(message.payment.tenant.clone(), from), (message.payment.tenant.clone(), to)] }
}
