//! Payments as every protocol has them: submitted, and looked up. How a request came is not known here.

use crate::accept::{Acceptance, Acceptor, Request, Unaccepted};
use crate::admission::{Admission, Place};
use crate::border::{BorderParts, FreshId};
use crate::listeners::Listeners;
use crate::request::{IdOrigin, PaymentRequest};
use crate::status::StatusReader;
use crate::view::PaymentView;
use crate::watch::Watches;
use domain::{PaymentId, PaymentKey, TraceContext};
use runtime::broker::Streams;
use runtime::drain::Drain;
use std::collections::HashMap;
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

/// A payment on its way to the intake.
struct Admitted<'p> {
    key: PaymentKey,
    /// As it stands once it is accepted.
    view: PaymentView,
    /// Free again when it is answered.
    _places: (Place<'p>, Option<Place<'p>>),
}

/// The payments of one request that are followed at most where it is traced: its client has one trace of those
/// that a second may have, and not hundreds.
const TRACED_MAX: usize = 10;

/// There is an answer for each payment that was asked for.
const NO_ANSWER: Unaccepted = Unaccepted::Failed(Code::AcceptanceUnknown);

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
        let place = self.admission.enter()?;
        let (admitted, request) = self.admit(caller, request, place, trace)?;
        let is_replayed = self.is_replayed(&admitted.key, self.acceptor.accept(request).await)?;
        let present = if is_replayed { self.status.read(&admitted.key).await? } else { None };
        Ok(Submitted { view: present.unwrap_or(admitted.view), is_replayed })
    }

    /// Accepts payments, each by itself as if it had come alone, and answers in their order. They reach the
    /// intake together, and those that were accepted before are looked at together.
    pub(crate) async fn submit_all(
        &self,
        caller: &Caller,
        requests: Vec<Result<PaymentRequest, Problem>>,
        trace: Option<TraceContext>,
    ) -> Vec<Result<Submitted, Problem>> {
        let (mut admitted, mut asked) = (Vec::with_capacity(requests.len()), Vec::new());
        for (number, request) in requests.into_iter().enumerate() {
            let place = if number == 0 { self.admission.enter() } else { self.admission.enter_further() };
            let trace = trace.filter(|_| asked.len() < TRACED_MAX);
            let item = request.and_then(|request| self.admit(caller, request, place?, trace));
            admitted.push(item.map(|(item, request)| {
                asked.push(request);
                item
            }));
        }
        let mut acceptances = self.acceptor.accept_all(asked).await.into_iter();
        let answered = admitted.into_iter().map(|item| {
            let item = item?;
            let acceptance = acceptances.next().unwrap_or(Acceptance::Failed(NO_ANSWER));
            let is_replayed = self.is_replayed(&item.key, acceptance);
            Ok((is_replayed.map_err(|problem| problem.with_id(item.key.id.as_str()))?, item))
        });
        let answered: Vec<Result<(bool, Admitted<'_>), Problem>> = answered.collect();
        let replayed = answered.iter().flatten().filter(|(is_replayed, _)| *is_replayed);
        let present = self.present_all(replayed.map(|(_, item)| item.key.clone()).collect()).await;
        let told = |(is_replayed, item): (bool, Admitted<'_>)| {
            let view = match &present {
                Ok(views) if is_replayed => views.get(&item.key).cloned(),
                Err(problem) if is_replayed => return Err(problem.clone().with_id(item.key.id.as_str())),
                Ok(_) | Err(_) => None,
            };
            Ok(Submitted { view: view.unwrap_or(item.view), is_replayed })
        };
        answered.into_iter().map(|item| item.and_then(told)).collect()
    }

    /// The statuses of payments that were accepted before, as far as they are in the ledger.
    async fn present_all(&self, keys: Vec<PaymentKey>) -> Result<HashMap<PaymentKey, PaymentView>, Problem> {
        if keys.is_empty() { Ok(HashMap::new()) } else { self.status.recorded(&keys).await }
    }

    /// A payment that is right in form and has its places: one in flight, and one at the ledger where its id
    /// must be looked up.
    fn admit<'p>(
        &'p self,
        caller: &Caller,
        request: PaymentRequest,
        place: Place<'p>,
        trace: Option<TraceContext>,
    ) -> Result<(Admitted<'p>, Request), Problem> {
        let (payment, origin) = request.check(caller, &*self.fresh_id)?;
        let (key, view) = (payment.key(), PaymentView::pending(&payment));
        let at_the_ledger = match origin {
            IdOrigin::Client => {
                let place = self.admission.enter_for_the_ledger();
                Some(place.map_err(|problem| problem.with_id(key.id.as_str()))?)
            }
            IdOrigin::Gateway => None,
        };
        let admitted = Admitted { key, view, _places: (place, at_the_ledger) };
        Ok((admitted, Request { payment, origin, trace }))
    }

    /// Whether an accepted payment had been accepted before; or why it is not accepted.
    fn is_replayed(&self, key: &PaymentKey, acceptance: Acceptance) -> Result<bool, Problem> {
        let named = |problem: Problem| problem.with_id(key.id.as_str());
        match acceptance {
            Acceptance::Accepted => Ok(false),
            Acceptance::Replayed => Ok(true),
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
