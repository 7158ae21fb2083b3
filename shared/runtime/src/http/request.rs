//! One request from its head to its answer, or until whoever asked is gone.

use super::answer::{About, Answer, Parts, Waited, complete, problem};
use super::context::{Connection, RequestContext};
use super::server::{Handler, Port};
use crate::process::panic_message;
use crate::telemetry::{Asked, FailedRequest, Failing, RequestMetrics, Span};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Request, Version};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use wire::{Code, Method, Problem};

/// Nobody is told this status, which others use for the same: a client that left before its answer.
const CLIENT_GONE: u16 = 499;

pub(super) async fn answer<H: Handler>(
    port: &Port<H>,
    connection: Connection,
    request: Request<Incoming>,
) -> Answer {
    let started = Instant::now();
    let mut context = RequestContext::of(&request, connection);
    let method = method(&request);
    let well_formed = well_formed(&request);
    let span = match well_formed {
        Ok(()) if !context.route.is_about_the_process() && port.metrics.serves(context.route, method) => {
            port.traces.request(context.parent, method, context.route, &context.request_id)
        }
        _ => None,
    };
    context.span = span.as_ref().map(Span::context);
    let asked = Asked::by_http(context.route, method);
    let open = OpenRequest { metrics: &port.metrics, context, asked, started, span, is_answered: false };
    let mut answer = match well_formed {
        Err(detail) => problem(Problem::new(Code::MalformedJson, detail)),
        Ok(()) => {
            let handling = AssertUnwindSafe(port.handler.handle(&open.context, request)).catch_unwind();
            handling.await.unwrap_or_else(|panic| {
                let cause = format!("a panic: {}", panic_message(&*panic));
                problem(Problem::new(Code::Internal, "the request met a bug of ours").because(cause))
            })
        }
    };
    open.answered(&mut answer);
    answer
}

/// A request that has no answer yet. hyper drops what answers a connection whose client has gone, and this
/// with it.
struct OpenRequest<'p> {
    metrics: &'p RequestMetrics,
    context: RequestContext,
    asked: Asked,
    started: Instant,
    span: Option<Span>,
    is_answered: bool,
}

impl OpenRequest<'_> {
    fn answered(mut self, answer: &mut Answer) {
        self.is_answered = true;
        let problem = complete(answer, &self.context.request_id);
        let about = answer.extensions_mut().remove::<About>();
        let parts = answer.extensions_mut().remove::<Parts>();
        let waited = answer.extensions_mut().remove::<Waited>().map_or(Duration::ZERO, |waited| waited.0);
        let status = answer.status().as_u16();
        if let Some(span) = &mut self.span {
            describe(span, status, about.as_ref(), problem.as_ref());
        }
        let took = self.started.elapsed().saturating_sub(waited);
        self.ended(status, took, problem.as_ref().map(Failing::With));
        if let Some(parts) = parts {
            self.parts_ended(&parts, took);
        }
    }

    /// Each part counts as if it had come alone; what failed has one line together.
    fn parts_ended(&self, parts: &Parts, took: Duration) {
        self.metrics.parts_answered(Asked::by_http(parts.route, Method::Post), &parts.statuses);
        if let Some(worst) = &parts.worst {
            self.tell(Failing::With(worst), took);
        }
    }

    fn ended(&self, status: u16, took: Duration, failing: Option<Failing<'_>>) {
        self.metrics.answered(self.asked, status, took);
        if let Some(failing) = failing {
            self.tell(failing, took);
        }
    }

    fn tell(&self, failing: Failing<'_>, took: Duration) {
        let (request_id, trace) = (&self.context.request_id, self.context.span.or(self.context.parent));
        FailedRequest { request_id, asked: self.asked, failing, took, trace }.tell();
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if let Some(span) = &mut self.span {
            span.answered(CLIENT_GONE);
            span.failed("client_gone");
        }
        self.ended(CLIENT_GONE, self.started.elapsed(), Some(Failing::ClientGone(CLIENT_GONE)));
    }
}

/// What its answer says of a request.
fn describe(span: &mut Span, status: u16, about: Option<&About>, problem: Option<&Problem>) {
    if let Some(About { payment, outcome }) = about {
        span.payment(payment);
        if let Some(outcome) = outcome {
            span.outcome(*outcome);
        }
    } else if let Some(payment) = problem.and_then(|problem| problem.id.as_deref()) {
        span.payment(payment);
    }
    span.answered(status);
    if let Some(problem) = problem {
        span.refused(problem);
    }
}

fn method(request: &Request<Incoming>) -> Method {
    Method::named(request.method().as_str()).filter(|method| *method != Method::Nats).unwrap_or(Method::Other)
}

/// What RFC 9112 asks of a server and hyper leaves to it: exactly one `Host`, and no request for somewhere
/// else.
fn well_formed(request: &Request<Incoming>) -> Result<(), &'static str> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err("a request must carry exactly one Host");
    }
    if request.uri().authority().is_some() {
        return Err("this is no proxy: send the path alone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::answer::{text, waited};
    use super::super::server::{bind, serve};
    use super::*;
    use crate::config::HttpConfig;
    use crate::drain::Drain;
    use crate::telemetry::{Metrics, Traces};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use wire::Role;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Says that it was asked; answers no payment, panics over accounts, and greets everyone else.
    struct Slow(Arc<Notify>);

    impl Handler for Slow {
        async fn handle(&self, context: &RequestContext, _: Request<Incoming>) -> Answer {
            self.0.notify_one();
            match context.route {
                wire::Route::Payments => std::future::pending().await,
                wire::Route::Accounts => panic!("of {}", context.route),
                wire::Route::Account => {
                    let mut answer = text(200, "text/plain", "waited");
                    waited(&mut answer, Duration::MAX);
                    answer
                }
                _ => text(200, "text/plain", "hello"),
            }
        }
    }

    /// Sends the request; leaves as soon as it is asked about, unless an answer is waited for.
    async fn send(stream: &mut TcpStream, method: &str, path: &str, host: &str, waits: bool) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\ntraceparent: {TRACEPARENT}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        if waits {
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn every_request_is_counted_once_and_what_is_served_has_a_span() {
        let listener = bind("127.0.0.1".parse().unwrap(), 0, "port").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new(Role::Gateway, true).unwrap();
        let (drain, is_asked) = (Drain::default(), Arc::new(Notify::new()));
        let (traces, mut kept) = Traces::kept();
        let serving = tokio::spawn(serve(
            listener,
            Arc::new(Slow(is_asked.clone())),
            HttpConfig::default(),
            RequestMetrics::new(&metrics),
            traces,
            drain.clone(),
        ));
        let host = "Host: h\r\n";
        // What is sent; the code, and what its span has for an error, if it has one.
        for (method, path, host, code, error) in [
            ("POST", "/payments", host, 499, Some("client_gone")),
            ("POST", "/accounts", host, 500, Some("internal")),
            ("GET", "/payments/P", host, 200, Some("")),
            ("GET", "/accounts/A", host, 200, Some("")),
            ("GET", "/nowhere", host, 200, None),
            ("DELETE", "/payments/P", host, 200, None),
            ("GET", "/healthz", host, 200, None),
            ("GET", "/payments/P", "", 400, None),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            send(&mut stream, method, path, host, code != 499).await;
            if code != 400 {
                is_asked.notified().await;
            }
            drop(stream);
            let route = wire::Route::of(path).0;
            let counted = || {
                let text = String::from_utf8(metrics.render().unwrap()).unwrap();
                let labels = format!(r#"{{code="{code}",method="{method}",route="{route}","#);
                let row = format!("payment_requests_total{labels}");
                text.lines().any(|line| line.starts_with(&row) && line.ends_with("} 1"))
            };
            while !counted() {
                tokio::task::yield_now().await;
            }
            let spans = kept.ended();
            let errors: Vec<&str> = spans.iter().map(|span| span.attribute("error.type")).collect();
            assert_eq!(errors, error.into_iter().collect::<Vec<_>>(), "{method} {path}");
            assert!(spans.iter().all(|span| span.attribute("http.response.status_code") == code.to_string()));
            assert!(spans.iter().all(|span| span.is_error == (code >= 499)), "{method} {path}");
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let sum = "payment_request_duration_seconds_sum{route=\"/accounts/{id}\",service=\"gateway\"} 0\n";
        assert!(text.contains(sum), "a wait that was asked for is no time of ours:\n{text}");
        drain.begin();
        serving.await.unwrap();
    }
}
