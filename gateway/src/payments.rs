//! Payments as every protocol has them: submitted, and looked up. How a request came is not known here.

use crate::accept::{Acceptance, Acceptor, Unaccepted};
use crate::admission::Admission;
use crate::listeners::Listeners;
use crate::request::{IdOrigin, PaymentRequest};
use crate::status::StatusReader;
use crate::view::PaymentView;
use crate::watch::Watches;
use domain::{PaymentKey, TraceContext};
use runtime::broker::Streams;
use runtime::drain::Drain;
use std::sync::Arc;
use store::BorderLedger;
use wire::{Caller, Code, Problem};

/// A payment that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// As it stands.
    pub(crate) view: PaymentView,
    /// The same request had been accepted before.
    pub(crate) is_replayed: bool,
}

/// What a client can do with payments.
pub(crate) struct Payments<B, L> {
    pub(crate) admission: Arc<Admission>,
    pub(crate) acceptor: Acceptor,
    pub(crate) status: StatusReader<B, L>,
    pub(crate) watches: Watches<B, L>,
    pub(crate) listeners: Listeners,
    pub(crate) drain: Drain,
    /// Names a payment that the client has not.
    pub(crate) fresh_id: fn() -> String,
}

impl<B: Streams, L: BorderLedger> Payments<B, L> {
    /// Accepts a payment, or says why not. `trace` is the span of whoever asks, where it is traced.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        request: PaymentRequest,
        trace: Option<TraceContext>,
    ) -> Result<Submitted, Problem> {
        let _place = self.admission.enter()?;
        let (payment, origin) = request.check(caller, self.fresh_id)?;
        let (key, view) = (payment.key(), PaymentView::pending(&payment));
        let named = |problem: Problem| problem.with_id(key.id.as_str());
        let _place_at_the_ledger = match origin {
            IdOrigin::Client => Some(self.admission.enter_for_the_ledger().map_err(named)?),
            IdOrigin::Gateway => None,
        };
        match self.acceptor.accept(payment, origin, trace).await {
            Acceptance::Accepted => Ok(Submitted { view, is_replayed: false }),
            Acceptance::Replayed => {
                Ok(Submitted { view: self.status.read(&key).await?.unwrap_or(view), is_replayed: true })
            }
            Acceptance::Mismatch => Err(Problem::new(
                Code::IdempotencyMismatch,
                "a payment with this id and other content was accepted before",
            )),
            Acceptance::Failed(Unaccepted::TurnedAway(reason)) => {
                Err(named(self.admission.no_room_for_a_payment(reason)))
            }
            Acceptance::Failed(Unaccepted::Failed(code)) => {
                let detail = match code {
                    Code::AcceptanceUnknown => "the intake did not answer: retry with the same id",
                    _ => "the payment was not accepted: retry with the same id",
                };
                Err(named(Problem::new(code, detail)))
            }
        }
    }

    /// A payment's status as it is; nothing when there is none of this id.
    pub(crate) async fn present(&self, key: &PaymentKey) -> Result<Option<PaymentView>, Problem> {
        let _places = (self.admission.enter_for_the_ledger()?, self.admission.enter()?);
        self.status.read(key).await
    }
}

#[cfg(test)]
#[path = "payments_tests.rs"]
pub(crate) mod tests;
