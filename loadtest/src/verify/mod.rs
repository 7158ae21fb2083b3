//! `loadtest verify`: whether the ledger is as it must be, asked from outside: by SQL as the services' role,
//! and by HTTP.

mod from_http;
mod invariants;

use crate::client::{TargetFlags, Targets};
use crate::error::{EXIT_BROKEN, LoadtestError};
use crate::output::{chain, grouped, say};
use config::Config;
use invariants::{Invariant, Kind};
use std::process::ExitCode;
use store::Store;

/// Where to look.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    targets: TargetFlags,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All is as it must be.
    Holds,
    /// It is not.
    Broken(String),
    /// Something to know, whichever way it is.
    Note(String),
}

/// Asks everything, a line each.
pub(crate) async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode, LoadtestError> {
    let targets = Targets::of(&arguments.targets, config);
    let store = crate::ledger::open(config).await?;
    let mut broken = 0_u64;
    let mut tell = |name: &str, finding: Finding| {
        broken += u64::from(matches!(finding, Finding::Broken(_)));
        say(match finding {
            Finding::Holds => format!("ok  {name}"),
            Finding::Broken(what) => format!("BROKEN {name}: {what}"),
            Finding::Note(what) => format!("note {name}: {what}"),
        });
    };
    let invariants = invariants::all();
    for invariant in &invariants {
        tell(invariant.name, ask(&store, invariant).await);
    }
    for (name, finding) in from_http::check(&targets, &store).await {
        tell(name, finding);
    }
    if broken == 0 {
        say("every invariant holds");
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{} broken", grouped(broken)));
    Ok(ExitCode::from(EXIT_BROKEN))
}

/// Asks the ledger for the rows that break an invariant. One that cannot be asked is broken too: nobody knows
/// that it holds.
async fn ask(store: &Store, invariant: &Invariant) -> Finding {
    match (store.violations(invariant.query, 1).await, invariant.kind) {
        (Ok((count, sample)), Kind::Note) => Finding::Note(rows(count, &sample)),
        (Ok((0, _)), Kind::Invariant) => Finding::Holds,
        (Ok((count, sample)), Kind::Invariant) => Finding::Broken(rows(count, &sample)),
        (Err(error), _) => Finding::Broken(format!("cannot be asked: {}", chain(&error))),
    }
}

fn rows(count: u64, sample: &[String]) -> String {
    let count_text = grouped(count);
    let noun = if count == 1 { "row" } else { "rows" };
    match sample.first() {
        Some(example) => format!("{count_text} {noun}, e.g. {example}"),
        None => format!("{count_text} {noun}"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
