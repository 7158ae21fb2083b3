//! `POST /payments` and `POST /payments/batch`.

use super::routes::Routes;
use super::{IDEMPOTENCY_REPLAYED, TRUE};
use crate::batch;
use crate::border::{ACCEPTED, Answered};
use crate::payments::Submitted;
use crate::request::PaymentRequest;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};
use runtime::http::{Answer, Parts, RequestContext, about, parts, read_json, read_large_json, text};
use runtime::telemetry::Outcome;
use wire::{Caller, Code, Problem, Route};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// When a client may ask for the status of a fresh payment, in seconds; the smallest that the header can say.
const POLL_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Accepts a payment, or says why not.
pub(super) async fn submit(
    context: &RequestContext,
    caller: &Caller,
    request: Request<Incoming>,
    routes: &Routes,
) -> Result<Answer, Problem> {
    let key = idempotency_key(&request)?;
    let body = read_json(request, routes.body_limit).await?;
    let request = PaymentRequest::of_json(&body, key)?;
    let submitted = routes.payments.submit(caller, request, context.span).await?;
    let mut answer = accepted(&submitted)?;
    let outcome = if submitted.is_replayed { Outcome::Replayed } else { Outcome::Accepted };
    about(&mut answer, context, submitted.view.id(), Some(outcome));
    Ok(answer)
}

/// Accepts many payments, each by itself, or says of each why not.
pub(super) async fn submit_all(
    context: &RequestContext,
    caller: &Caller,
    request: Request<Incoming>,
    routes: &Routes,
) -> Result<Answer, Problem> {
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        return Err(Problem::new(
            Code::MalformedJson,
            "Idempotency-Key is for one payment: give each payment of a batch an id",
        ));
    }
    // The place is kept until the answer: what is read of a body takes as much room as it does.
    let read = read_large_json(request, routes.batch_body_limit, &routes.batch_bodies).await?;
    let Some((body, _place)) = read else { return Err(routes.admission.no_room_for_a_body()) };
    let requests = batch::of_json(&body, routes.body_limit.bytes_max)?;
    let results = routes.payments.submit_all(caller, requests, context.span).await;
    let Answered { status, body, .. } = Answered::results(&results)?;
    let mut answer = text(status, "application/json", body);
    answer.headers_mut().insert(RETRY_AFTER, POLL_AFTER_SECONDS);
    parts(&mut answer, parts_of(&results));
    Ok(answer)
}

/// What is counted of the payments of a batch.
fn parts_of(results: &[Result<Submitted, Problem>]) -> Parts {
    let status =
        |result: &Result<Submitted, Problem>| result.as_ref().map_or_else(Problem::status, |_| ACCEPTED);
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    Parts {
        route: Route::Payments,
        statuses: results.iter().map(status).collect(),
        worst: refused.max_by_key(|problem| problem.status()).cloned(),
    }
}

fn accepted(submitted: &Submitted) -> Result<Answer, Problem> {
    let Answered { status, body, is_replayed } = Answered::accepted(submitted)?;
    let mut answer = text(status, "application/json", body);
    let headers = answer.headers_mut();
    // An id is of an alphabet that needs no escaping.
    if let Ok(location) = HeaderValue::try_from(format!("/payments/{}", submitted.view.id())) {
        headers.insert(LOCATION, location);
    }
    headers.insert(RETRY_AFTER, POLL_AFTER_SECONDS);
    if is_replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, TRUE);
    }
    Ok(answer)
}

fn idempotency_key(request: &Request<Incoming>) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let malformed = |detail| Problem::new(Code::MalformedJson, detail);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|text| Some(text.to_owned()))
            .map_err(|_| malformed("Idempotency-Key must be printable ASCII")),
        (Some(_), Some(_)) => Err(malformed("Idempotency-Key may be given once")),
    }
}
