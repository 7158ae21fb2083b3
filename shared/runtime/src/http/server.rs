//! Accepting connections: bounded in number, in all and by peer, each with a clock on its head, drained at
//! the end.

use super::answer::Answer;
use super::context::{Connection, RequestContext};
use super::peers::{PeerPlace, Peers};
use super::request;
use crate::config::HttpConfig;
use crate::drain::Drain;
use crate::telemetry::{RequestMetrics, Traces};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Header lines of one request at most.
const HEADERS_MAX: usize = 100;

/// How long accepting pauses after the system refuses a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the system keeps for a peer that does not read, in bytes; by itself it would keep megabytes. Answers are
/// smaller, and events are dropped with whoever does not take them.
const SEND_BUFFER_BYTES: u32 = 64 << 10;

/// Connections that wait to be accepted, as many as the standard library lets.
const BACKLOG: u32 = 1_024;

/// What stands behind a listener: a role's own answer to each request.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request; what fails is an answer too.
    fn handle(
        &self,
        context: &RequestContext,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answer> + Send;
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

/// What every request of a port meets.
pub(super) struct Port<H> {
    pub(super) handler: Arc<H>,
    pub(super) metrics: RequestMetrics,
    pub(super) traces: Traces,
}

/// Opens a port; `key` is the setting that names it.
pub async fn bind(host: IpAddr, port: u16, key: &'static str) -> Result<TcpListener, BindError> {
    listen(SocketAddr::new(host, port)).map_err(|source| BindError { port, key, source })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Its connections have the same.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers connections until the drain begins, then lets requests in flight end within their time.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    config: HttpConfig,
    metrics: RequestMetrics,
    traces: Traces,
    drain: Drain,
) {
    let port = Arc::new(Port { handler, metrics, traces });
    let (permits, peers) = (Arc::new(Semaphore::new(config.connections_max)), Peers::new(&config));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .max_headers(HEADERS_MAX)
        .max_buf_size(config.header_bytes_max);
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => break,
            accepted = accept(&listener, &permits, &peers) => accepted,
        };
        let Some((stream, peer, places)) = accepted else { continue };
        let (port, connection) = (port.clone(), Connection::of(peer));
        let of_requests = connection.clone();
        let service = service_fn(move |request| {
            let (port, connection) = (port.clone(), of_requests.clone());
            async move { Ok::<_, Infallible>(request::answer(&port, connection, request).await) }
        });
        let serving = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                served = serving => if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended");
                },
                () = connection.is_cut() => tracing::debug!("a connection was cut"),
            }
            drop(places);
        });
    }
    drop(listener);
    if tokio::time::timeout(Duration::from_millis(config.drain_ms), graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

/// The next connection, with its place among all and among those of its peer.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    peers: &Peers,
) -> Option<(TcpStream, SocketAddr, (OwnedSemaphorePermit, PeerPlace))> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            // Over its peer's bound a connection is closed as it is: an answer would cost more than it did.
            let place = peers.enter(address.ip())?;
            // Answers are small and whole: waiting to fill a packet only adds latency.
            let _ = stream.set_nodelay(true);
            Some((stream, address, (permit, place)))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::{problem, text};
    use super::*;
    use crate::telemetry::Metrics;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use wire::{Code, Problem, Role};

    struct Greeting;

    impl Handler for Greeting {
        async fn handle(&self, _: &RequestContext, _: Request<Incoming>) -> Answer {
            text(200, "text/plain", "hello")
        }
    }

    /// One request on an open connection: whether it was answered, or the connection had been closed.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 12];
        let written = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        if written.is_err() || stream.read_exact(&mut answer).await.is_err() {
            return false;
        }
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of this answer is not mistaken for the next.
        let mut rest = Vec::new();
        while !rest.ends_with(b"hello") {
            rest.push(stream.read_u8().await.unwrap());
        }
        true
    }

    /// Turns everyone away.
    struct Refusing;

    impl Handler for Refusing {
        async fn handle(&self, context: &RequestContext, _: Request<Incoming>) -> Answer {
            assert!(context.connection.peer.ip().is_loopback());
            problem(Problem::new(Code::NotFound, "nothing").with_id("PAY-1"))
        }
    }

    #[tokio::test]
    async fn every_answer_and_every_problem_name_their_request() {
        let listener = bind("127.0.0.1".parse().unwrap(), 0, "port").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = RequestMetrics::new(&Metrics::new(Role::Gateway, true).unwrap());
        let drain = Drain::default();
        let serving = tokio::spawn(serve(
            listener,
            Arc::new(Refusing),
            HttpConfig::default(),
            metrics,
            Traces::inert(),
            drain.clone(),
        ));
        let rows = [
            ("Host: h\r\nX-Request-Id: mine-1", Some("mine-1"), "404"),
            ("Host: h\r\nX-Request-Id: not mine", None, "404"),
            ("Host: h", None, "404"),
            ("X-Request-Id: mine-2", Some("mine-2"), "400"),
        ];
        for (headers, expected, status) in rows {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET / HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            let mut lines = head.lines().filter_map(|line| line.strip_prefix("x-request-id: "));
            let (told, further) = (lines.next().unwrap(), lines.next());
            assert_eq!((told, further), (expected.unwrap_or(told), None));
            let problem: Problem = serde_json::from_str(body).unwrap();
            assert_eq!(problem.request_id.as_deref(), Some(told), "{body}");
        }
        drain.begin();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_has_so_many_connections_and_no_more() {
        for (loopback_is_a_peer, third_is_answered) in [(true, false), (false, true)] {
            let listener = bind("127.0.0.1".parse().unwrap(), 0, "port").await.unwrap();
            let address = listener.local_addr().unwrap();
            let config =
                HttpConfig { connections_per_peer_max: 2, loopback_is_a_peer, ..HttpConfig::default() };
            let drain = Drain::default();
            let serving = tokio::spawn(serve(
                listener,
                Arc::new(Greeting),
                config,
                RequestMetrics::new(&Metrics::new(Role::Gateway, true).unwrap()),
                Traces::inert(),
                drain.clone(),
            ));
            let connect = || async move { TcpStream::connect(address).await.unwrap() };
            let (mut first, mut second) = (connect().await, connect().await);
            assert!(is_answered(&mut first).await && is_answered(&mut second).await);
            let mut third = connect().await;
            assert_eq!(
                is_answered(&mut third).await,
                third_is_answered,
                "loopback is a peer: {loopback_is_a_peer}"
            );
            // The others are not disturbed, and a place that is left is free again.
            assert!(is_answered(&mut first).await);
            drop((second, third));
            while !is_answered(&mut connect().await).await {
                tokio::task::yield_now().await;
            }
            drain.begin();
            serving.await.unwrap();
        }
    }
}
