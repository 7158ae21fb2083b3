//! The routes: one match from method and path to what answers.

use super::{accounts, events, live, page, panels, payment_events, payments, status};
use crate::admission::{Admission, Place};
use crate::feed::Feed;
use crate::listeners::Listeners;
use crate::live::Live;
use crate::page::Page;
use crate::panels::Panels;
use crate::payments::Payments;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request};
use runtime::broker::{Broker, Call, Reply};
use runtime::drain::Drain;
use runtime::http::{
    Answer, BodyLimit, BodyRoom, Handler, Health, Refused, RequestContext, method_not_allowed, not_found,
    problem, read_json, service_request, text,
};
use runtime::telemetry::Traces;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use wire::service::Endpoint;
use wire::{Caller, Problem, Route};

/// Answers every route of the gateway.
pub(crate) struct Routes {
    pub(crate) health: Health,
    pub(crate) admission: Arc<Admission>,
    pub(crate) payments: Payments<Broker, Store>,
    pub(crate) panels: Arc<Panels>,
    pub(crate) live: Live,
    /// Places of those who stay.
    pub(crate) listeners: Listeners,
    pub(crate) broker: Broker,
    pub(crate) traces: Traces,
    /// For reads; acceptance has connections of its own.
    pub(crate) store: Store,
    /// Of the routes that have none of their own.
    pub(crate) body_limit: BodyLimit,
    /// Of a request for many payments.
    pub(crate) batch_body_limit: BodyLimit,
    pub(crate) batch_bodies: BodyRoom,
    pub(crate) reply_timeout: Duration,
    /// What happens to all payments.
    pub(crate) feed: Feed,
    pub(crate) drain: Drain,
    pub(crate) page: Page,
}

impl Handler for Routes {
    async fn handle(&self, context: &RequestContext, request: Request<Incoming>) -> Answer {
        if context.route.is_about_the_process() {
            return self.health.answer(context, request).await;
        }
        if let Err(overloaded) = self.admission.look() {
            return problem(overloaded);
        }
        self.route(context, &Caller::default(), request).await.unwrap_or_else(problem)
    }
}

impl Routes {
    /// Each route takes its place once the request has arrived whole.
    async fn route(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let uri = request.uri().clone();
        let (route, id) = (context.route, Route::of(uri.path()).1);
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match route {
            Route::Payments if post => payments::submit(context, caller, request, self).await,
            Route::PaymentBatch => payments::submit_all(context, caller, request, self).await,
            Route::Payment if get => status::show(context, caller, id, request.headers(), self).await,
            Route::PaymentEvents if get => {
                payment_events::listen(context, caller, id, request.headers(), self).await
            }
            Route::Accounts if post => accounts::open(context, caller, request, self).await,
            Route::Account if get => accounts::show(caller, id, self).await,
            Route::Deposits if post => accounts::deposit(context, caller, request, self).await,
            Route::Events if get => events::all(context, self),
            Route::Live if get => live::listen(context, self),
            Route::Panels if get => panels::list(self).await,
            Route::Panel if get => panels::show(&request, id, self).await,
            Route::Page if get || request.method() == Method::HEAD => page::show(&request, self).await,
            Route::Page => Ok(method_not_allowed("GET, HEAD")),
            _ => match (Endpoint::at(route), route.good_answer()) {
                (Some(endpoint), _) => self.service(context, caller, endpoint, request).await,
                (None, Some((method, _))) => Ok(method_not_allowed(method.as_str())),
                (None, None) => Ok(not_found()),
            },
        }
    }

    /// A JSON body, and then a place for its request.
    pub(super) async fn enter_with_json(
        &self,
        request: Request<Incoming>,
        limit: BodyLimit,
    ) -> Result<(Bytes, Place<'_>), Problem> {
        let body = read_json(request, limit).await?;
        Ok((body, self.admission.enter()?))
    }

    /// Asks a micro service. Most of them ask the ledger, and wait as long as it is silent.
    pub(super) async fn ask(
        &self,
        context: &RequestContext,
        caller: &Caller,
        endpoint: Endpoint,
        body: Bytes,
    ) -> Result<Reply, Problem> {
        let _place = self.admission.enter_for_the_ledger()?;
        let (caller, request_id) = (caller.clone(), context.request_id.clone());
        let call = Call { caller, request_id, trace: context.span, body };
        self.broker.ask(endpoint, call, self.reply_timeout, &self.traces).await
    }

    /// What a micro service answers.
    async fn service(
        &self,
        context: &RequestContext,
        caller: &Caller,
        endpoint: Endpoint,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        match service_request(endpoint, request, self.body_limit).await {
            Ok(body) => {
                let _place = self.admission.enter()?;
                let reply = self.ask(context, caller, endpoint, body).await?;
                Ok(text(200, "application/json", reply.body))
            }
            Err(Refused::Method(allow)) => Ok(method_not_allowed(allow)),
            Err(Refused::Problem(refused)) => Err(refused),
        }
    }
}
