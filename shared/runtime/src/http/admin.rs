//! The routes that every port has: health and metrics; and, on a role's own port, the routes of its service.

use super::answer::{Answer, json, method_not_allowed, not_found, problem, text};
use super::body::BodyLimit;
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
use wire::{Caller, Code, Problem, Role};

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
}

impl Health {
    /// Answers `/healthz`, `/livez`, `/readyz` and `/metrics`; nothing for another path.
    pub async fn answer(&self, method: &Method, path: &str) -> Option<Answer> {
        if !matches!(path, "/healthz" | "/livez" | "/readyz" | "/metrics") {
            return None;
        }
        if method != Method::GET && method != Method::HEAD {
            return Some(method_not_allowed("GET, HEAD"));
        }
        Some(match path {
            "/readyz" => self.readiness().await,
            "/metrics" => self.metrics().await,
            _ => json(200, &serde_json::json!({ "status": "ok" })),
        })
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
            _ => problem(&Problem::new(Code::Internal, "metrics cannot be rendered")),
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
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        if let Some(answer) = self.health.answer(request.method(), request.uri().path()).await {
            return answer;
        }
        match service_request(request, BodyLimit::of(&self.http)).await {
            Ok((endpoint, body)) if endpoint.role() == self.role => {
                let call = Call { caller: Caller::default(), body };
                match self.service.answer(endpoint, vec![call]).await.pop() {
                    Some(Ok(reply)) => text(200, "application/json", reply.body),
                    Some(Err(refused)) => problem(&refused),
                    None => problem(&Problem::new(Code::Internal, "the service gave no answer")),
                }
            }
            Ok(_) | Err(Refused::Path) => not_found(),
            Err(Refused::Method(allow)) => method_not_allowed(allow),
            Err(Refused::Problem(refused)) => problem(&refused),
        }
    }
}
