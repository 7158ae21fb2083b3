//! The routes that micro services answer: the same request by HTTP and by NATS.

use crate::http::body::{BodyLimit, read_json};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Map, Value};
use wire::service::Endpoint;
use wire::{Code, Problem};

/// The endpoint and its JSON request that an HTTP request stands for, its body within `limit` if it has one.
pub async fn service_request(
    request: Request<Incoming>,
    limit: BodyLimit,
) -> Result<(Endpoint, Bytes), Refused> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let get_only = |endpoint: Endpoint, body: Value| match method {
        Method::GET => Ok((endpoint, Bytes::from(body.to_string()))),
        _ => Err(Refused::Method("GET")),
    };
    match path.as_str() {
        "/rate" => get_only(Endpoint::Rate, query(&request)?.into()),
        "/convert" => get_only(Endpoint::Convert, query(&request)?.into()),
        "/score" if method == Method::POST => Ok((Endpoint::Score, read_json(request, limit).await?)),
        "/score" => Err(Refused::Method("POST")),
        _ => match path.strip_prefix("/balance/") {
            Some(account) => get_only(Endpoint::Balance, serde_json::json!({ "account_id": account })),
            None => Err(Refused::Path),
        },
    }
}

/// Why an HTTP request stands for no service request.
#[derive(Debug)]
pub enum Refused {
    /// No service answers this path.
    Path,
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
