//! `loadtest replay`: sends the payments of a CSV, follows each to its end, and says what was kept of the
//! promise.
//!
//! Sending never waits for settlements, and with a rate not even for answers. Latencies count from the
//! planned send. What a payment came to is read from the ledger; the broker's messages only say when.

mod board;
mod follow;
pub(crate) mod latencies;
mod page;
mod reconcile;
pub(crate) mod report;
mod schedule;
pub(crate) mod script;
mod sender;
mod text;
mod threshold;

use crate::client::{Connection, TargetFlags, Targets};
use crate::error::{EXIT_BROKEN, EXIT_THRESHOLD, LoadtestError};
use crate::output::{grouped, say};
use board::Board;
use config::Config;
use indicatif::{ProgressBar, ProgressStyle};
use report::{Report, Summary};
use schedule::{Pace, Schedule};
use script::Script;
use sender::Sending;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use threshold::{Check, Threshold};
use tokio::time::Instant;

/// How long an end is waited for when nobody says it.
const DRAIN_SECONDS: u64 = 180;

const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What to send, how fast, and what to say of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Payments: `id,currency,amount,source_account,destination_account[,destination_currency]`.
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Payments a second, whatever the answers do; else as fast as the answers come.
    #[arg(long, value_parser = parse_positive)]
    rate: Option<f64>,
    /// Stop sending after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_positive)]
    duration: Option<f64>,
    /// Keep-alive connections, and so requests at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Send so many payments in one request, by `/payments/batch`; else each in one of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    batch: Option<u16>,
    /// How long after the last send an end is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_SECONDS)]
    drain: u64,
    /// Write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the figures as a page here.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 99 if a figure is out of bounds, e.g. 'settle_p99<250ms', 'settled_per_s>5000', 'lost<1';
    /// may be repeated.
    #[arg(long = "threshold", value_name = "BOUND")]
    thresholds: Vec<Threshold>,
    #[command(flatten)]
    targets: TargetFlags,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    // A nanosecond between two sends, or a century of them, is no load test.
    text.parse()
        .ok()
        .filter(|number| (1e-6..=1e9).contains(number))
        .ok_or_else(|| "must be a positive number".to_owned())
}

/// The ends of the timed part of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Right before the first send.
    First,
    /// As soon as the last end is heard of, and before the ledger is read.
    Last,
}

/// Sends, waits, reports.
pub(crate) async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode, LoadtestError> {
    let script = Arc::new(Script::read(&arguments.csv)?);
    // Opened first: a long run must not end without a place for its figures.
    let (json, html) = (create(arguments.json.as_deref())?, create(arguments.html.as_deref())?);
    let summary = play(arguments, &script, config, async |_| ()).await?;
    let checks: Vec<Check> =
        arguments.thresholds.iter().map(|threshold| threshold.check(&summary.report)).collect();
    let title = arguments.title(&script);
    say(text::render(&title, &summary, &checks));
    write(json, || serde_json::to_string_pretty(&summary.report).unwrap_or_default())?;
    write(html, || page::render(&title, &summary, &checks))?;
    Ok(exit_code(&summary.report, &checks))
}

/// Sends and waits; `at` is called at both edges of the timed part, which waits for it.
pub(crate) async fn play(
    arguments: &Arguments,
    script: &Arc<Script>,
    config: &Config,
    mut at: impl AsyncFnMut(Edge),
) -> Result<Summary, LoadtestError> {
    let targets = Targets::of(&arguments.targets, config);
    let connections = connect(&targets, arguments.connections).await?;
    let store = crate::ledger::open(config).await?;
    let (_broker, subscription) = follow::subscribe(&config.nats).await?;

    at(Edge::First).await;
    let started = Instant::now();
    let schedule = Arc::new(Schedule::start(arguments.pace(), script.rows(), started));
    let board = Arc::new(Board::new(Arc::clone(script), started));
    let follower = tokio::spawn(follow::follow(subscription, Arc::clone(&board)));
    let progress = tokio::spawn(show_progress(Arc::clone(&board), script.rows() as u64));
    let batch = arguments.batch.map(usize::from);
    let sending = Sending {
        script: Arc::clone(script),
        schedule: Arc::clone(&schedule),
        board: Arc::clone(&board),
        batch,
    };
    let senders: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(sender::send(sending.clone(), connection)))
        .collect();
    for sender in senders {
        // One that panicked leaves its request without an answer, which the board shows.
        let _ = sender.await;
    }
    reconcile::hear(&board, schedule.deadline()).await;
    at(Edge::Last).await;
    reconcile::reconcile(&board, &store, schedule.deadline()).await?;
    follower.abort();
    progress.abort();
    let duplicates = reconcile::duplicates(&board, &store).await?;
    let mut summary = Summary::of(&board, duplicates, arguments.rate.is_some());
    summary.report.batch = arguments.batch.unwrap_or(1);
    Ok(summary)
}

impl Arguments {
    /// The payments of a file over so many connections, at a rate or as fast as the answers come, so many in one
    /// request or each in one of its own.
    pub(crate) fn of(csv: PathBuf, connections: u16, rate: Option<f64>, batch: Option<u16>) -> Arguments {
        Arguments {
            csv,
            rate,
            connections,
            batch,
            drain: DRAIN_SECONDS,
            duration: None,
            json: None,
            html: None,
            thresholds: Vec::new(),
            targets: TargetFlags::default(),
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            rate: self.rate,
            duration: self.duration.map(Duration::from_secs_f64),
            drain: Duration::from_secs(self.drain),
        }
    }

    fn title(&self, script: &Script) -> String {
        let pace =
            self.rate.map_or("as fast as the answers came".to_owned(), |rate| format!("at {rate} a second"));
        let (rows, connections) = (grouped(script.rows() as u64), self.connections);
        let batches = self.batch.map_or(String::new(), |size| format!(" in batches of {size}"));
        format!(
            "replay of {}: {rows} payments{batches}, {pace}, over {connections} connections",
            self.csv.display()
        )
    }
}

/// Promises first: a broken one is worse than a slow one.
fn exit_code(report: &Report, checks: &[Check]) -> ExitCode {
    if report.lost > 0 || report.duplicates > 0 {
        ExitCode::from(EXIT_BROKEN)
    } else if checks.iter().any(|check| !check.holds) {
        ExitCode::from(EXIT_THRESHOLD)
    } else {
        ExitCode::SUCCESS
    }
}

/// Opens every connection before the clock runs, spread over the targets.
async fn connect(targets: &Targets, count: u16) -> Result<Vec<Connection>, LoadtestError> {
    let mut connections: Vec<Connection> =
        (0..usize::from(count)).map(|number| Connection::new(targets, number)).collect();
    for connection in &mut connections {
        connection.open().await.map_err(|_| LoadtestError::NoGateway(targets.clone()))?;
    }
    Ok(connections)
}

pub(crate) type Output<'p> = Option<(&'p Path, File)>;

/// Opens the file that figures are written to, if there is to be one.
pub(crate) fn create(path: Option<&Path>) -> Result<Output<'_>, LoadtestError> {
    let Some(path) = path else { return Ok(None) };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(LoadtestError::file(folder))?;
    }
    Ok(Some((path, File::create(path).map_err(LoadtestError::file(path))?)))
}

/// Writes figures to their file, if there is one.
pub(crate) fn write(output: Output<'_>, text: impl FnOnce() -> String) -> Result<(), LoadtestError> {
    let Some((path, mut file)) = output else { return Ok(()) };
    writeln!(file, "{}", text()).map_err(LoadtestError::file(path))
}

/// Draws a bar on a terminal; elsewhere there is nothing to draw on.
async fn show_progress(board: Arc<Board>, rows: u64) {
    let bar = ProgressBar::new(rows);
    if bar.is_hidden() {
        return;
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} sent, {per_sec}, {msg}") {
        bar.set_style(style);
    }
    loop {
        let glance = board.glance();
        bar.set_position(glance.sent);
        bar.set_message(format!("{} accepted, {} ended", grouped(glance.accepted), grouped(glance.heard)));
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
}
