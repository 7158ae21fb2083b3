//! The routes that every port has: health and metrics; and, on a role's own port, the routes of its service.

use super::answer::{Answer, json, method_not_allowed, not_found, problem, text};
use super::body::BodyLimit;
use super::context::RequestContext;
use super::log_level;
use super::server::Handler;
use super::service_routes::{Refused, service_request};
use crate::broker::{Call, Reply, ServiceHandler};
use crate::config::HttpConfig;
use crate::drain::Drain;
use crate::telemetry::Metrics;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{Method, Request};
use std::sync::Arc;
use wire::service::Endpoint;
use wire::{Caller, Code, Problem, Role, Route};

/// Whether something that requests need is there.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// What a role says of its own health.
#[derive(Clone)]
pub struct Health {
    /// Named checks that readiness asks.
    pub checks: Vec<(&'static str, Check)>,
    /// A draining role is alive and not ready.
    pub drain: Drain,
    /// The role's metrics.
    pub metrics: Metrics,
    /// Whether `/log-level` is there.
    pub has_log_level: bool,
}

impl Health {
    /// Answers the routes that are about the process.
    pub async fn answer(&self, context: &RequestContext, request: Request<Incoming>) -> Answer {
        let method = request.method();
        if context.route == Route::LogLevel && self.has_log_level {
            return log_level::answer(context, request).await;
        }
        if context.route == Route::LogLevel {
            return not_found();
        }
        if method != Method::GET && method != Method::HEAD {
            return method_not_allowed("GET, HEAD");
        }
        match context.route {
            Route::Readiness => self.readiness().await,
            Route::Metrics => self.metrics().await,
            Route::Health | Route::Liveness => json(200, &serde_json::json!({ "status": "ok" })),
            _ => not_found(),
        }
    }

    async fn readiness(&self) -> Answer {
        let mut report = serde_json::Map::new();
        for (name, check) in &self.checks {
            report.insert((*name).to_owned(), check().await.into());
        }
        report.insert("draining".to_owned(), self.drain.has_begun().into());
        let ready = !self.drain.has_begun()
            && self.checks.iter().all(|(name, _)| report.get(*name) == Some(&true.into()));
        let status = if ready { "ok" } else { "unavailable" };
        json(if ready { 200 } else { 503 }, &serde_json::json!({ "status": status, "checks": report }))
    }

    async fn metrics(&self) -> Answer {
        let metrics = self.metrics.clone();
        // Gathering merges and sorts every series: not on a thread that payments wait for.
        match tokio::task::spawn_blocking(move || metrics.render()).await {
            Ok(Ok(rendered)) => text(200, "text/plain; version=0.0.4", rendered),
            _ => problem(Problem::new(Code::Internal, "metrics cannot be rendered")),
        }
    }
}

/// A role that answers no requests.
pub struct NoService;

impl ServiceHandler for NoService {
    async fn answer(&self, _: Endpoint, calls: Vec<Call>) -> Vec<Result<Reply, Problem>> {
        calls.iter().map(|_| Err(Problem::new(Code::NotFound, "this role answers no requests"))).collect()
    }
}

/// One role's admin port.
pub struct Admin<H> {
    /// The role whose port it is: its requests are counted under it.
    pub role: Role,
    /// What it says of its health.
    pub health: Health,
    /// What answers them.
    pub service: Arc<H>,
    /// Bounds of bodies.
    pub http: HttpConfig,
}

impl<H: ServiceHandler> Handler for Admin<H> {
    async fn handle(&self, context: &RequestContext, request: Request<Incoming>) -> Answer {
        if context.route.is_about_the_process() {
            return self.health.answer(context, request).await;
        }
        let Some(endpoint) = Endpoint::at(context.route).filter(|endpoint| endpoint.role() == self.role)
        else {
            return not_found();
        };
        match service_request(endpoint, request, BodyLimit::of(&self.http)).await {
            Ok(body) => {
                let (caller, request_id) = (Caller::default(), context.request_id.clone());
                let call = Call { caller, request_id, trace: context.span, body };
                match self.service.answer(endpoint, vec![call]).await.pop() {
                    Some(Ok(reply)) => text(200, "application/json", reply.body),
                    Some(Err(refused)) => problem(refused),
                    None => problem(Problem::new(Code::Internal, "the service gave no answer")),
                }
            }
            Err(Refused::Method(allow)) => method_not_allowed(allow),
            Err(Refused::Problem(refused)) => problem(refused),
        }
    }
}
