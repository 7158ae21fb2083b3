//! `loadtest listen`: opens streams of events, reads most of them, and says what came.

use crate::client::{Connection, Target, TargetFlags, Targets};
use crate::error::LoadtestError;
use crate::output::{grouped, say};
use crate::replay::{create, write};
use config::Config;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{StatusCode, Uri};
use serde::Serialize;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

const SECOND: Duration = Duration::from_secs(1);

/// Every event has one line of data.
const DATA: &[u8] = b"data: ";

/// How long a stream that was not read is read at the end, to see whether it was cut off: what was sent before
/// comes at once, and its end after it.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What a stream that is not read takes before the gateway notices, in bytes, as far as the system lets.
const STALLED_BUFFER: u32 = 4_096;

/// How many streams to open, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Streams to open.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Of these, so many are never read: the gateway must cut them off and spare the others.
    #[arg(long, default_value_t = 0)]
    stalled: u32,
    /// What to listen to.
    #[arg(long, default_value = "/events")]
    path: Uri,
    /// How long to listen.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    duration: u64,
    /// Write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    targets: TargetFlags,
}

/// What came of all streams.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Streams that were opened.
    opened: u64,
    /// Streams that the gateway had no place for.
    refused: u64,
    /// Attempts that failed otherwise.
    failed: u64,
    /// Events over all streams that were read.
    events: u64,
    /// Bytes over all streams that were read.
    bytes: u64,
    /// The fewest and the most events that one of them got.
    events_per_stream_min: u64,
    events_per_stream_max: u64,
    /// The most events that one of them got within a second.
    events_per_second_max: u64,
    /// Streams that were read and ended early.
    ended_early: u64,
    /// Streams that were not read and were cut off.
    stalled_cut_off: u64,
}

/// What came of one stream.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    events: u64,
    bytes: u64,
    per_second_max: u64,
    has_ended: bool,
}

/// How one stream went.
enum Outcome {
    Read(Heard),
    /// Never read; whether it was cut off.
    Stalled(bool),
    Refused,
    Failed,
}

/// Listens, and reports.
pub(crate) async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode, LoadtestError> {
    let json = create(arguments.json.as_deref())?;
    let targets = Targets::of(&arguments.targets, config);
    Connection::new(&targets, 0).open().await.map_err(|_| LoadtestError::NoGateway(targets.clone()))?;
    let ends_at = Instant::now() + Duration::from_secs(arguments.duration);
    let mut streams = JoinSet::new();
    for number in 0..arguments.streams {
        let path = arguments.path.clone();
        if number < arguments.stalled {
            streams.spawn(stall(targets.get(number as usize).clone(), path, ends_at));
        } else {
            streams.spawn(listen(Connection::new(&targets, number as usize), path, ends_at));
        }
    }
    let report = Report::of(streams.join_all().await);
    say(report.text());
    write(json, || serde_json::to_string_pretty(&report).unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(mut connection: Connection, path: Uri, ends_at: Instant) -> Outcome {
    let Ok(answer) = connection.listen(&path).await else { return Outcome::Failed };
    match answer.status() {
        StatusCode::OK => Outcome::Read(read(&mut answer.into_body(), ends_at).await),
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// Asks and reads nothing until the end. By hand, and with a small buffer, as a client that reads ahead of whoever
/// asked it takes all that is sent for a long time.
async fn stall(target: Target, path: Uri, ends_at: Instant) -> Outcome {
    let asked = async {
        let address = tokio::net::lookup_host(target.authority()).await?.next().ok_or(ErrorKind::NotFound)?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
        let mut stream = socket.connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.authority());
        stream.write_all(request.as_bytes()).await?;
        std::io::Result::Ok(stream)
    };
    let Ok(Ok(mut stream)) = timeout_at(ends_at, asked).await else { return Outcome::Failed };
    sleep_until(ends_at).await;
    // Broken or at its end; a stream that stands goes on.
    let mut nowhere = tokio::io::sink();
    let last_look = tokio::io::copy(&mut stream, &mut nowhere);
    Outcome::Stalled(timeout(LAST_LOOK, last_look).await.is_ok())
}

async fn read(body: &mut Incoming, ends_at: Instant) -> Heard {
    let (mut heard, mut recent) = (Heard::default(), VecDeque::<(Instant, u64)>::new());
    while let Ok(frame) = timeout_at(ends_at, body.frame()).await {
        let Some(Ok(frame)) = frame else {
            heard.has_ended = true;
            break;
        };
        let Ok(data) = frame.into_data() else { continue };
        let now = Instant::now();
        // A message of the gateway is a frame, as far as what lies between leaves it whole.
        let events = data.windows(DATA.len()).filter(|window| *window == DATA).count() as u64;
        heard.events += events;
        heard.bytes += data.len() as u64;
        recent.push_back((now, events));
        while recent.front().is_some_and(|(at, _)| now - *at >= SECOND) {
            recent.pop_front();
        }
        // The newest ends, which come first, are of before.
        let within = recent.iter().map(|(_, events)| events).sum();
        heard.per_second_max = heard.per_second_max.max(within);
    }
    heard
}

impl Report {
    fn of(outcomes: Vec<Outcome>) -> Report {
        let mut report = Report { events_per_stream_min: u64::MAX, ..Report::default() };
        for outcome in outcomes {
            report.opened += u64::from(matches!(outcome, Outcome::Read(_) | Outcome::Stalled(_)));
            match outcome {
                Outcome::Read(heard) => report.add(heard),
                Outcome::Stalled(was_cut_off) => report.stalled_cut_off += u64::from(was_cut_off),
                Outcome::Refused => report.refused += 1,
                Outcome::Failed => report.failed += 1,
            }
        }
        report.events_per_stream_min = report.events_per_stream_min.min(report.events_per_stream_max);
        report
    }

    fn add(&mut self, heard: Heard) {
        self.events += heard.events;
        self.bytes += heard.bytes;
        self.events_per_stream_min = self.events_per_stream_min.min(heard.events);
        self.events_per_stream_max = self.events_per_stream_max.max(heard.events);
        self.events_per_second_max = self.events_per_second_max.max(heard.per_second_max);
        self.ended_early += u64::from(heard.has_ended);
    }

    fn text(&self) -> String {
        format!(
            "streams: {} open, {} refused, {} failed, {} ended early, {} that were not read were cut off\n\
             events: {}, {} to {} a stream, {} a second and stream at most; {} bytes",
            grouped(self.opened),
            grouped(self.refused),
            grouped(self.failed),
            grouped(self.ended_early),
            grouped(self.stalled_cut_off),
            grouped(self.events),
            grouped(self.events_per_stream_min),
            grouped(self.events_per_stream_max),
            grouped(self.events_per_second_max),
            grouped(self.bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{Gateway, Script};

    #[tokio::test]
    async fn streams_are_counted_by_what_came_of_them() {
        const TWO: &str = ": x\n\ndata: {}\n\ndata: {}\n\n";
        let rows = [
            (Script::Answer(200, "", TWO), (1, 0, 0, 2, 1)),
            (Script::Answer(503, "", "{}"), (0, 1, 0, 0, 0)),
            (Script::Answer(404, "", "{}"), (0, 0, 1, 0, 0)),
            (Script::Cut, (0, 0, 1, 0, 0)),
        ];
        for (script, expected) in rows {
            let gateway = Gateway::start(vec![script]).await;
            let connection = Connection::new(&gateway.targets, 0);
            let ends_at = Instant::now() + Duration::from_secs(20);
            let outcome = listen(connection, Uri::from_static("/events"), ends_at).await;
            let report = Report::of(vec![outcome]);
            let found = (
                report.opened,
                report.refused,
                report.failed,
                report.events_per_second_max,
                report.ended_early,
            );
            assert_eq!(found, expected);
        }
    }
}
