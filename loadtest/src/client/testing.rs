//! A gateway that plays a script, for tests.

use super::Targets;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// It is answered with this status, these header lines and this body.
    Answer(u16, &'static str, &'static str),
    /// The connection is closed after it was read.
    Cut,
}

/// Plays its script one request after the other, over all its connections; the last line for ever.
pub(crate) struct Gateway {
    /// Where it is.
    pub(crate) targets: Targets,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Listens on a free port.
    pub(crate) async fn start(script: Vec<Script>) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Gateway { targets: vec![target].into(), requests }
    }

    /// The request lines and bodies so far, as `POST /path BODY`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    script: Arc<Mutex<VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let request = read_request(&mut stream).await?;
        seen.lock().unwrap().push(request);
        let next = {
            let mut script = script.lock().unwrap();
            if script.len() > 1 { script.pop_front()? } else { script.front().cloned()? }
        };
        let Script::Answer(status, headers, body) = next else { return None };
        let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read_request(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let start = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        if let Some((_, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(format!("{start} {}", String::from_utf8_lossy(&body)).trim().to_owned())
}
