//! Server-sent events: an answer that goes on.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Whoever has something to tell never waits for
//! whoever listens: a listener that is behind by more than its buffer is cut off.

use super::answer::Answer;
use super::context::Connection;
use crate::drain::Drain;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{Either, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

/// The body of an answer that is made of events.
pub type EventStream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// A comment is sent when nothing else was for so long, so that whoever stands between keeps the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_LINE: Bytes = Bytes::from_static(b": \n\n");

/// How long a stream may last: a client that wants more asks again, as browsers do by themselves.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long clients wait before they ask again, in milliseconds.
const RETRY_LINE: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// Messages that may wait for a listener; each has one event or several.
const BUFFER: usize = 64;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Asks proxies of one widespread kind not to collect what they pass on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");

/// The listener is gone, or was cut off because it does not take what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagging;

/// Sends events to one listener. The stream ends when this is dropped, when the drain begins, or after an hour.
#[derive(Debug)]
pub struct EventSender {
    messages: mpsc::Sender<Bytes>,
    connection: Connection,
}

impl EventSender {
    /// Sends encoded events; never waits.
    pub fn send(&self, events: Bytes) -> Result<(), Lagging> {
        self.messages.try_send(events).map_err(|refused| {
            if matches!(refused, TrySendError::Full(_)) {
                tracing::info!(peer = %self.connection.peer, "a listener that does not read was cut off");
                self.connection.cut();
            }
            Lagging
        })
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// What the answer has still to say.
struct Source {
    messages: mpsc::Receiver<Bytes>,
    drain: Drain,
    ends_at: Instant,
}

impl Source {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Source)> {
        let message = tokio::select! {
            biased;
            message = self.messages.recv() => message?,
            () = self.drain.begun() => return None,
            () = tokio::time::sleep_until(self.ends_at) => return None,
            () = tokio::time::sleep(HEARTBEAT) => HEARTBEAT_LINE,
        };
        Some((Ok(Frame::data(message)), self))
    }
}

/// An answer made of events, and what sends them.
pub fn event_stream(connection: &Connection, drain: &Drain) -> (Answer, EventSender) {
    let (messages, taken) = mpsc::channel(BUFFER);
    let source = Source { messages: taken, drain: drain.clone(), ends_at: Instant::now() + LIFETIME };
    let first = stream::iter([Ok(Frame::data(RETRY_LINE))]);
    let body = StreamBody::new(first.chain(stream::unfold(source, Source::next)).boxed());
    let mut answer = Response::new(Either::Right(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(X_ACCEL_BUFFERING, NO);
    (answer, EventSender { messages, connection: connection.clone() })
}

/// One event: `data` is one line, `id` what a client repeats when it asks again.
pub fn event(id: Option<&str>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::super::context::RequestContext;
    use super::super::server::{Handler, bind, serve};
    use super::*;
    use crate::config::HttpConfig;
    use crate::telemetry::{Metrics, RequestMetrics, Traces};
    use http_body_util::BodyExt;
    use hyper::Request;
    use hyper::body::Incoming;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use wire::Role;

    /// Why a stream ends.
    #[derive(Debug, Clone, Copy)]
    enum End {
        Said,
        Drain,
        Age,
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_what_it_tells_with_the_drain_or_after_an_hour() {
        // Why it ends; how many comments came before, and after how many seconds that was.
        for (end, heartbeats, seconds) in [(End::Said, 1, 20), (End::Drain, 1, 20), (End::Age, 239, 3_600)] {
            let (drain, started) = (Drain::default(), Instant::now());
            let connection = Connection::of("192.0.2.1:80".parse().unwrap());
            let (answer, sender) = event_stream(&connection, &drain);
            sender.send(event(Some("1"), "{}").into()).unwrap();
            let ends = async {
                // While nothing is told; time is paused.
                tokio::time::sleep(Duration::from_secs(20)).await;
                match end {
                    End::Said => drop(sender),
                    End::Drain => drain.begin(),
                    End::Age => sender.closed().await,
                }
            };
            let reads = async {
                let mut body = answer.into_body();
                let mut texts = Vec::new();
                while let Some(frame) = body.frame().await {
                    texts.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
                }
                (texts, started.elapsed())
            };
            let ((texts, took), ()) = tokio::join!(reads, ends);
            let (first, rest) = texts.split_at(2);
            assert_eq!(first, ["retry: 1000\n\n", "id: 1\ndata: {}\n\n"], "{end:?}");
            assert!(rest.iter().all(|text| text == ": \n\n"), "{end:?}: {rest:?}");
            assert_eq!((rest.len(), took.as_secs()), (heartbeats, seconds), "{end:?}");
        }
    }

    /// Tells everyone more than can be taken by one who does not read.
    struct Talking(Drain);

    impl Handler for Talking {
        async fn handle(&self, context: &RequestContext, _: Request<Incoming>) -> Answer {
            let (answer, sender) = event_stream(&context.connection, &self.0);
            tokio::spawn(async move {
                while sender.send(event(None, &"x".repeat(8 << 10)).into()).is_ok() {
                    tokio::task::yield_now().await;
                }
                sender.closed().await;
            });
            answer
        }
    }

    /// There is one connection at a time, so the next one is served when the one before was cut.
    #[tokio::test]
    async fn who_does_not_read_is_cut_off_and_leaves_his_place() {
        let listener = bind("127.0.0.1".parse().unwrap(), 0, "port").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::default();
        let serving = tokio::spawn(serve(
            listener,
            Arc::new(Talking(drain.clone())),
            HttpConfig { connections_max: 1, ..HttpConfig::default() },
            RequestMetrics::new(&Metrics::new(Role::Gateway, true).unwrap()),
            Traces::inert(),
            drain.clone(),
        ));
        let mut stalled = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            stalled.push(stream);
        }
        drain.begin();
        serving.await.unwrap();
    }
}
