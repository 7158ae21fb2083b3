//! `/log-level`: which log lines the process writes, to be read and changed while it runs. There are no keys
//! yet, so only whoever sits at the machine may.

use super::answer::{Answer, json, method_not_allowed, problem};
use super::body::{BodyLimit, is_json, read};
use super::context::RequestContext;
use crate::telemetry::{log_filter, set_log_filter};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::object::RequestObject;
use wire::{Code, Problem};

/// Of a filter with all that may be said around it.
const LIMIT: BodyLimit = BodyLimit { bytes_max: 2_048, time_max: Duration::from_secs(5) };

/// Shows the filter, or changes it.
pub(super) async fn answer(context: &RequestContext, request: Request<Incoming>) -> Answer {
    if !is_from_this_machine(context.connection.peer, request.headers()) {
        return problem(Problem::new(
            Code::Forbidden,
            "this is answered to the machine itself, without proxies",
        ));
    }
    let answered = match *request.method() {
        Method::GET | Method::HEAD => shown(),
        Method::PUT => change(request).await,
        _ => return method_not_allowed("GET, HEAD, PUT"),
    };
    answered.unwrap_or_else(problem)
}

fn shown() -> Result<Answer, Problem> {
    let filter =
        log_filter().ok_or_else(|| Problem::new(Code::Unavailable, "this process writes no log lines"))?;
    Ok(json(200, &serde_json::json!({ "filter": filter })))
}

async fn change(request: Request<Incoming>) -> Result<Answer, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(is_json);
    let filter = filter_of(&read(request, LIMIT).await?, is_json)?;
    set_log_filter(&filter).map_err(|error| Problem::new(Code::MalformedJson, error.to_string()))?;
    shown()
}

/// The filter that a body asks for: its one field if it is JSON, all of it if it is not.
fn filter_of(body: &Bytes, is_json: bool) -> Result<String, Problem> {
    let filter = if is_json {
        let mut object = RequestObject::parse(body)?;
        let filter = object.require_text("filter")?;
        object.finish()?;
        filter
    } else {
        String::from_utf8(body.to_vec())
            .map_err(|_| Problem::new(Code::MalformedJson, "a filter is text in UTF-8"))?
    };
    match filter.trim() {
        "" => Err(Problem::new(Code::MissingField, "a filter such as info,runtime=debug is missing")),
        filter => Ok(filter.to_owned()),
    }
}

/// Whether whoever asks is a program on this machine that asks for this machine: neither a proxy beside us
/// that passes a request on, nor a browser that was led here under another name.
fn is_from_this_machine(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let is_passed_on = headers
        .keys()
        .map(|name| name.as_str())
        .any(|name| name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "via"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    peer.ip().to_canonical().is_loopback() && !is_passed_on && host.is_some_and(names_loopback)
}

fn names_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn only_the_machine_itself_is_answered() {
        let rows: [(&str, &[(&str, &str)], bool); 15] = [
            ("127.0.0.1:9", &[("host", "localhost")], true),
            ("127.0.0.1:9", &[("host", "LOCALHOST:8080")], true),
            ("[::1]:9", &[("host", "[::1]:8080")], true),
            ("[::ffff:127.0.0.1]:9", &[("host", "127.0.0.1:8080")], true),
            ("192.0.2.1:9", &[("host", "localhost")], false),
            ("127.0.0.1:9", &[("host", "kilat.example")], false),
            ("127.0.0.1:9", &[("host", "localhost.example")], false),
            ("127.0.0.1:9", &[("host", "localhost@kilat.example")], false),
            ("127.0.0.1:9", &[("host", "127.0.0.1.example:80")], false),
            ("127.0.0.1:9", &[("host", "")], false),
            ("127.0.0.1:9", &[], false),
            ("127.0.0.1:9", &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")], false),
            ("127.0.0.1:9", &[("host", "localhost"), ("x-forwarded-anything", "")], false),
            ("127.0.0.1:9", &[("host", "localhost"), ("forwarded", "for=192.0.2.1")], false),
            ("127.0.0.1:9", &[("host", "localhost"), ("via", "1.1 proxy")], false),
        ];
        for (peer, headers, expected) in rows {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(is_from_this_machine(peer.parse().unwrap(), &map), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_filter_comes_as_text_or_in_json() {
        let rows = [
            ("info,runtime=debug\n", false, Ok("info,runtime=debug")),
            (r#"{"filter":"debug"}"#, true, Ok("debug")),
            (r#"{"filter":"debug","x":1}"#, true, Err(Code::UnknownField)),
            (r#"{"filter":1}"#, true, Err(Code::MalformedJson)),
            (r#"{"filter":" "}"#, true, Err(Code::MissingField)),
            ("", false, Err(Code::MissingField)),
        ];
        for (body, is_json, expected) in rows {
            let found = filter_of(&Bytes::from(body), is_json).map_err(|problem| problem.code);
            assert_eq!(found, expected.map(str::to_owned), "{body}");
        }
    }
}
