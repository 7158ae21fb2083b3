//! Receives spans by OTLP over HTTP, in protobuf: `POST /v1/traces` on the loopback address.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::parts;
use super::span::Span;

const PATH: &str = "/v1/traces";
const PROTOBUF: &str = "application/x-protobuf";

/// A batch of the exporter has 512 spans, and each of them at most some 512 links of 30 bytes.
const BODY_BYTES_MAX: usize = 8 << 20;
/// What the smallest spans of such a body would be is too many.
const SPANS_MAX: usize = 65_536;
/// Of all messages in a body, counted before it is decoded: the links of such a batch and as much again. A
/// message takes up to 300 bytes in memory, so that a decoded body takes some 150 MiB at the very most.
const PARTS_MAX: usize = 524_288;
/// One exporter for each role, and as many again that are not closed yet.
const CONNECTIONS_MAX: usize = 64;
/// Bodies in memory at once. One thread decodes them, one after the other.
const BODIES_MAX: usize = 4;
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How long spans wait for whoever keeps them before the exporter is asked to come again.
const KEEP_PATIENCE: Duration = Duration::from_secs(5);
/// How long requests may take that are there when the end is announced.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting pauses after the system has refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port that takes spans.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
}

impl Receiver {
    /// Opens the port on 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn bind(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        Ok(Self { listener })
    }

    /// Hands what comes to `spans`, a request at a time, until `stop`; requests that are there then are
    /// answered still.
    pub async fn run(self, spans: mpsc::Sender<Vec<Span>>, stop: impl Future<Output = ()>) {
        let (connections, bodies) =
            (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(BODIES_MAX)));
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.accept(&connections) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (spans, bodies) = (spans.clone(), bodies.clone());
            let service = service_fn(move |request| {
                let (spans, bodies) = (spans.clone(), bodies.clone());
                async move { Ok::<_, Infallible>(answer(request, &spans, &bodies).await) }
            });
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // Whoever breaks a connection off sends its spans again.
                let _ = connection.await;
                drop(place);
            });
        }
        drop(self.listener);
        let _ = tokio::time::timeout(DRAIN_PATIENCE, graceful.shutdown()).await;
    }

    async fn accept(&self, connections: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = connections.clone().acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

/// Why spans are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Path,
    Method,
    MediaType,
    TooLarge,
    TooSlow,
    Broken,
    Junk,
    Busy,
}

impl Refusal {
    fn status_and_reason(self) -> (StatusCode, &'static str) {
        match self {
            Self::Path => (StatusCode::NOT_FOUND, "spans go to /v1/traces"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "spans are sent by POST"),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/x-protobuf without content encoding: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "a request may have at most 8 MiB, 65,536 spans and 524,288 parts of them",
            ),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body ended early or was framed wrongly"),
            Self::Junk => (StatusCode::BAD_REQUEST, "the body is no ExportTraceServiceRequest"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many spans at once"),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    spans: &mpsc::Sender<Vec<Span>>,
    bodies: &Semaphore,
) -> Response<Full<Bytes>> {
    let taken = take(request, spans, bodies).await;
    // An answer without a word of refusal is empty: every field of it has its default.
    let (status, media_type, text) = match taken {
        Ok(()) => (StatusCode::OK, PROTOBUF, ""),
        Err(refusal) => {
            let (status, reason) = refusal.status_and_reason();
            (status, "text/plain", reason)
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    match taken {
        Err(Refusal::Method) => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        Err(Refusal::Busy) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

async fn take(
    request: Request<Incoming>,
    spans: &mpsc::Sender<Vec<Span>>,
    bodies: &Semaphore,
) -> Result<(), Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::Path);
    }
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = media_type.split(';').next().unwrap_or("").trim();
    if !media_type.eq_ignore_ascii_case(PROTOBUF) || request.headers().contains_key(CONTENT_ENCODING) {
        return Err(Refusal::MediaType);
    }
    // Said before a byte of it is read.
    if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::TooLarge);
    }
    let place = tokio::time::timeout(KEEP_PATIENCE, bodies.acquire()).await;
    let Ok(Ok(_place)) = place else { return Err(Refusal::Busy) };
    let read = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_PATIENCE, read).await {
        Err(_) => return Err(Refusal::TooSlow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
        Ok(Err(_)) => return Err(Refusal::Broken),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if !parts::are_at_most(PARTS_MAX, &body) {
        return Err(Refusal::TooLarge);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| Refusal::Junk)?;
    let groups = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    if groups.map(|group| group.spans.len()).sum::<usize>() > SPANS_MAX {
        return Err(Refusal::TooLarge);
    }
    spans.send_timeout(Span::all_of(request), KEEP_PATIENCE).await.map_err(|_| Refusal::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// The clock stands still, and jumps to the next deadline when everybody waits.
    #[tokio::test(start_paused = true)]
    async fn whoever_dawdles_is_given_up() {
        let receiver = Receiver::bind(0).await.unwrap();
        let address = receiver.listener.local_addr().unwrap();
        let (sender, mut spans) = mpsc::channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(receiver.run(sender, async {
            let _ = stopped.await;
        }));
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Type: {PROTOBUF}\r\n");
        let rows = [
            (String::new(), ""),
            (head.clone(), ""),
            (format!("{head}Content-Length: 9\r\n\r\n"), "HTTP/1.1 408 "),
            (format!("{head}Content-Length: 9\r\n\r\nhalf"), "HTTP/1.1 408 "),
        ];
        for (sent, expected) in rows {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let is_as_expected = answer.starts_with(expected) && answer.is_empty() == expected.is_empty();
            assert!(is_as_expected, "{sent}: {answer}");
        }
        // It ends although a connection is open, and hands nothing on.
        let _open = TcpStream::connect(address).await.unwrap();
        drop(stop);
        running.await.unwrap();
        assert_eq!(spans.recv().await, None);
    }
}
