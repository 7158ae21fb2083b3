//! Micro services: endpoints that answer requests, and asking them.

use super::ready::ready;
use super::{Broker, BrokerError};
use crate::ids::RequestId;
use crate::process::chain;
use crate::telemetry::{Asked, FailedRequest, Failing, RequestMetrics, Span, Traces};
use async_nats::header::HeaderMap;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, ServiceExt};
use async_nats::{Message, RequestErrorKind};
use bytes::Bytes;
use domain::{Tenant, TraceContext};
use futures::StreamExt;
use std::future::Future;
use std::time::{Duration, Instant};
use wire::service::Endpoint;
use wire::{Caller, Code, Problem, header};

/// The most requests that a service answers together.
const REQUESTS_MAX: usize = 256;

/// A request to a service. The body travels as it is, everything else in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// The request that it is, or that it is asked for.
    pub request_id: RequestId,
    /// The span that it is asked in, where its trace is recorded.
    pub trace: Option<TraceContext>,
    /// JSON, equal to the HTTP body.
    pub body: Bytes,
}

impl Call {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::TENANT, self.caller.tenant.as_str());
        headers.insert(header::REQUEST_ID, self.request_id.as_str());
        if let Some(trace) = self.trace {
            headers.insert(header::TRACEPARENT, trace.to_string());
        }
        headers
    }

    /// The call that a message is. A tenant that cannot be read is never taken for the default one.
    fn received(message: &Message, request_id: RequestId) -> Result<Call, Problem> {
        let caller = match text(message, header::TENANT).map(Tenant::parse).transpose() {
            Ok(tenant) => tenant.map_or_else(Caller::default, |tenant| Caller { tenant }),
            Err(invalid) => {
                return Err(Problem::new(Code::MalformedJson, format!("{} {invalid}", header::TENANT)));
            }
        };
        let trace = text(message, header::TRACEPARENT).and_then(TraceContext::parse);
        Ok(Call { caller, request_id, trace, body: message.payload.clone() })
    }
}

fn text<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}

/// A service's good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// JSON, equal to the HTTP body.
    pub body: Bytes,
    /// The operation had been done before; this is its answer again.
    pub replayed: bool,
}

/// Answers requests, as many at once as are waiting.
pub trait ServiceHandler: Send + Sync + 'static {
    /// One answer for each call, in order.
    fn answer(
        &self,
        endpoint: Endpoint,
        calls: Vec<Call>,
    ) -> impl Future<Output = Vec<Result<Reply, Problem>>> + Send;
}

impl Broker {
    /// Answers an endpoint's requests until the connection is closed for good. Several processes share the
    /// requests.
    pub async fn serve<H: ServiceHandler>(
        &self,
        endpoints: &[Endpoint],
        handler: &H,
        metrics: &RequestMetrics,
        traces: &Traces,
    ) -> Result<(), BrokerError> {
        let Some(first) = endpoints.first() else {
            return Ok(());
        };
        let service = self
            .reading
            .client()
            .service_builder()
            .description("Kilat")
            .start(first.service(), env!("CARGO_PKG_VERSION"))
            .await;
        let service = service.map_err(BrokerError::unavailable)?;
        let group = service.group(first.service());
        let mut streams = Vec::new();
        for endpoint in endpoints {
            let requests = group
                .endpoint_builder()
                .name(endpoint.name())
                .add(endpoint.name())
                .await
                .map_err(BrokerError::unavailable)?;
            streams.push((*endpoint, requests));
        }
        let serving = streams.into_iter().map(|(endpoint, mut requests)| async move {
            while let Some(request) = requests.next().await {
                let mut waiting = vec![request];
                while waiting.len() < REQUESTS_MAX
                    && let Some(Some(request)) = ready(&mut requests)
                {
                    waiting.push(request);
                }
                self.answer(endpoint, waiting, handler, metrics, traces).await;
            }
        });
        futures::future::join_all(serving).await;
        Ok(())
    }

    async fn answer<H: ServiceHandler>(
        &self,
        endpoint: Endpoint,
        requests: Vec<Request>,
        handler: &H,
        metrics: &RequestMetrics,
        traces: &Traces,
    ) {
        let started = Instant::now();
        let asked = Asked::by_nats(endpoint);
        let told = |request_id: &RequestId, span: Option<Span>, answer: &Result<Reply, Problem>| {
            let took = started.elapsed();
            metrics.answered(asked, answer.as_ref().map_or_else(|problem| problem.status(), |_| 200), took);
            if let Err(problem) = answer {
                let trace = span.as_ref().map(Span::context);
                let failing = Failing::With(problem);
                FailedRequest { request_id, asked, failing, took, trace }.tell();
                ended(span, problem);
            }
        };
        let (mut asking, mut calls) =
            (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for request in requests {
            let request_id = text(&request.message, header::REQUEST_ID)
                .and_then(RequestId::parse)
                .unwrap_or_else(RequestId::fresh);
            match Call::received(&request.message, request_id.clone()) {
                Ok(mut call) => {
                    let span = traces.serve(call.trace, endpoint);
                    call.trace = span.as_ref().map(Span::context);
                    asking.push((request, request_id, span));
                    calls.push(call);
                }
                Err(refused) => {
                    let answer = Err(refused);
                    told(&request_id, None, &answer);
                    respond(self, &request, &request_id, answer).await;
                }
            }
        }
        if calls.is_empty() {
            return;
        }
        let answers = handler.answer(endpoint, calls).await;
        for ((request, request_id, span), answer) in asking.into_iter().zip(answers) {
            told(&request_id, span, &answer);
            respond(self, &request, &request_id, answer).await;
        }
    }

    /// Asks an endpoint. A problem is the service's own answer, or says that no answer came within `timeout`.
    pub async fn ask(
        &self,
        endpoint: Endpoint,
        call: Call,
        timeout: Duration,
        traces: &Traces,
    ) -> Result<Reply, Problem> {
        let span = traces.ask(call.trace, endpoint);
        let call = Call { trace: span.as_ref().map(Span::context), ..call };
        let answer = self.send(endpoint, call, timeout).await;
        if let Err(problem) = &answer {
            ended(span, problem);
        }
        answer
    }

    async fn send(&self, endpoint: Endpoint, call: Call, timeout: Duration) -> Result<Reply, Problem> {
        let away = |detail: &str| {
            Problem::new(Code::Unavailable, format!("the {} service {detail}", endpoint.service()))
        };
        if let Err(error) = self.require_connection() {
            return Err(away("cannot be reached").because(error.to_string()));
        }
        let client = self.reading.client();
        let request = client.request_with_headers(endpoint.subject(), call.headers(), call.body);
        let answer = match tokio::time::timeout(timeout, request).await {
            Err(_) => return Err(away("did not answer in time")),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(away("is not running"));
            }
            Ok(Err(error)) => return Err(away("did not answer").because(chain(&error))),
            Ok(Ok(answer)) => answer,
        };
        if text(&answer, NATS_SERVICE_ERROR_CODE).is_some() {
            return Err(serde_json::from_slice(&answer.payload)
                .unwrap_or_else(|error| away("failed").because(format!("no problem: {error}"))));
        }
        Ok(Reply { replayed: text(&answer, header::REPLAYED).is_some(), body: answer.payload.clone() })
    }
}

/// Ends the span of a request that was answered with this, if it has one.
fn ended(span: Option<Span>, problem: &Problem) {
    if let Some(mut span) = span {
        span.refused(problem);
    }
}

async fn respond(broker: &Broker, request: &Request, request_id: &RequestId, answer: Result<Reply, Problem>) {
    let mut headers = HeaderMap::new();
    let sent = match answer {
        Ok(reply) => {
            if reply.replayed {
                headers.insert(header::REPLAYED, "true");
            }
            request.respond_with_headers(Ok(reply.body), headers).await.map_err(|error| error.to_string())
        }
        // The library's own error answer has no body; ours carries the problem.
        Err(mut problem) => {
            problem.request_id = Some(request_id.as_str().into());
            headers.insert(NATS_SERVICE_ERROR, problem.detail.as_str());
            headers.insert(NATS_SERVICE_ERROR_CODE, problem.status().to_string());
            let body = serde_json::to_vec(&problem).unwrap_or_default();
            match request.message.reply.clone() {
                Some(reply) => broker
                    .reading
                    .client()
                    .publish_with_headers(reply, headers, body.into())
                    .await
                    .map_err(|error| error.to_string()),
                None => Ok(()),
            }
        }
    };
    if let Err(error) = sent {
        tracing::debug!(error, "an answer could not be sent");
    }
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
