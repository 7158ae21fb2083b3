//! The routes that micro services answer: the same request by HTTP and by NATS.

use crate::http::body::{BodyLimit, read_json};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Map, Value};
use wire::service::Endpoint;
use wire::{Code, Problem, Route};

/// The endpoint's request, in JSON, that an HTTP request on its route stands for; a body is read within
/// `limit`.
pub async fn service_request(
    endpoint: Endpoint,
    request: Request<Incoming>,
    limit: BodyLimit,
) -> Result<Bytes, Refused> {
    let is_read = match endpoint {
        Endpoint::Balance | Endpoint::Rate | Endpoint::Convert => true,
        Endpoint::Score | Endpoint::Open | Endpoint::Deposit => false,
    };
    let allowed = if is_read { Method::GET } else { Method::POST };
    if request.method() != allowed {
        return Err(Refused::Method(if is_read { "GET" } else { "POST" }));
    }
    let body: Value = match endpoint {
        Endpoint::Score | Endpoint::Open | Endpoint::Deposit => return Ok(read_json(request, limit).await?),
        Endpoint::Balance => serde_json::json!({ "account_id": Route::of(request.uri().path()).1 }),
        Endpoint::Rate | Endpoint::Convert => query(&request)?.into(),
    };
    Ok(body.to_string().into())
}

/// Why an HTTP request stands for no service request.
#[derive(Debug)]
pub enum Refused {
    /// The path has other methods.
    Method(&'static str),
    /// The request is not in order.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused::Problem(problem)
    }
}

/// The parameters of the query string, each at most once.
pub fn query(request: &Request<Incoming>) -> Result<Map<String, Value>, Problem> {
    let mut parameters = Map::new();
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()) {
        if parameters.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return Err(Problem::new(Code::MalformedJson, "a parameter occurs twice"));
        }
    }
    Ok(parameters)
}
