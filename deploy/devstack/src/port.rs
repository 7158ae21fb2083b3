//! Ports on the loopback address: taken or free, lent to tests, and asked whether a server answers.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

use crate::{Error, checkout};

/// Below the range from which the kernel takes ports for outgoing connections (32768 on Linux): a client that
/// retries against a killed server could otherwise be given that very port, and connect to itself.
const LEASE_FIRST: u16 = 20_000;
const LEASE_LAST: u16 = 29_999;
/// A server on this machine answers in microseconds; this bounds one that hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// The INFO line of nats-server and the status line of HTTP are far shorter.
const ANSWER_BYTES_MAX: u64 = 4096;
/// What Prometheus says of some hundred series is a thousandth of it.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// This port on 127.0.0.1.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether a server could listen on this address now.
#[must_use]
pub fn is_free(address: SocketAddr) -> bool {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // Bound, never listening: a process that another thread forks at this moment keeps the socket open until it
    // runs its own program, and a listening one would be in the server's way so long.
    socket.is_ok_and(|socket| socket.set_reuseaddr(true).is_ok() && socket.bind(address).is_ok())
}

pub(crate) fn check_free(port: u16) -> Result<(), Error> {
    if is_free(loopback(port)) { Ok(()) } else { Err(Error::PortTaken { port }) }
}

/// A port that no other test on this machine uses while the lease lives, even when the server is down in
/// between. The lock on its file ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct PortLease {
    pub(crate) port: u16,
    _lock: File,
}

impl PortLease {
    pub(crate) fn take() -> Result<Self, Error> {
        let folder = checkout::scratch_folder()?.join("ports");
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let count = LEASE_LAST - LEASE_FIRST + 1;
        // A random start keeps parallel test processes out of each other's way.
        let random = RandomState::new().hash_one(std::process::id());
        let start = u16::try_from(random % u64::from(count)).unwrap_or(0);
        for step in 0..count {
            let port = LEASE_FIRST + (start + step) % count;
            let path = folder.join(port.to_string());
            let lock = File::options().write(true).create(true).truncate(false).open(&path);
            let lock = lock.map_err(Error::file("open", &path))?;
            if lock.try_lock().is_ok() && is_free(loopback(port)) {
                return Ok(Self { port, _lock: lock });
            }
        }
        Err(Error::NoFreePort { first: LEASE_FIRST, last: LEASE_LAST })
    }
}

/// Whether a nats-server greets there; JetStream is up before it does.
#[must_use]
pub fn nats_answers(address: SocketAddr) -> bool {
    connect(address).and_then(first_line).is_some_and(|line| line.starts_with("INFO "))
}

/// Whether anything listens there.
pub(crate) fn accepts(address: SocketAddr) -> bool {
    connect(address).is_some()
}

/// The status of `GET path` there; nothing when no HTTP server answers.
#[must_use]
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    status(stream)
}

/// The status of a `POST` of this JSON there; nothing when no HTTP server answers.
#[must_use]
pub fn http_post(address: SocketAddr, path: &str, body: &str) -> Option<u16> {
    let mut stream = connect(address)?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    status(stream)
}

fn status(stream: TcpStream) -> Option<u16> {
    let line = first_line(stream)?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()
}

/// The body of `GET path` there, whatever its status; nothing when no HTTP server answers.
pub(crate) fn http_body(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = connect(address)?;
    // The older version has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut reader = BufReader::new(stream.take(BODY_BYTES_MAX));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body).ok()?;
    Some(body)
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_PATIENCE).ok()?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).ok()?;
    stream.set_write_timeout(Some(ANSWER_PATIENCE)).ok()?;
    Some(stream)
}

fn first_line(stream: TcpStream) -> Option<String> {
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).ok()?;
    Some(line)
}
