//! Payments as every protocol has them: submitted, and looked up. How a request came is not known here.

use crate::accept::{Acceptance, Acceptor, Unaccepted};
use crate::admission::Admission;
use crate::border::{BorderParts, FreshId};
use crate::listeners::Listeners;
use crate::request::{IdOrigin, PaymentRequest};
use crate::status::StatusReader;
use crate::view::PaymentView;
use crate::watch::Watches;
use domain::{PaymentId, PaymentKey, TraceContext};
use runtime::broker::Streams;
use runtime::drain::Drain;
use std::sync::Arc;
use std::time::Duration;
use store::BorderLedger;
use tokio::task::JoinSet;
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
    pub(crate) fresh_id: FreshId,
}

impl<B: Streams, L: BorderLedger> Payments<B, L> {
    /// Payments as they are configured, and the tasks that store them: those end when the payments are gone.
    pub(crate) fn start(parts: BorderParts<'_, B, L>) -> (Payments<B, L>, JoinSet<()>) {
        let BorderParts { streams, look_ups, reads, config, fresh_id, metrics, traces, drain } = parts;
        let admission = Arc::new(Admission::new(&config.gateway, metrics));
        let (acceptor, accepting) = Acceptor::start(
            streams.clone(),
            look_ups,
            config.pipeline.clone(),
            config.gateway.in_flight_max,
            traces,
        );
        let status = StatusReader { ledger: reads, streams, shards: config.pipeline.shards };
        let payments = Payments {
            watches: Watches::new(status.clone()),
            listeners: Listeners::new(config, admission.metrics()),
            drain,
            admission,
            acceptor,
            status,
            fresh_id,
        };
        (payments, accepting)
    }

    /// Accepts a payment, or says why not. `trace` is the span of whoever asks, where it is traced.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        request: PaymentRequest,
        trace: Option<TraceContext>,
    ) -> Result<Submitted, Problem> {
        let _place = self.admission.enter()?;
        let (payment, origin) = request.check(caller, &*self.fresh_id)?;
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

    /// The payment of this id, once it has ended or is what was asked for, or as it is after so long; see
    /// [`Payments::status_when`].
    pub(crate) async fn show(
        &self,
        caller: &Caller,
        id: &str,
        longest: Duration,
        is_asked_for: impl Fn(&PaymentView) -> bool,
    ) -> Result<PaymentView, Problem> {
        let Ok(id) = PaymentId::parse(id) else {
            return Err(Problem::new(Code::NotFound, "there is nothing under this path"));
        };
        self.status_when(caller, id, longest, is_asked_for).await?.ok_or_else(no_such_payment)
    }

    /// A payment's status as it is; nothing when there is none of this id.
    pub(crate) async fn present(&self, key: &PaymentKey) -> Result<Option<PaymentView>, Problem> {
        let _places = (self.admission.enter_for_the_ledger()?, self.admission.enter()?);
        self.status.read(key).await
    }
}

/// The caller has no payment of this id.
pub(crate) fn no_such_payment() -> Problem {
    Problem::new(Code::NotFound, "there is no such payment")
}

#[cfg(test)]
#[path = "payments_tests.rs"]
pub(crate) mod tests;
