//! What a request says of itself before anyone reads it.

use crate::ids::RequestId;
use domain::TraceContext;
use hyper::Request;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;
use wire::{Method, Route, header};

/// On a request and its answer: the id under which log lines and problems tell of it.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The connection that a request came by; clones are the same one.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who holds the other end.
    pub peer: SocketAddr,
    cut: CancellationToken,
}

impl Connection {
    pub(super) fn of(peer: SocketAddr) -> Connection {
        Connection { peer, cut: CancellationToken::new() }
    }

    /// Ends the connection without another word: whoever holds the other end takes too little of what it asked
    /// for.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until it is cut.
    pub(super) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

/// Which request this is, made once for each.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The client's, or made by us.
    pub request_id: RequestId,
    /// Where it goes.
    pub route: Route,
    /// How it came.
    pub connection: Connection,
    /// The span of the client's trace that it comes from.
    pub parent: Option<TraceContext>,
    /// Its own span, where it is traced.
    pub span: Option<TraceContext>,
}

impl RequestContext {
    pub(super) fn of<B>(request: &Request<B>, connection: Connection) -> RequestContext {
        let headers = request.headers();
        let method = Method::named(request.method().as_str()).unwrap_or(Method::Other);
        RequestContext {
            request_id: only(headers, X_REQUEST_ID.as_str())
                .and_then(RequestId::parse)
                .unwrap_or_else(RequestId::fresh),
            route: Route::of(request.uri().path()).0.by(method),
            connection,
            parent: only(headers, header::TRACEPARENT).and_then(TraceContext::parse),
            span: None,
        }
    }
}

/// A header that is there once: of several, none is more the client's than another.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().filter(|_| values.next().is_none());
    first.map(HeaderValue::to_str)?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(headers: &[(&str, &str)]) -> RequestContext {
        let request = headers.iter().fold(Request::get("/payments/PAY-1?x=y"), |request, (name, value)| {
            request.header(*name, *value)
        });
        let connection = Connection::of("192.0.2.1:80".parse().unwrap());
        RequestContext::of(&request.body(()).unwrap(), connection)
    }

    #[test]
    fn a_client_may_name_its_request_and_its_trace_once() {
        let rows: [(&[(&str, &str)], Option<&str>, bool); 6] = [
            (&[("X-Request-Id", "a-1")], Some("a-1"), false),
            (&[("x-request-id", "a-1"), ("TraceParent", TRACEPARENT)], Some("a-1"), true),
            (&[("X-Request-Id", "a-1"), ("X-Request-Id", "a-1")], None, false),
            (&[("X-Request-Id", "a 1"), ("traceparent", "00-nothing")], None, false),
            (&[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)], None, false),
            (&[], None, false),
        ];
        for (headers, request_id, is_traced) in rows {
            let context = context(headers);
            match request_id {
                Some(request_id) => assert_eq!(context.request_id.as_str(), request_id),
                None => assert_eq!(context.request_id.as_str().len(), 16, "{headers:?}"),
            }
            assert_eq!((context.route, context.parent.is_some()), (Route::Payment, is_traced), "{headers:?}");
        }
    }
}
