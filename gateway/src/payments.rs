//! `POST /payments` and `GET /payments/{id}`.

use crate::accept::Acceptance;
use crate::request;
use crate::routes::Routes;
use crate::status::StatusReader;
use crate::view::PaymentView;
use domain::{PaymentId, PaymentKey, Tenant};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use runtime::http::{Answer, json, not_found, problem};
use wire::{Code, Problem};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// On an answer that was given before.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// When a client may ask for the status of a fresh payment, in seconds; the smallest that the header can say.
const POLL_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Accepts a payment, or says why not.
pub(crate) async fn submit(request: Request<Incoming>, routes: &Routes) -> Result<Answer, Problem> {
    let key = idempotency_key(&request)?;
    let (body, _place) = routes.admission.enter_with_json(request, &routes.http).await?;
    let fresh_id = || uuid::Uuid::now_v7().simple().to_string();
    let request = request::parse(&body, key.as_deref(), Tenant::default(), fresh_id)?;
    let payment = request.payment;
    let _place_at_the_ledger = if request.is_named_by_client {
        Some(routes.admission.enter_for_the_ledger().map_err(|refused| refused.with_id(payment.id.as_str()))?)
    } else {
        None
    };
    match routes.acceptor.accept(payment.clone(), payment.fingerprint(), request.is_named_by_client).await {
        Acceptance::Accepted => Ok(accepted(payment.id.as_str(), &PaymentView::pending(&payment), false)),
        Acceptance::Replayed => {
            let view = routes.status.read(&payment.key()).await?.unwrap_or_else(|| PaymentView::pending(&payment));
            Ok(accepted(payment.id.as_str(), &view, true))
        }
        Acceptance::Mismatch => {
            Err(Problem::new(Code::IdempotencyMismatch, "a payment with this id and other content was accepted before"))
        }
        Acceptance::Failed(code) => {
            let detail = match code {
                Code::AcceptanceUnknown => "the intake did not answer: retry with the same id",
                Code::Overloaded => "the intake is full: retry with the same id",
                _ => "the payment was not accepted: retry with the same id",
            };
            Err(Problem::new(code, detail).with_id(payment.id.as_str()))
        }
    }
}

fn accepted(id: &str, view: &PaymentView, is_replayed: bool) -> Answer {
    let mut answer = json(202, view);
    let headers = answer.headers_mut();
    // An id is of an alphabet that needs no escaping.
    if let Ok(location) = HeaderValue::try_from(format!("/payments/{id}")) {
        headers.insert(LOCATION, location);
    }
    headers.insert(RETRY_AFTER, POLL_AFTER_SECONDS);
    if is_replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, TRUE);
    }
    answer
}

fn idempotency_key(request: &Request<Incoming>) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let malformed = |detail| Problem::new(Code::MalformedJson, detail);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.to_owned())).map_err(|_| malformed("Idempotency-Key must be printable ASCII"))
        }
        (Some(_), Some(_)) => Err(malformed("Idempotency-Key may be given once")),
    }
}

/// Tells a payment's status.
pub(crate) async fn show(id: &str, status: &StatusReader) -> Result<Answer, Problem> {
    let Ok(id) = PaymentId::parse(id) else {
        return Ok(not_found());
    };
    match status.read(&PaymentKey { tenant: Tenant::default(), id }).await? {
        Some(view) => Ok(json(200, &view)),
        None => Ok(problem(&Problem::new(Code::NotFound, "there is no such payment"))),
    }
}
