//! `loadtest wait`: posts payments, waits for their ends with `Prefer: wait`, and says how long after the end the
//! answer came. The end is the moment that the payment's timeline shows, so this runs on the machine that the
//! stages run on.

use crate::client::{Connection, TargetFlags, Targets};
use crate::error::LoadtestError;
use crate::output::{grouped, say};
use crate::replay::latencies::{Latencies, Quantiles};
use crate::replay::{create, write};
use bytes::Bytes;
use config::Config;
use domain::Timestamp;
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use runtime::clock;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::{JoinSet, LocalSet};

const PAYMENTS: &str = "/payments";

/// What to post, and how to wait.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Payments to post and wait for.
    #[arg(long, default_value_t = 1_000)]
    count: u32,
    /// Keep-alive connections, and so waits at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long each waits at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=20))]
    seconds: u8,
    /// After that, so many waits at once for one further payment. Stop a stage before, so that it stays pending,
    /// and say `--count 0`.
    #[arg(long, value_name = "WAITS", default_value_t = 0)]
    flood: u32,
    /// Where the money comes from; the demo funds this account.
    #[arg(long, default_value = "ACC_SRC_ABC")]
    source: String,
    /// Where it goes.
    #[arg(long, default_value = "ACC_DST_DEF")]
    destination: String,
    /// Of the source account; each payment is one of it.
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    targets: TargetFlags,
}

/// What came of some waits.
#[derive(Debug, Serialize)]
struct Waits {
    /// Answered with an end.
    ended: u64,
    /// Answered that the payment is still on its way.
    pending: u64,
    /// Turned away: 503.
    refused: u64,
    /// No answer, or another.
    failed: u64,
    /// From the end to its answer.
    after_the_end_ms: Quantiles,
    /// From the request to its answer, whatever it was.
    answer_ms: Quantiles,
    /// From the request to being turned away.
    refusal_ms: Quantiles,
}

#[derive(Debug, Serialize)]
struct Report {
    waits: Waits,
    flood: Option<Waits>,
}

/// How one wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With the end, which was so many microseconds ago.
    Ended(u64),
    Pending,
    Refused,
    Failed,
}

/// One wait.
#[derive(Debug, Clone, Copy)]
struct Waited {
    ending: Ending,
    microseconds: u64,
}

/// What is read of a payment.
#[derive(Deserialize)]
struct Payment {
    status: String,
    #[serde(default)]
    timeline: Vec<Moment>,
}

#[derive(Deserialize)]
struct Moment {
    at: Timestamp,
}

/// Posts, waits, reports.
pub(crate) async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode, LoadtestError> {
    let json = create(arguments.json.as_deref())?;
    let targets = Targets::of(&arguments.targets, config);
    Connection::new(&targets, 0).open().await.map_err(|_| LoadtestError::NoGateway(targets.clone()))?;
    let run = clock::now().micros();
    let waits = LocalSet::new().run_until(wait_for_each(arguments, &targets, run)).await;
    let flood = match arguments.flood {
        0 => None,
        _ => Some(Waits::of(flood(arguments, &targets, run).await)),
    };
    let report = Report { waits: Waits::of(waits), flood };
    say(report.waits.text("waits"));
    if let Some(flood) = &report.flood {
        say(flood.text("flood"));
    }
    write(json, || serde_json::to_string_pretty(&report).unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn prefer(&self) -> HeaderValue {
        HeaderValue::from_str(&format!("wait={}", self.seconds))
            .unwrap_or(HeaderValue::from_static("wait=10"))
    }

    fn body(&self, id: &str) -> Bytes {
        let body = serde_json::json!({
            "id": id, "source_account": self.source, "destination_account": self.destination,
            "currency": self.currency, "amount": "1",
        });
        Bytes::from(body.to_string())
    }
}

/// As many payments as are wanted, over all connections.
async fn wait_for_each(arguments: &Arguments, targets: &Targets, run: i64) -> Vec<Waited> {
    let next = Rc::new(Cell::new(0));
    let mut workers = JoinSet::new();
    for number in 0..usize::from(arguments.connections) {
        let (arguments, next) = (arguments.clone(), next.clone());
        let mut connection = Connection::new(targets, number);
        workers.spawn_local(async move {
            let mut waited = Vec::new();
            while next.get() < arguments.count {
                let id = format!("WAIT-{run}-{}", next.replace(next.get() + 1));
                waited.push(post_and_wait(&mut connection, &arguments, &id).await);
            }
            waited
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn post_and_wait(connection: &mut Connection, arguments: &Arguments, id: &str) -> Waited {
    match connection.post(&Uri::from_static(PAYMENTS), arguments.body(id)).await {
        Ok(answer) if answer.status.is_success() => wait(connection, id, arguments.prefer()).await,
        Ok(_) | Err(_) => Waited { ending: Ending::Failed, microseconds: 0 },
    }
}

/// Many waits for one payment, each on a connection of its own that is open before.
async fn flood(arguments: &Arguments, targets: &Targets, run: i64) -> Vec<Waited> {
    let id = format!("WAIT-{run}-flood");
    // One that is not taken shows in what the waits are answered.
    let _ = Connection::new(targets, 0).post(&Uri::from_static(PAYMENTS), arguments.body(&id)).await;
    let mut connections = Vec::new();
    for number in 0..arguments.flood as usize {
        let mut connection = Connection::new(targets, number);
        if connection.open().await.is_ok() {
            connections.push(connection);
        }
    }
    let mut waits = JoinSet::new();
    for mut connection in connections {
        let (id, prefer) = (id.clone(), arguments.prefer());
        waits.spawn(async move { wait(&mut connection, &id, prefer).await });
    }
    waits.join_all().await
}

async fn wait(connection: &mut Connection, id: &str, prefer: HeaderValue) -> Waited {
    let started = Instant::now();
    let ending = match format!("/payments/{id}").parse() {
        Ok(path) => match connection.get_preferring(&path, prefer).await {
            Ok(answer) => Ending::of(answer.status, &answer.body, clock::now()),
            Err(_) => Ending::Failed,
        },
        Err(_) => Ending::Failed,
    };
    Waited { ending, microseconds: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX) }
}

impl Ending {
    fn of(status: StatusCode, body: &[u8], now: Timestamp) -> Ending {
        match (status, serde_json::from_slice::<Payment>(body)) {
            (StatusCode::SERVICE_UNAVAILABLE, _) => Ending::Refused,
            (StatusCode::OK, Ok(payment)) if payment.status == "PENDING" => Ending::Pending,
            (StatusCode::OK, Ok(Payment { timeline, .. })) => timeline.last().map_or(Ending::Failed, |end| {
                Ending::Ended(u64::try_from(now.micros() - end.at.micros()).unwrap_or(0))
            }),
            _ => Ending::Failed,
        }
    }
}

impl Waits {
    fn of(waited: Vec<Waited>) -> Waits {
        let count = |is: fn(&Ending) -> bool| waited.iter().filter(|one| is(&one.ending)).count() as u64;
        let [mut after, mut answers, mut refusals] = [(); 3].map(|()| Latencies::new());
        for Waited { ending, microseconds } in &waited {
            match ending {
                Ending::Ended(since) => after.record(*since),
                Ending::Refused => refusals.record(*microseconds),
                Ending::Failed => continue,
                Ending::Pending => {}
            }
            answers.record(*microseconds);
        }
        Waits {
            ended: count(|ending| matches!(ending, Ending::Ended(_))),
            pending: count(|ending| matches!(ending, Ending::Pending)),
            refused: count(|ending| matches!(ending, Ending::Refused)),
            failed: count(|ending| matches!(ending, Ending::Failed)),
            after_the_end_ms: after.quantiles(),
            answer_ms: answers.quantiles(),
            refusal_ms: refusals.quantiles(),
        }
    }

    fn text(&self, title: &str) -> String {
        let rows = [
            ("from the end to its answer", self.after_the_end_ms),
            ("from request to answer", self.answer_ms),
            ("until turned away", self.refusal_ms),
        ];
        let [ended, pending, refused, failed] =
            [self.ended, self.pending, self.refused, self.failed].map(grouped);
        let mut text =
            format!("{title}: {ended} ended, {pending} still pending, {refused} refused, {failed} failed");
        for (name, quantiles) in rows {
            let [p50, p95, p99, max] = quantiles.cells();
            text.push_str(&format!("\n  {name:<26} ms: p50 {p50}, p95 {p95}, p99 {p99}, max {max}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_how_long_ago_the_end_was() {
        let now = Timestamp::parse("2026-11-22T02:52:02.000000Z").unwrap();
        let ended = r#"{"status":"FAILED","timeline":[{"at":"2026-11-22T02:52:01Z"},{"at":"2026-11-22T02:52:01.9Z"}]}"#;
        let rows = [
            (200, ended, Ending::Ended(100_000)),
            (200, r#"{"status":"PENDING","timeline":[]}"#, Ending::Pending),
            (200, r#"{"status":"CAPTURED"}"#, Ending::Failed),
            (200, "x", Ending::Failed),
            (503, "{}", Ending::Refused),
            (404, "{}", Ending::Failed),
        ];
        for (status, body, expected) in rows {
            assert_eq!(
                Ending::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), now),
                expected,
                "{body}"
            );
        }
    }
}
