//! Accepting connections: bounded in number, each with a clock on its head, drained at the end.

use super::answer::{Answer, problem};
use crate::config::HttpConfig;
use crate::drain::Drain;
use crate::telemetry::Metrics;
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use wire::{Code, Problem, Role};

/// Header lines of one request at most.
const HEADERS_MAX: usize = 100;

/// How long accepting pauses after the system refuses a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The role that the requests are counted under.
    fn role(&self) -> Role;

    /// Answers one.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("port {port} cannot be opened ({key})")]
pub struct BindError {
    port: u16,
    /// The setting that names the port.
    key: &'static str,
    source: std::io::Error,
}

/// Opens a port; `key` is the setting that names it.
pub async fn bind(host: IpAddr, port: u16, key: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(SocketAddr::new(host, port)).await.map_err(|source| BindError { port, key, source })
}

/// Answers connections until the drain begins, then lets requests in flight end within their time.
pub async fn serve<H: Handler>(listener: TcpListener, handler: Arc<H>, config: HttpConfig, metrics: Metrics, drain: Drain) {
    let permits = Arc::new(Semaphore::new(config.connections_max));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .max_headers(HEADERS_MAX)
        .max_buf_size(config.header_bytes_max.max(8_192));
    loop {
        let accepted = tokio::select! {
            () = drain.begun() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (handler, metrics) = (handler.clone(), metrics.clone());
        let service = service_fn(move |request| {
            let (handler, metrics) = (handler.clone(), metrics.clone());
            async move { Ok::<_, Infallible>(answer(&*handler, &metrics, request).await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(Duration::from_millis(config.drain_ms), graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and whole: waiting to fill a packet only adds latency.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answer<H: Handler>(handler: &H, metrics: &Metrics, request: Request<Incoming>) -> Answer {
    let started = Instant::now();
    let answer = match well_formed(&request) {
        Err(detail) => problem(&Problem::new(Code::MalformedJson, detail)),
        Ok(()) => AssertUnwindSafe(handler.handle(request)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a request handler panicked");
            problem(&Problem::new(Code::Internal, "the request met a bug of ours"))
        }),
    };
    metrics.request(handler.role(), answer.status().as_u16(), started.elapsed());
    answer
}

/// What RFC 9112 asks of a server and hyper leaves to it: exactly one `Host`, and no request for somewhere else.
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
