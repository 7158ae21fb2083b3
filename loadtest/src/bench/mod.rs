//! `loadtest bench`: what a payment costs and how fast it settles, beside pgbench on the same server.
//!
//! It has a private stack of its own, with ports and data of its own, and leaves nothing running. The stack is
//! driven through `devstack`, which writes down what it starts; payments are made, funded and judged by this
//! program's other commands; only the timed replays run in this process, which reads the clocks of the system
//! at their edges.

mod counters;
mod disk;
mod figures;
mod knee;
mod money;
mod parts;
mod pgbench;
mod plan;
mod processes;
mod programs;
mod report;
mod run;
mod scrape;
mod settings;
mod soak;
mod stack;
mod statements;
mod table;

use crate::error::{EXIT_BROKEN, LoadtestError};
use crate::output::{chain, say};
use config::{Config, Flags};
use money::Loadtest;
use parts::Session;
use plan::Plan;
use report::Report;
use stack::Stack;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, LocalSet};

/// Beside the ports of the checkout's own stack.
const PORT_OFFSET: &str = "stack.port_offset";
const PORT_OFFSET_DEFAULT: u16 = 2_000;

/// A machine has gigabytes that are not written, a slow disk takes a hundred megabytes a second.
const SYNC_PATIENCE: Duration = Duration::from_secs(300);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// The checkout: the benchmark's stack and its figures lie in .kilat/ below it.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// One short pair instead of three, and every other part shorter.
    #[arg(long)]
    quick: bool,
    /// Payments of each run that goes flat out; a third of them when quick.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    payments: u64,
    /// Hold 80 % of the flat-out rate for so long too, and tell the memory of every process.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    soak: Option<u64>,
    /// Write the figures here instead of .kilat/bench.json.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where everything lies.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    folder: PathBuf,
    json: PathBuf,
    plan: Plan,
    flags: Flags,
}

impl Place {
    /// Makes the folder of the benchmark and goes there: its stack has the defaults, what variables say and what
    /// flags say, and the `kilat.toml` of no checkout.
    pub(crate) fn prepare(arguments: &Arguments, flags: &Flags) -> Result<Place, LoadtestError> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(LoadtestError::file(path));
        let root = arguments.root.canonicalize().map_err(LoadtestError::file(&arguments.root))?;
        let folder = root.join(".kilat/bench");
        std::fs::create_dir_all(&folder).map_err(LoadtestError::file(&folder))?;
        let json = arguments.json.as_deref().map_or_else(|| Ok(root.join(".kilat/bench.json")), absolute)?;
        let config = flags.config.as_deref().map(absolute).transpose()?;
        std::env::set_current_dir(&folder).map_err(LoadtestError::file(&folder))?;
        let mut flags = Flags { config, ..flags.clone() };
        if !config::is_written(&flags, PORT_OFFSET) {
            flags.overrides.push(format!("{PORT_OFFSET}={PORT_OFFSET_DEFAULT}"));
        }
        let plan = if arguments.quick { Plan::quick } else { Plan::whole }(arguments.payments);
        let plan = plan.soaking(arguments.soak.unwrap_or(0));
        Ok(Place { root, folder, json, plan, flags })
    }

    /// The flags with which everything is loaded and started.
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// Measures, tells, and leaves nothing running.
pub(crate) async fn run(place: &Place, config: &Config) -> Result<ExitCode, LoadtestError> {
    refuse_company(&place.root).await?;
    let stack = Stack::of(&place.folder, &place.flags)?;
    // Of one that was killed.
    stack.down().await?;
    stack.clean().await?;
    let outcome = LocalSet::new().run_until(until_interrupted(place, config, &stack)).await;
    let stopped = stack.down().await;
    let report = outcome.inspect_err(|_| {
        say(format_args!("what the processes said is in {}", place.folder.join(".kilat/log").display()));
    })?;
    stopped?;
    stack.clean().await?;
    remove_payments(&place.folder);
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    std::fs::write(&place.json, text + "\n").map_err(LoadtestError::file(&place.json))?;
    say(table::render(&report));
    say(format_args!("every figure is in {}", place.json.display()));
    Ok(if report.verified { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
}

/// The stack of the checkout would take the processor from the one that is measured.
async fn refuse_company(root: &Path) -> Result<(), LoadtestError> {
    let running = Stack::of(root, &Flags::default())?.running().await?;
    if running.is_empty() {
        return Ok(());
    }
    let members = running.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    Err(LoadtestError::Company { members })
}

/// Measures in a task, so that whatever ends it, the stack is stopped afterwards.
async fn until_interrupted(place: &Place, config: &Config, stack: &Stack) -> Result<Report, LoadtestError> {
    let (place, config, stack) = (place.clone(), config.clone(), stack.clone());
    let measuring = tokio::task::spawn_local(async move { measure(&place, config, stack).await });
    let stop = measuring.abort_handle();
    tokio::select! {
        biased;
        asked = interrupted() => {
            stop.abort();
            asked.and(Err(LoadtestError::Interrupted))
        }
        outcome = measuring => outcome.map_err(broken_off)?,
    }
}

fn broken_off(error: JoinError) -> LoadtestError {
    LoadtestError::Program { name: "loadtest bench".to_owned(), problem: chain(&error) }
}

/// Whoever asks this process to end.
async fn interrupted() -> Result<(), LoadtestError> {
    let listen = |kind| signal(kind).map_err(LoadtestError::Runtime);
    let [mut first, mut second, mut third] =
        [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?];
    tokio::select! {
        biased;
        _ = first.recv() => {}
        _ = second.recv() => {}
        _ = third.recv() => {}
    }
    Ok(())
}

async fn measure(place: &Place, config: Config, stack: Stack) -> Result<Report, LoadtestError> {
    // What a build has written is still on its way to the disk, and would be there in the first part's way.
    programs::output(programs::command(Path::new("sync")), SYNC_PATIENCE).await?;
    say("a private stack for the benchmark");
    stack.up_servers().await?;
    let loadtest = Loadtest::in_folder(&place.folder, &place.flags)?;
    let ledger_folder = ledger_folder(&place.folder);
    Session::start(place.plan, config, stack, loadtest, ledger_folder).await?.measure(&place.root).await
}

/// A folder on the disk of the ledger that is not the server's own: `devstack` notes where its data is.
fn ledger_folder(folder: &Path) -> PathBuf {
    let noted = std::fs::read_to_string(folder.join(".kilat/postgres.path")).unwrap_or_default();
    Path::new(noted.trim()).parent().filter(|above| above.is_dir()).unwrap_or(folder).to_owned()
}

/// What is left of them says nothing that a seed does not.
fn remove_payments(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "csv"))
    {
        // The next run writes them again.
        let _ = std::fs::remove_file(path);
    }
}
