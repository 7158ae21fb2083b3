//! The routes: one match from method and path to what answers.

use super::{accounts, payments};
use crate::admission::{Admission, Place};
use crate::payments::Payments;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request};
use runtime::broker::{Broker, Call, Reply};
use runtime::http::{
    Answer, BodyLimit, Handler, Health, Refused, method_not_allowed, not_found, problem, read_json,
    service_request, text,
};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use wire::service::Endpoint;
use wire::{Caller, Problem};

/// Answers every route of the gateway.
pub(crate) struct Routes {
    pub(crate) health: Health,
    pub(crate) admission: Arc<Admission>,
    pub(crate) payments: Payments<Broker, Store>,
    pub(crate) broker: Broker,
    /// For reads; acceptance has connections of its own.
    pub(crate) store: Store,
    /// Of the routes that have none of their own.
    pub(crate) body_limit: BodyLimit,
    pub(crate) reply_timeout: Duration,
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        if let Some(answer) = self.health.answer(request.method(), request.uri().path()).await {
            return answer;
        }
        if let Err(overloaded) = self.admission.look() {
            return problem(&overloaded);
        }
        self.route(&Caller::default(), request).await.unwrap_or_else(|refused| problem(&refused))
    }
}

impl Routes {
    /// Each route takes its place once the request has arrived whole.
    async fn route(&self, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Problem> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match segments.as_slice() {
            ["payments"] if post => payments::submit(caller, request, self).await,
            ["payments"] => Ok(method_not_allowed("POST")),
            ["payments", id] if get => payments::show(caller, id, self).await,
            ["payments", _] => Ok(method_not_allowed("GET")),
            ["accounts"] if post => accounts::open(caller, request, self).await,
            ["accounts"] => Ok(method_not_allowed("POST")),
            ["accounts", id] if get => accounts::show(caller, id, self).await,
            ["accounts", _] => Ok(method_not_allowed("GET")),
            ["accounts", id, "deposits"] if post => accounts::deposit(caller, id, request, self).await,
            ["accounts", _, "deposits"] => Ok(method_not_allowed("POST")),
            _ => self.service(caller, request).await,
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
        caller: &Caller,
        endpoint: Endpoint,
        body: Bytes,
    ) -> Result<Reply, Problem> {
        let _place = self.admission.enter_for_the_ledger()?;
        self.broker.ask(endpoint, Call { caller: caller.clone(), body }, self.reply_timeout).await
    }

    /// What a micro service answers.
    async fn service(&self, caller: &Caller, request: Request<Incoming>) -> Result<Answer, Problem> {
        match service_request(request, self.body_limit).await {
            Ok((endpoint, body)) => {
                let _place = self.admission.enter()?;
                let reply = self.ask(caller, endpoint, body).await?;
                Ok(text(200, "application/json", reply.body))
            }
            Err(Refused::Path) => Ok(not_found()),
            Err(Refused::Method(allow)) => Ok(method_not_allowed(allow)),
            Err(Refused::Problem(refused)) => Err(refused),
        }
    }
}
