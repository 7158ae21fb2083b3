//! The routes: one match from method and path to what answers.

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::status::StatusReader;
use crate::{accounts, payments};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request};
use runtime::broker::{Broker, Reply};
use runtime::config::HttpConfig;
use runtime::http::{Answer, Handler, Health, Refused, method_not_allowed, not_found, problem, service_request, text};
use std::time::Duration;
use store::Store;
use wire::service::Endpoint;
use wire::{Problem, Role};

/// Answers every route of the gateway.
pub(crate) struct Routes {
    pub(crate) health: Health,
    pub(crate) admission: Admission,
    pub(crate) acceptor: Acceptor,
    pub(crate) status: StatusReader,
    pub(crate) broker: Broker,
    /// For reads; acceptance has connections of its own.
    pub(crate) store: Store,
    pub(crate) http: HttpConfig,
    pub(crate) reply_timeout: Duration,
}

impl Handler for Routes {
    fn role(&self) -> Role {
        Role::Gateway
    }

    async fn handle(&self, request: Request<Incoming>) -> Answer {
        if let Some(answer) = self.health.answer(request.method(), request.uri().path()).await {
            return answer;
        }
        if let Err(overloaded) = self.admission.look() {
            return problem(&overloaded);
        }
        self.route(request).await.unwrap_or_else(|refused| problem(&refused))
    }
}

impl Routes {
    /// Each route takes its place once the request has arrived whole.
    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match segments.as_slice() {
            ["payments"] if post => payments::submit(request, self).await,
            ["payments"] => Ok(method_not_allowed("POST")),
            ["payments", id] if get => {
                let _places = (self.admission.enter_for_the_ledger()?, self.admission.enter()?);
                payments::show(id, &self.status).await
            }
            ["payments", _] => Ok(method_not_allowed("GET")),
            ["accounts"] if post => accounts::open(request, self).await,
            ["accounts"] => Ok(method_not_allowed("POST")),
            ["accounts", id] if get => {
                let _places = (self.admission.enter_for_the_ledger()?, self.admission.enter()?);
                accounts::show(id, &self.store).await
            }
            ["accounts", _] => Ok(method_not_allowed("GET")),
            ["accounts", id, "deposits"] if post => accounts::deposit(id, request, self).await,
            ["accounts", _, "deposits"] => Ok(method_not_allowed("POST")),
            _ => self.service(request).await,
        }
    }

    /// Asks a micro service. Most of them ask the ledger, and wait as long as it is silent.
    pub(crate) async fn ask(&self, endpoint: Endpoint, body: Bytes) -> Result<Reply, Problem> {
        let _place = self.admission.enter_for_the_ledger()?;
        self.broker.ask(endpoint, body, self.reply_timeout).await
    }

    /// What a micro service answers.
    async fn service(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        match service_request(request, &self.http).await {
            Ok((endpoint, body)) => {
                let _place = self.admission.enter()?;
                let reply = self.ask(endpoint, body).await?;
                Ok(text(200, "application/json", reply.body))
            }
            Err(Refused::Path) => Ok(not_found()),
            Err(Refused::Method(allow)) => Ok(method_not_allowed(allow)),
            Err(Refused::Problem(refused)) => Err(refused),
        }
    }
}
