//! One who listens to server-sent events.

use super::PATIENCE;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An event, and the id that is repeated to go on after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub data: Value,
}

/// An answer that goes on; dropped, its connection is closed.
pub struct Listener {
    response: Response<Incoming>,
    text: String,
    /// It ends with this.
    _connection: JoinSet<Result<(), hyper::Error>>,
}

impl Listener {
    /// Asks for events; nothing when there is no one to answer.
    pub async fn open(port: u16, path: &str, headers: &[(&str, &str)]) -> Option<Listener> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let mut request = Request::get(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.ok()?;
        Some(Listener { response, text: String::new(), _connection: connections })
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next block of lines: an event, or a comment; nothing at the end, in good order or not.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame());
            let frame = frame.await.expect("it goes on, or ends")?.ok()?;
            self.text += std::str::from_utf8(frame.data_ref()?).unwrap();
        }
    }

    /// The next event; nothing at the end, in good order or not.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = parse(&self.block().await?) {
                return Some(event);
            }
        }
    }

    /// All that comes until the end.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// Waits for a comment that begins so; the events before it.
    pub async fn until_comment(&mut self, beginning: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let block = self.block().await.expect("the comment comes");
            if block.starts_with(&format!(": {beginning}")) {
                return events;
            }
            events.extend(parse(&block));
        }
    }
}

/// An event; nothing where it is a comment, or tells the client when to come again.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).unwrap();
    Some(Event { id: field("id: ").map(|id| id.parse().unwrap()), data })
}
