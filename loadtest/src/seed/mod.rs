//! `loadtest seed`: opens accounts and puts money on them, through the gateway like any client.

mod plan;

use crate::client::{Connection, Ending, TargetFlags, Targets, insist};
use crate::error::{EXIT_BROKEN, EXIT_UNREACHABLE, LoadtestError};
use crate::output::{grouped, say};
use bytes::Bytes;
use config::Config;
use domain::Money;
use hyper::Uri;
use indicatif::ProgressBar;
use plan::{Plan, PlannedAccount};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use wire::Code;

/// A gateway that takes nothing for so long is away: longer than it takes to restart everything behind it.
const PATIENCE: Duration = Duration::from_secs(180);

/// Failures that are told one by one.
const SHOWN_MAX: usize = 5;

/// Which accounts, and where.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    targets: TargetFlags,
    /// Requests at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
}

/// Where the accounts are named.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Accounts with their opening balance: `id,currency,opening_balance`.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Payments: every account they name, in its first-seen currency, with the money for all of them.
    #[arg(long, value_name = "FILE")]
    from_csv: Option<PathBuf>,
}

/// What the workers share.
struct Run {
    accounts: Vec<PlannedAccount>,
    next: AtomicUsize,
    /// Fresh in each run, so that every run deposits again.
    deposit_prefix: String,
    tally: Mutex<Tally>,
    progress: ProgressBar,
}

/// How it went.
struct Tally {
    opened: u64,
    present: u64,
    deposits: u64,
    failures: Vec<String>,
    gave_up: bool,
    last_success: Instant,
}

/// Opens and funds the accounts.
pub(crate) async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode, LoadtestError> {
    let plan = match (&arguments.source.accounts, &arguments.source.from_csv) {
        (Some(path), _) => plan::of_accounts(path)?,
        (None, Some(path)) => plan::of_payments(path)?,
        (None, None) => Plan::default(),
    };
    if plan.skipped > 0 {
        say(format_args!("{} payments that cannot be accepted need no accounts", grouped(plan.skipped)));
    }
    let targets = Targets::of(&arguments.targets, config);
    if Connection::new(&targets, 0).open().await.is_err() {
        return Err(LoadtestError::NoGateway(targets));
    }
    let run = Arc::new(Run::new(plan.accounts));
    let workers = (0..usize::from(arguments.connections)).map(|number| {
        let connection = Connection::new(&targets, number);
        tokio::spawn(work(Arc::clone(&run), connection))
    });
    for worker in workers.collect::<Vec<_>>() {
        // A worker that panicked has left its account unfinished, which the tally shows.
        let _ = worker.await;
    }
    run.progress.finish_and_clear();
    let (text, exit_code) = run.summary();
    say(text);
    Ok(exit_code)
}

impl Run {
    fn new(accounts: Vec<PlannedAccount>) -> Run {
        Run {
            progress: ProgressBar::new(accounts.len() as u64),
            accounts,
            next: AtomicUsize::new(0),
            deposit_prefix: format!("seed-{}-{}", runtime::clock::now().micros(), std::process::id()),
            tally: Mutex::new(Tally {
                opened: 0,
                present: 0,
                deposits: 0,
                failures: Vec::new(),
                gave_up: false,
                last_success: Instant::now(),
            }),
        }
    }

    fn tally<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn deadline(&self) -> Instant {
        self.tally(|tally| tally.last_success) + PATIENCE
    }

    /// How it went, for people and as an exit code.
    fn summary(&self) -> (String, ExitCode) {
        self.tally(|tally| {
            let (opened, present, deposits) =
                (grouped(tally.opened), grouped(tally.present), grouped(tally.deposits));
            let mut lines =
                vec![format!("{opened} accounts opened, {present} there already, {deposits} deposits")];
            lines.extend(tally.failures.iter().take(SHOWN_MAX).map(|failure| format!("FAILED {failure}")));
            if let Some(more) = tally.failures.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
                lines.push(format!("FAILED and {} more", grouped(more as u64)));
            }
            let is_whole =
                tally.failures.is_empty() && tally.opened + tally.present == self.accounts.len() as u64;
            let exit_code = match (tally.gave_up, is_whole) {
                (true, _) => ExitCode::from(EXIT_UNREACHABLE),
                (false, true) => ExitCode::SUCCESS,
                (false, false) => ExitCode::from(EXIT_BROKEN),
            };
            (lines.join("\n"), exit_code)
        })
    }
}

async fn work(run: Arc<Run>, mut connection: Connection) {
    loop {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        let Some(account) = run.accounts.get(number) else { return };
        if let Err(problem) = seed(&run, &mut connection, number, account).await {
            run.tally(|tally| tally.failures.push(format!("{} {}: {problem}", account.id, account.currency)));
        }
        run.progress.inc(1);
    }
}

/// Opens one account and makes its deposits.
async fn seed(
    run: &Run,
    connection: &mut Connection,
    number: usize,
    account: &PlannedAccount,
) -> Result<(), String> {
    let opening = serde_json::json!({ "id": account.id.as_str(), "currency": account.currency });
    let was_there = post(run, connection, &Uri::from_static("/accounts"), &opening).await;
    let was_there =
        was_there.map_err(|problem| match problem.ends_with(Code::IdempotencyMismatch.as_str()) {
            true => format!("{problem}: it exists in another currency"),
            false => problem,
        })?;
    let path =
        Uri::try_from(format!("/accounts/{}/deposits", account.id)).map_err(|error| error.to_string())?;
    for (part, minor) in account.deposits().enumerate() {
        let amount = Money::new(minor, account.currency).to_decimal_string();
        let deposit =
            serde_json::json!({ "id": format!("{}-{number}-{part}", run.deposit_prefix), "amount": amount });
        post(run, connection, &path, &deposit).await?;
        run.tally(|tally| tally.deposits += 1);
    }
    run.tally(|tally| if was_there { tally.present += 1 } else { tally.opened += 1 });
    Ok(())
}

/// Posts until it is done; whether it had been done before.
async fn post(
    run: &Run,
    connection: &mut Connection,
    path: &Uri,
    body: &serde_json::Value,
) -> Result<bool, String> {
    let body = Bytes::from(body.to_string());
    match insist(connection, path, &body, || run.deadline(), &mut 0).await {
        Ending::Done { replayed, unclear } => {
            run.tally(|tally| tally.last_success = Instant::now());
            Ok(replayed && !unclear)
        }
        Ending::Refused { code } => Err(format!("POST {path} refused: {code}")),
        Ending::GaveUp { .. } => {
            run.tally(|tally| tally.gave_up = true);
            Err(format!("POST {path}: no answer for {} s", PATIENCE.as_secs()))
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
