//! Reading a request's body within its bounds.

use crate::config::HttpConfig;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use std::time::Duration;
use wire::{Code, Problem};

/// The largest body that a route reads, and how long it may take to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// In bytes.
    pub bytes_max: usize,
    /// From the head of the request to the body's end.
    pub time_max: Duration,
}

impl BodyLimit {
    /// The limit of every route that has none of its own.
    pub fn of(config: &HttpConfig) -> BodyLimit {
        BodyLimit {
            bytes_max: config.body_bytes_max,
            time_max: Duration::from_millis(config.body_timeout_ms),
        }
    }
}

/// The bytes of a JSON body: of the right media type, and within the route's limit.
pub async fn read_json(request: Request<Incoming>, limit: BodyLimit) -> Result<Bytes, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if request.headers().contains_key(CONTENT_ENCODING) || !content_type.is_some_and(is_json) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "send application/json in UTF-8, without content encoding",
        ));
    }
    read(request, limit).await
}

/// The bytes of a body within the route's limit, whatever they are.
pub(super) async fn read(request: Request<Incoming>, limit: BodyLimit) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("the body may have at most {} bytes", limit.bytes_max));
    // Said before a byte of it is read.
    if request.body().size_hint().lower() > limit.bytes_max as u64 {
        return Err(too_large());
    }
    let read = Limited::new(request.into_body(), limit.bytes_max).collect();
    match tokio::time::timeout(limit.time_max, read).await {
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} ms", limit.time_max.as_millis()),
        )),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::MalformedJson, "the body ended early or was framed wrongly")),
    }
}

/// Whether a media type is that of JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    media_type.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn only_json_in_utf_8_is_read() {
        let rows = [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=utf-16", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("", false),
        ];
        for (content_type, expected) in rows {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }
}
