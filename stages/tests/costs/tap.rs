//! A proxy in front of nats-server that counts what goes over the wire, by what it is for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use wire::StageName;

/// Messages of each kind.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The beginning of what nats-server calls a consumer's deliveries and their answers.
const ANSWERS: &str = "$JS.ACK.";
const API: &str = "$JS.API.";
const PULLS: &str = "$JS.API.CONSUMER.MSG.NEXT.";

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The proxy; it ends with the test's runtime.
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Tap {
    /// Listens on a free port and passes everything on.
    pub(crate) async fn start(upstream: String) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Tap { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = Arc::clone(&tap.counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is gone says nothing.
                let Ok(server) = TcpStream::connect(&upstream).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                tokio::spawn(pass_on(client_reads, server_writes, Arc::clone(&counts), Side::Client));
                tokio::spawn(pass_on(server_reads, client_writes, Arc::clone(&counts), Side::Server));
            }
        });
        tap
    }

    /// What has been said until now.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }
}

/// Passes on what one side says. An error is the end of the connection, which is no news here.
async fn pass_on(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    counts: Arc<Mutex<Counts>>,
    side: Side,
) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::with_capacity(64 << 10, from), BufWriter::new(to));
    let (mut line, mut body) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return to.flush().await;
        }
        to.write_all(&line).await?;
        if let Some(message) = Message::parse(std::str::from_utf8(&line).unwrap(), side) {
            // It ends like a line.
            body.resize(message.bytes + 2, 0);
            from.read_exact(&mut body).await?;
            *counts.lock().unwrap().entry(message.kind(&body)).or_default() += 1;
            to.write_all(&body).await?;
        }
        if from.buffer().is_empty() {
            to.flush().await?;
        }
    }
}

/// The first line of a message.
#[derive(Debug)]
struct Message<'l> {
    side: Side,
    subject: &'l str,
    reply: &'l str,
    /// Of what follows, those that are headers, and all.
    header_bytes: usize,
    bytes: usize,
}

impl Message<'_> {
    /// Nothing where the line says something else.
    fn parse(line: &str, side: Side) -> Option<Message<'_>> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // After the subject the server names the subscription; the sizes come last, the reply between.
        let (verb, before, sizes) = match *words.first()? {
            verb @ "PUB" => (verb, 2, 1),
            verb @ "HPUB" => (verb, 2, 2),
            verb @ "MSG" => (verb, 3, 1),
            verb @ "HMSG" => (verb, 3, 2),
            _ => return None,
        };
        let size = |place: usize| words[place].parse::<usize>().unwrap();
        let last = words.len() - 1;
        Some(Message {
            side,
            subject: words[1],
            reply: if words.len() > before + sizes { words[before] } else { "" },
            header_bytes: if verb.starts_with('H') { size(last - 1) } else { 0 },
            bytes: size(last),
        })
    }

    /// What it is for, as tests name it.
    fn kind(&self, body: &[u8]) -> String {
        let (headers, payload) = body.split_at(self.header_bytes);
        match self.side {
            Side::Client => self.said(&String::from_utf8_lossy(payload)),
            Side::Server => self.heard(&String::from_utf8_lossy(headers), &String::from_utf8_lossy(payload)),
        }
    }

    fn said(&self, payload: &str) -> String {
        if self.subject.starts_with(ANSWERS) {
            let how = payload.get(..4).unwrap_or_default();
            return format!("answered {} {how}", consumer(self.subject));
        }
        if let Some(pulled) = self.subject.strip_prefix(PULLS) {
            return format!("pulled {}", of_stage(pulled.rsplit('.').next().unwrap()));
        }
        if let Some(api) = self.subject.strip_prefix(API) {
            return format!("asked {}", api.split('.').take(2).collect::<Vec<_>>().join("."));
        }
        match self.subject.strip_prefix("pay.") {
            Some(hop) => format!("published {}", hop.split('.').next().unwrap()),
            None => "said otherwise".to_owned(),
        }
    }

    fn heard(&self, headers: &str, payload: &str) -> String {
        if self.reply.starts_with(ANSWERS) {
            return format!("delivered {}", consumer(self.reply));
        }
        // The line of a message's own headers has no code.
        if headers.starts_with("NATS/1.0 ") {
            return "heard a status".to_owned();
        }
        match payload.strip_prefix(r#"{"stream":""#) {
            Some(stream) => format!("stored {}", stream.split('"').next().unwrap()),
            None if payload.starts_with(r#"{"type":"io.nats.jetstream.api"#) => "heard an answer".to_owned(),
            None => "heard otherwise".to_owned(),
        }
    }
}

/// The consumer whose delivery this subject answers, where it is a stage's.
fn consumer(answers: &str) -> &str {
    let tokens: Vec<&str> = answers.split('.').collect();
    // Longer ones name a domain and an account before the stream.
    let place = if tokens.len() > 9 { 5 } else { 3 };
    of_stage(tokens[place])
}

/// The consumer's name where it is a stage's.
fn of_stage(consumer: &str) -> &str {
    match StageName::named(consumer) {
        Some(_) => consumer,
        None => "others",
    }
}
