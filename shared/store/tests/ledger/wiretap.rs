//! A proxy in front of Postgres that counts how often a client waits for the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What has gone over the wire.
#[derive(Default)]
struct Counts {
    /// Simple queries, and syncs that follow a statement: the client waits for each.
    trips: AtomicU64,
    /// Bare syncs: sqlx tests a connection when it goes back to the pool, and nobody waits.
    pings: AtomicU64,
}

/// The proxy; it ends with the test's runtime.
pub(crate) struct Wiretap {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

impl Wiretap {
    /// Listens on a free port and passes everything on.
    pub(crate) async fn start(upstream: SocketAddr) -> Wiretap {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wiretap = Wiretap { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = Arc::clone(&wiretap.counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(upstream).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (client_reads, mut client_writes) = client.into_split();
                let (mut server_reads, server_writes) = server.into_split();
                tokio::spawn(pass_on(client_reads, server_writes, Arc::clone(&counts)));
                tokio::spawn(async move { copy(&mut server_reads, &mut client_writes).await });
            }
        });
        wiretap
    }

    /// Round trips until now.
    pub(crate) fn trips(&self) -> u64 {
        self.counts.trips.load(Ordering::SeqCst)
    }

    /// Connection tests until now.
    pub(crate) fn pings(&self) -> u64 {
        self.counts.pings.load(Ordering::SeqCst)
    }
}

/// Passes on what the client says, message by message. An error is the end of the connection, which is no
/// news here.
async fn pass_on(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    counts: Arc<Counts>,
) -> std::io::Result<()> {
    pass_startup(&mut client, &mut server).await?;
    let mut is_statement_open = false;
    loop {
        let kind = client.read_u8().await?;
        let packet = read_packet(&mut client, Some(kind)).await?;
        match kind {
            b'P' | b'B' | b'D' | b'E' | b'C' => is_statement_open = true,
            b'S' => {
                let counter = if is_statement_open { &counts.trips } else { &counts.pings };
                counter.fetch_add(1, Ordering::SeqCst);
                is_statement_open = false;
            }
            b'Q' => {
                counts.trips.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        server.write_all(&packet).await?;
    }
}

/// Passes on what a client says before its session begins.
pub(crate) async fn pass_startup(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
) -> std::io::Result<()> {
    /// The code of the protocol's version 3; before it a client may ask for encryption.
    const STARTUP: [u8; 4] = 196_608_u32.to_be_bytes();
    loop {
        let packet = read_packet(client, None).await?;
        server.write_all(&packet).await?;
        if packet[4..8] == STARTUP {
            return Ok(());
        }
    }
}

/// A whole packet: its kind where it has one, its length, and its body.
pub(crate) async fn read_packet(client: &mut OwnedReadHalf, kind: Option<u8>) -> std::io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut packet: Vec<u8> = kind.into_iter().chain(length.to_be_bytes()).collect();
    let body = packet.len();
    // The length counts its own four bytes.
    packet.resize(body + length as usize - 4, 0);
    client.read_exact(&mut packet[body..]).await?;
    Ok(packet)
}
