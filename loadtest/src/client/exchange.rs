//! One request and its answer over an open connection, by HTTP/1.1 as far as small answers need it. A library
//! would do more for each request than the gateway does: whoever measures runs on the machine that it
//! measures.

use super::answer::Answer;
use bytes::Bytes;
use hyper::StatusCode;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The longest body of an answer, in bytes: far more than five hundred results have.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What is read at once, in bytes.
const READ_BYTES: usize = 4 << 10;

/// A connection on which nothing is on its way.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// What is written, and then what is read: kept from one exchange to the next.
    buffer: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The other end had closed it before the request was on its way.
    Closed(io::Error),
    /// It broke with the request on its way.
    Cut(io::Error),
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    replayed: bool,
    retry_after: Option<Duration>,
    body: Framing,
    /// No other answer comes on this connection.
    is_last: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
    /// At the end of the connection.
    End,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: Vec::with_capacity(READ_BYTES) }
    }

    /// The connection itself, for whoever speaks more of the protocol.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a request whose head is made of these lines; its answer, and whether another may follow it.
    pub(super) async fn exchange(&mut self, head: &[&[u8]], body: &[u8]) -> Result<(Answer, bool), Failure> {
        self.refuse_leavings()?;
        self.buffer.clear();
        head.iter().for_each(|line| self.buffer.extend_from_slice(line));
        if !body.is_empty() {
            self.buffer.extend_from_slice(b"content-length: ");
            self.buffer.extend_from_slice(body.len().to_string().as_bytes());
            self.buffer.extend_from_slice(b"\r\n");
        }
        self.buffer.extend_from_slice(b"\r\n");
        self.buffer.extend_from_slice(body);
        self.stream.write_all(&self.buffer).await.map_err(Failure::Cut)?;
        self.answer().await.map_err(Failure::Cut)
    }

    /// An idle connection that says anything, or has ended, is of no use; nothing was sent on it.
    fn refuse_leavings(&mut self) -> Result<(), Failure> {
        match self.stream.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Failure::Closed(error)),
            Ok(_) => Err(Failure::Closed(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    async fn answer(&mut self) -> io::Result<(Answer, bool)> {
        self.buffer.clear();
        let mut searched = 0;
        let (head, start) = loop {
            if let Some(end) = find(&self.buffer[searched..], b"\r\n\r\n") {
                let end = searched + end + 4;
                let head = Head::parse(&self.buffer[..end]).ok_or_else(malformed)?;
                if !head.status.is_informational() {
                    break (head, end);
                }
                // What goes before an answer says nothing to us.
                self.buffer.drain(..end);
                searched = 0;
                continue;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(malformed());
            }
            searched = self.buffer.len().saturating_sub(3);
            self.read().await?;
        };
        let body = match head.body {
            Framing::Length(length) => {
                self.read_up_to(start.saturating_add(length)).await?;
                Bytes::copy_from_slice(&self.buffer[start..start + length])
            }
            Framing::Chunks => self.chunks(start).await?.into(),
            Framing::End => {
                while self.read().await.is_ok() {}
                Bytes::copy_from_slice(&self.buffer[start..])
            }
        };
        let Head { status, replayed, retry_after, is_last, .. } = head;
        Ok((Answer { status, replayed, retry_after, body }, !is_last))
    }

    async fn chunks(&mut self, start: usize) -> io::Result<Vec<u8>> {
        let (mut body, mut start) = (Vec::new(), start);
        loop {
            let line_end = self.line_end(start).await?;
            let line = std::str::from_utf8(&self.buffer[start..line_end]).map_err(|_| malformed())?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed())?;
            start = line_end + 2;
            if size == 0 {
                break;
            }
            self.read_up_to(start.saturating_add(size).saturating_add(2)).await?;
            body.extend_from_slice(&self.buffer[start..start + size]);
            start += size + 2;
        }
        // Fields may follow the last chunk; an empty line ends them.
        loop {
            let line_end = self.line_end(start).await?;
            if line_end == start {
                return Ok(body);
            }
            start = line_end + 2;
        }
    }

    async fn line_end(&mut self, start: usize) -> io::Result<usize> {
        loop {
            if let Some(end) = find(&self.buffer[start.min(self.buffer.len())..], b"\r\n") {
                return Ok(start + end);
            }
            self.read().await?;
        }
    }

    async fn read_up_to(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            if length > BODY_BYTES_MAX {
                return Err(malformed());
            }
            self.read().await?;
        }
        Ok(())
    }

    /// Reads more; the end of the connection is an error.
    async fn read(&mut self) -> io::Result<()> {
        if self.buffer.len() > BODY_BYTES_MAX + HEAD_BYTES_MAX {
            return Err(malformed());
        }
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Head {
    fn parse(head: &[u8]) -> Option<Head> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let (version, status) = lines.next()?.split_once(' ')?;
        let status = StatusCode::from_bytes(status.get(..3)?.as_bytes()).ok()?;
        let (mut replayed, mut retry_after, mut body) = (false, None, Framing::End);
        let mut is_last = version != "HTTP/1.1";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let (is, value) = (|known: &str| name.eq_ignore_ascii_case(known), value.trim());
            if is("content-length") && body != Framing::Chunks {
                body = Framing::Length(value.parse().ok()?);
            } else if is("transfer-encoding") {
                body = if value.eq_ignore_ascii_case("chunked") { Framing::Chunks } else { return None };
            } else if is("idempotency-replayed") {
                replayed = value == "true";
            } else if is("retry-after") {
                // The seconds; a date, its other form, is not understood.
                retry_after = value.parse().ok().map(Duration::from_secs);
            } else if is("connection") {
                is_last |= value.eq_ignore_ascii_case("close");
            }
        }
        if status.is_informational() || matches!(status.as_u16(), 204 | 304) {
            body = Framing::Length(0);
        }
        is_last |= body == Framing::End;
        Some(Head { status, replayed, retry_after, body, is_last })
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What comes of a request that is answered with these pieces, after which the connection ends.
    async fn answered(pieces: &'static [&'static str]) -> Result<(u16, String, bool, bool), &'static str> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wire = Wire::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut peer, _) = listener.accept().await.unwrap();
        let answering = tokio::spawn(async move {
            let mut request = vec![0; 4];
            peer.read_exact(&mut request).await.unwrap();
            for piece in pieces {
                peer.write_all(piece.as_bytes()).await.unwrap();
                peer.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let found = match wire.exchange(&[b"GET / HTTP/1.1\r\n"], b"").await {
            Ok((answer, stays)) => {
                let body = String::from_utf8(answer.body.to_vec()).unwrap();
                Ok((answer.status.as_u16(), body, answer.replayed, stays))
            }
            Err(Failure::Cut(_)) => Err("cut"),
            Err(Failure::Closed(_)) => Err("closed"),
        };
        answering.await.unwrap();
        found
    }

    #[tokio::test]
    async fn an_answer_ends_where_its_head_says() {
        let rows: [(&[&str], Result<(u16, &str, bool, bool), &str>); 12] = [
            (&["HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"], Ok((202, "{}", false, true))),
            (
                &[
                    "HTTP/1.1 202 Acc",
                    "epted\r\nIdempotency-Replayed: true\r\nContent-Length:4\r\n\r",
                    "\n{",
                    "  }",
                ],
                Ok((202, "{  }", true, true)),
            ),
            (
                &["HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"],
                Ok((503, "x", false, false)),
            ),
            (
                &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
                Ok((200, "", false, true)),
            ),
            (&["HTTP/1.1 204 None\r\n\r\n"], Ok((204, "", false, true))),
            (
                &[
                    "HTTP/1.1 502 X\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r",
                    "\n2\r\nde\r\n0\r\nx: y\r\n\r\n",
                ],
                Ok((502, "abcde", false, true)),
            ),
            (&["HTTP/1.0 502 X\r\n\r\n<html>"], Ok((502, "<html>", false, false))),
            (&["HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\n{}"], Err("cut")),
            (&["HTTP/1.1 202 Accepted\r\ncontent-length: 99999999999\r\n\r\n{}"], Err("cut")),
            (&["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"], Err("cut")),
            (&["SSH-2.0-x\r\n\r\n"], Err("cut")),
            (&[], Err("cut")),
        ];
        for (pieces, expected) in rows {
            let expected =
                expected.map(|(status, body, replayed, stays)| (status, body.to_owned(), replayed, stays));
            assert_eq!(answered(pieces).await, expected, "{pieces:?}");
        }
    }
}
