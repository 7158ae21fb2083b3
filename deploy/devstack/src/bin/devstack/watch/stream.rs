//! The gateway's `/live`, read event by event.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wire::{LiveReport, Route};

/// An event comes each second, so who says nothing for so long is away.
const PATIENCE: Duration = Duration::from_secs(4);

/// An event has some kilobytes, and more with each currency.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Lines of an answer's head, and of what may stand between two events.
const LINES_MAX: usize = 200;

/// Events as they come.
pub(crate) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Asks the gateway there; the error says why it is as good as away.
    pub(crate) fn open(address: SocketAddr) -> Result<Stream, Error> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The older version has no chunks.
        let request = format!("GET {} HTTP/1.0\r\nHost: {address}\r\n\r\n", Route::Live);
        stream.write_all(request.as_bytes())?;
        let mut stream = Stream(BufReader::new(stream));
        let head = stream.line()?;
        if head.split(' ').nth(1) != Some("200") {
            return Err(Error::other(format!("it answers `{}`", head.trim_end())));
        }
        stream.line_that(|line| line.trim_end().is_empty().then_some(()))?;
        Ok(stream)
    }

    pub(crate) fn next(&mut self) -> Result<LiveReport, Error> {
        let data = self.line_that(|line| line.strip_prefix("data: ").map(str::to_owned))?;
        serde_json::from_str(&data)
            .map_err(|error| Error::other(format!("it is of another build, and tells otherwise: {error}")))
    }

    fn line_that<T>(&mut self, is_it: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        for _ in 0..LINES_MAX {
            if let Some(found) = is_it(&self.line()?) {
                return Ok(found);
            }
        }
        Err(Error::other("it does not speak as a gateway"))
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        (&mut self.0).take(LINE_BYTES_MAX).read_line(&mut line).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Error::other("it says nothing"),
            _ => error,
        })?;
        if line.ends_with('\n') { Ok(line) } else { Err(Error::other("it has ended the connection")) }
    }
}
