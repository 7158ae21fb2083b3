//! One keep-alive connection, one request at a time. Cheap per request: whoever measures runs on the machine
//! that it measures.

use super::answer::Answer;
use super::target::{Target, Targets};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A gateway answers within its own limits, which are seconds; one that has not answered by now will not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const PREFER: HeaderName = HeaderName::from_static("prefer");
const REPLAYED: &str = "idempotency-replayed";

/// A connection to one of the targets; when it breaks, the next request goes to the next of them.
#[derive(Debug)]
pub(crate) struct Connection {
    targets: Targets,
    current: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// There is no connection.
    #[error("cannot connect to {target}")]
    Connect { target: Target, source: io::Error },
    /// The connection broke before the request was on its way.
    #[error("the connection was closed")]
    Closed(#[source] hyper::Error),
    /// The connection broke when the request was on its way.
    #[error("the connection broke")]
    Cut(#[source] hyper::Error),
    /// No answer came in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut,
}

impl Broken {
    /// Whether the request may have been carried out all the same.
    pub(crate) fn is_unclear(&self) -> bool {
        matches!(self, Broken::Cut(_) | Broken::TimedOut)
    }
}

impl Connection {
    /// A connection that is made with its first request, to the target of this number.
    pub(crate) fn new(targets: &Targets, number: usize) -> Connection {
        Connection { targets: targets.clone(), current: number, sender: None }
    }

    /// Connects now, to whichever target answers.
    pub(crate) async fn open(&mut self) -> Result<(), Broken> {
        for _ in 1..self.targets.len() {
            if self.connected().await.is_ok() {
                return Ok(());
            }
            self.abandon();
        }
        self.connected().await.map(|_| ())
    }

    /// Asks for a path.
    pub(crate) async fn get(&mut self, path: &Uri) -> Result<Answer, Broken> {
        self.request(Method::GET, path, None, Bytes::new()).await
    }

    /// Asks for a path, with a preference as RFC 7240 has it, `wait=10` say.
    pub(crate) async fn get_preferring(&mut self, path: &Uri, prefer: HeaderValue) -> Result<Answer, Broken> {
        self.request(Method::GET, path, Some(prefer), Bytes::new()).await
    }

    /// Asks for a path whose answer goes on; its body is read by whoever asked.
    pub(crate) async fn listen(&mut self, path: &Uri) -> Result<Response<Incoming>, Broken> {
        match timeout(ANSWER_TIMEOUT, self.send(Method::GET, path, None, Bytes::new())).await {
            Ok(response) => response,
            Err(_) => Err(Broken::TimedOut),
        }
    }

    /// Posts a body as JSON.
    pub(crate) async fn post(&mut self, path: &Uri, body: Bytes) -> Result<Answer, Broken> {
        self.request(Method::POST, path, None, body).await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &Uri,
        prefer: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Broken> {
        let answer = match timeout(ANSWER_TIMEOUT, self.exchange(method, path, prefer, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Broken::TimedOut),
        };
        if answer.is_err() {
            self.abandon();
        }
        answer
    }

    fn abandon(&mut self) {
        self.sender = None;
        self.current = self.current.wrapping_add(1);
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &Uri,
        prefer: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Broken> {
        let (head, body) = self.send(method, path, prefer, body).await?.into_parts();
        let body = body.collect().await.map_err(Broken::Cut)?.to_bytes();
        let replayed = head.headers.get(REPLAYED).is_some_and(|value| value == "true");
        Ok(Answer { status: head.status, replayed, retry_after: retry_after(&head.headers), body })
    }

    /// Sends a request; its answer up to the head.
    async fn send(
        &mut self,
        method: Method,
        path: &Uri,
        prefer: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Response<Incoming>, Broken> {
        let host = self.targets.get(self.current).host_header();
        let sender = self.connected().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.clone();
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(prefer) = prefer {
            request.headers_mut().insert(PREFER, prefer);
        }
        sender.try_send_request(request).await.map_err(|mut error| {
            // A request that comes back was never written.
            if error.take_message().is_some() {
                Broken::Closed(error.into_error())
            } else {
                Broken::Cut(error.into_error())
            }
        })
    }

    /// The connection as it stands, or a new one in its place.
    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Broken> {
        let standing = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match standing {
            Some(sender) => sender,
            None => connect(self.targets.get(self.current)).await?,
        };
        Ok(self.sender.insert(sender))
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let failed = |source: io::Error| Broken::Connect { target: target.clone(), source };
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(target.authority())).await {
        Ok(stream) => stream.map_err(failed)?,
        Err(elapsed) => return Err(failed(elapsed.into())),
    };
    stream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Broken::Closed)?;
    // How it ends is what the request in flight, or the next one, gets to know.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The seconds that the header names; a date, its other form, is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
