//! A client of server-sent events.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// One open stream of events.
pub struct Events {
    body: Incoming,
    connection: JoinHandle<()>,
    read: String,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Events {
    /// Opens a stream; its status where that is not 200.
    pub async fn open(port: u16, path: &str) -> Result<Events, u16> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            // Cut off where the test says so.
            let _ = connection.await;
        });
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let events = Events { body: answer.into_body(), connection, read: String::new() };
        if status == 200 { Ok(events) } else { Err(status) }
    }

    /// The next block of lines: an event, or a comment; nothing at the end.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(block);
            }
            let frame =
                tokio::time::timeout(super::PATIENCE, self.body.frame()).await.expect("it goes on")?.ok()?;
            self.read.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
        }
    }

    /// Waits for a comment that begins so; the events before it.
    pub async fn until_comment(&mut self, beginning: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let block = self.block().await.expect("the comment comes");
            if block.starts_with(&format!(": {beginning}")) {
                return events;
            }
            events.extend(data(&block));
        }
    }

    /// The next event, and when it came.
    pub async fn next(&mut self) -> Option<(Instant, Value)> {
        loop {
            if let Some(event) = data(&self.block().await?) {
                return Some((Instant::now(), event));
            }
        }
    }
}

fn data(block: &str) -> Option<Value> {
    block.lines().find_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap())
}
