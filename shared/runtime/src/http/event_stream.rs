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
