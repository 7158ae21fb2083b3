//! A proxy in front of Postgres that fails in one chosen moment: it cuts a connection, or falls silent as a
//! host does that vanishes.

use crate::wiretap::{pass_startup, read_packet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The longest that a moment may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It has a statement prepared or carried out.
    Statement,
    /// It commits.
    Commit,
    /// It asks for a sign of life.
    Ping,
}

impl Moment {
    fn of(packet: &[u8], is_statement_open: bool) -> Option<Moment> {
        match packet[0] {
            b'S' if is_statement_open => Some(Moment::Statement),
            b'S' => Some(Moment::Ping),
            b'Q' if packet[5..] == *b"COMMIT\0" => Some(Moment::Commit),
            _ => None,
        }
    }
}

/// On which side of the server the moment is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The server is not told.
    Before,
    /// The server has done it, and the client is not told.
    After,
}

/// What happens then to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends.
    Cut,
    /// It stays open, and nothing passes any more in either direction.
    Silence,
}

/// A fault that is to happen.
type Trap = (Moment, Side, Fault);

/// What lies in wait for the connections.
#[derive(Debug, Clone, Copy)]
enum Snare {
    Once(Trap),
    EachTime(Trap),
}

/// What a connection does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    /// What the server says next is the end.
    Awaiting(Fault),
    Ended(Fault),
}

/// The proxy; it ends with the test's runtime.
pub(crate) struct FaultyWire {
    pub(crate) address: SocketAddr,
    snare: Arc<Mutex<Option<Snare>>>,
    /// The connections there ever were.
    connections: Arc<Mutex<Vec<watch::Sender<State>>>>,
    /// How many faults there were.
    faults: watch::Receiver<u32>,
}

impl FaultyWire {
    /// Listens on a free port and passes everything on.
    pub(crate) async fn start(upstream: SocketAddr) -> FaultyWire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (count, faults) = watch::channel(0);
        let wire = FaultyWire {
            address: listener.local_addr().unwrap(),
            snare: Arc::default(),
            connections: Arc::default(),
            faults,
        };
        let (snare, connections) = (Arc::clone(&wire.snare), Arc::clone(&wire.connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(upstream).await.unwrap();
                let state = watch::Sender::new(State::Passing);
                connections.lock().unwrap().push(state.clone());
                tokio::spawn(pass_on(client, server, Arc::clone(&snare), state, count.clone()));
            }
        });
        wire
    }

    /// Lets this happen once, to the first connection that comes to the moment.
    pub(crate) fn set_trap(&self, moment: Moment, side: Side, fault: Fault) {
        *self.snare.lock().unwrap() = Some(Snare::Once((moment, side, fault)));
    }

    /// Lets this happen to every connection that comes to the moment.
    pub(crate) fn set_trap_for_all(&self, moment: Moment, side: Side, fault: Fault) {
        *self.snare.lock().unwrap() = Some(Snare::EachTime((moment, side, fault)));
    }

    /// Lets nothing more happen, and passes on what a silence has kept.
    pub(crate) fn end_silence(&self) {
        *self.snare.lock().unwrap() = None;
        for state in self.connections.lock().unwrap().iter() {
            state.send_if_modified(|state| {
                let is_silent = *state == State::Ended(Fault::Silence);
                if is_silent {
                    *state = State::Passing;
                }
                is_silent
            });
        }
    }

    /// How many connections the server has open, whether or not anybody listens to them.
    pub(crate) fn open(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        connections.iter().filter(|state| state.receiver_count() > 0).count()
    }

    /// Waits until so many faults have happened.
    pub(crate) async fn faults(&self, count: u32) {
        let mut faults = self.faults.clone();
        let reached = faults.wait_for(|faults| *faults >= count);
        tokio::time::timeout(PATIENCE, reached).await.expect("the moment comes").unwrap();
    }

    /// Lets this happen to every connection that there is; new ones pass.
    pub(crate) fn end_all(&self, fault: Fault) {
        for state in self.connections.lock().unwrap().iter() {
            state.send_replace(State::Ended(fault));
        }
    }
}

/// Carries one connection to its end. An error is the end of either side, which is no news here.
async fn pass_on(
    client: TcpStream,
    server: TcpStream,
    snare: Arc<Mutex<Option<Snare>>>,
    state: watch::Sender<State>,
    faults: watch::Sender<u32>,
) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut changes = state.subscribe();
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::select! {
        _ = changes.wait_for(|state| *state == State::Ended(Fault::Cut)) => {}
        _ = questions(client_reads, server_writes, &snare, &state, &faults) => {}
        _ = answers(server_reads, client_writes, &state, &faults) => {}
    }
}

async fn questions(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    snare: &Mutex<Option<Snare>>,
    state: &watch::Sender<State>,
    faults: &watch::Sender<u32>,
) -> std::io::Result<()> {
    pass_startup(&mut client, &mut server).await?;
    let mut is_statement_open = false;
    loop {
        let kind = match client.read_u8().await {
            Ok(kind) => kind,
            Err(gone) => {
                // Where nothing passes, the server does not hear of it.
                stop_at_the_end(state).await;
                return Err(gone);
            }
        };
        let packet = read_packet(&mut client, Some(kind)).await?;
        let moment = Moment::of(&packet, is_statement_open);
        is_statement_open = matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C');
        match caught(&mut snare.lock().unwrap(), moment) {
            Some((_, Side::Before, fault)) => end(state, fault, faults),
            Some((_, Side::After, fault)) => drop(state.send_replace(State::Awaiting(fault))),
            None => {}
        }
        stop_at_the_end(state).await;
        server.write_all(&packet).await?;
    }
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: &watch::Sender<State>,
    faults: &watch::Sender<u32>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let now = *state.borrow();
        if let State::Awaiting(fault) = now {
            end(state, fault, faults);
        }
        stop_at_the_end(state).await;
        client.write_all(&buffer[..length]).await?;
    }
}

fn end(state: &watch::Sender<State>, fault: Fault, faults: &watch::Sender<u32>) {
    state.send_replace(State::Ended(fault));
    faults.send_modify(|count| *count += 1);
}

/// The fault that lies in wait for this moment.
fn caught(snare: &mut Option<Snare>, moment: Option<Moment>) -> Option<Trap> {
    let (Snare::Once(trap) | Snare::EachTime(trap)) = (*snare)?;
    if moment != Some(trap.0) {
        return None;
    }
    if matches!(snare, Some(Snare::Once(_))) {
        *snare = None;
    }
    Some(trap)
}

/// Where a connection has ended nothing passes until its silence ends; whoever cuts it drops both sides.
async fn stop_at_the_end(state: &watch::Sender<State>) {
    let _ = state.subscribe().wait_for(|state| !matches!(state, State::Ended(_))).await;
}
