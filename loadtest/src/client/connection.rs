//! One keep-alive connection, one request at a time.

use super::answer::Answer;
use super::exchange::{Failure, Wire};
use super::target::{Target, Targets};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A gateway answers within its own limits, which are seconds; one that has not answered by now will not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to one of the targets; when it breaks, the next request goes to the next of them.
#[derive(Debug)]
pub(crate) struct Connection {
    targets: Targets,
    current: usize,
    wire: Option<Wire>,
    /// Of an answer that goes on.
    listening: Option<SendRequest<Full<Bytes>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// There is no connection.
    #[error("cannot connect to {target}")]
    Connect { target: Target, source: io::Error },
    /// The connection broke before the request was on its way.
    #[error("the connection was closed")]
    Closed(#[source] io::Error),
    /// The connection broke when the request was on its way.
    #[error("the connection broke")]
    Cut(#[source] io::Error),
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
        Connection { targets: targets.clone(), current: number, wire: None, listening: None }
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
        let host = self.targets.get(self.current).host_header();
        let listening = async {
            self.connected().await?;
            let Some(wire) = self.wire.take() else {
                return Err(Broken::Closed(io::ErrorKind::NotConnected.into()));
            };
            let io = TokioIo::new(wire.into_stream());
            let closed = |error: hyper::Error| Broken::Closed(io::Error::other(error));
            let (sender, connection) = http1::handshake(io).await.map_err(closed)?;
            // How it ends is what the reader of the body gets to know.
            tokio::spawn(async move {
                let _ = connection.await;
            });
            let mut request = Request::new(Full::new(Bytes::new()));
            *request.uri_mut() = path.clone();
            request.headers_mut().insert(HOST, host);
            let answer = self.listening.insert(sender).send_request(request).await;
            answer.map_err(|error| Broken::Cut(io::Error::other(error)))
        };
        timeout(ANSWER_TIMEOUT, listening).await.unwrap_or(Err(Broken::TimedOut))
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
        self.wire = None;
        self.current = self.current.wrapping_add(1);
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &Uri,
        prefer: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Broken> {
        let host = self.targets.get(self.current).host_header();
        let path = path.path_and_query().map_or("/", |path| path.as_str());
        let mut head: Vec<&[u8]> = vec![method.as_str().as_bytes(), b" ", path.as_bytes()];
        head.extend([&b" HTTP/1.1\r\nhost: "[..], host.as_bytes()]);
        head.push(b"\r\ncontent-type: application/json\r\n");
        if let Some(prefer) = &prefer {
            head.extend([&b"prefer: "[..], prefer.as_bytes(), b"\r\n"]);
        }
        let mut answer = self.connected().await?.exchange(&head, &body).await;
        if let Err(Failure::Closed(_)) = answer {
            // It had ended while nobody asked anything.
            self.wire = None;
            answer = self.connected().await?.exchange(&head, &body).await;
        }
        let (answer, stays) = answer.map_err(|failure| match failure {
            Failure::Closed(error) => Broken::Closed(error),
            Failure::Cut(error) => Broken::Cut(error),
        })?;
        if !stays {
            self.wire = None;
        }
        Ok(answer)
    }

    /// The connection as it stands, or a new one.
    async fn connected(&mut self) -> Result<&mut Wire, Broken> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => connect(self.targets.get(self.current)).await?,
        };
        Ok(self.wire.insert(wire))
    }
}

async fn connect(target: &Target) -> Result<Wire, Broken> {
    let failed = |source: io::Error| Broken::Connect { target: target.clone(), source };
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(target.authority())).await {
        Ok(stream) => stream.map_err(failed)?,
        Err(elapsed) => return Err(failed(elapsed.into())),
    };
    stream.set_nodelay(true).map_err(failed)?;
    Ok(Wire::new(stream))
}
