//! Answers: JSON, problems, text.

use super::context::{RequestContext, X_REQUEST_ID};
use super::event_stream::EventStream;
use crate::ids::RequestId;
use crate::telemetry::Outcome;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::time::Duration;
use wire::{Code, Problem, Route};

/// An answer: whole, or events for as long as there are any.
pub type Answer = Response<Either<Full<Bytes>, EventStream>>;

/// What a client that was turned away for load or an outage waits, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

fn build(status: u16, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A JSON body.
pub fn json<T: Serialize>(status: u16, body: &T) -> Answer {
    match serde_json::to_vec(body) {
        Ok(bytes) => build(status, "application/json", bytes.into()),
        Err(_) => problem(Problem::new(Code::Internal, "the answer cannot be written")),
    }
}

/// A body that is text of some type already.
pub fn text(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    build(status, content_type, body.into())
}

/// A status that says all there is to say.
pub fn bare(status: u16) -> Answer {
    let mut answer = build(status, "", Bytes::new());
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// A problem, with `Retry-After` where trying again is the right thing to do. Its body is written when it is
/// known which request it answers.
pub fn problem(problem: Problem) -> Answer {
    let mut answer = build(problem.status(), "application/problem+json", Bytes::new());
    if matches!(problem.status(), 429 | 503) {
        answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    answer.extensions_mut().insert(problem);
    answer
}

/// Which payment an answer is about, and what a request for it has led to: for the request's span.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) payment: String,
    pub(super) outcome: Option<Outcome>,
}

/// Says which payment an answer is about, where its request is traced.
pub fn about(answer: &mut Answer, context: &RequestContext, payment: &str, outcome: Option<Outcome>) {
    if context.span.is_some() {
        answer.extensions_mut().insert(About { payment: payment.to_owned(), outcome });
    }
}

/// What became of each of the many things that one request asked for.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Each of them by itself is a request for this.
    pub route: Route,
    /// The HTTP status that each would have been answered with.
    pub statuses: Vec<u16>,
    /// Of those that failed the one that says most: the highest status.
    pub worst: Option<Problem>,
}

/// Says what became of the parts of a request, for whoever counts them.
pub fn parts(answer: &mut Answer, parts: Parts) {
    answer.extensions_mut().insert(parts);
}

/// How long a client that had asked to wait was kept waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited(pub(super) Duration);

/// Says how long a client was kept waiting as it had asked: that is no time of ours, and no metric counts it.
pub fn waited(answer: &mut Answer, time: Duration) {
    answer.extensions_mut().insert(Waited(time));
}

/// Puts the request's id into the answer's header and, if the answer is a problem, into its body.
pub(super) fn complete(answer: &mut Answer, request_id: &RequestId) -> Option<Problem> {
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        answer.headers_mut().insert(X_REQUEST_ID, value);
    }
    let mut problem = answer.extensions_mut().remove::<Problem>()?;
    problem.request_id = Some(request_id.as_str().into());
    *answer.body_mut() = Either::Left(Full::new(serde_json::to_vec(&problem).unwrap_or_default().into()));
    Some(problem)
}

/// Nothing under this path.
pub fn not_found() -> Answer {
    problem(Problem::new(Code::NotFound, "there is nothing under this path"))
}

/// The path has other methods.
pub fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = problem(Problem::new(Code::MethodNotAllowed, format!("this path answers {allow}")));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}
