//! The load generator and outside auditor: writes payments, funds accounts, replays a CSV against a gateway,
//! and asks the ledger whether every rule still holds.
//!
//! It runs on the machine that it measures, so it works on one thread and leaves the other cores to the
//! system.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod bench;
mod generate;
mod listen;
mod replay;
mod seed;
mod verify;
mod wait;

mod client;
mod error;
mod ledger;
mod output;
mod rows;

use clap::{Parser, Subcommand};
use config::{Config, Flags, load_or_exit, parse_command_line};
use error::LoadtestError;
use std::process::ExitCode;

/// Load for a payment gateway, and the audit of what it did.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a CSV of payments, and the accounts that they need beside it.
    Gen(generate::Arguments),
    /// Open and fund accounts through the gateway.
    Seed(seed::Arguments),
    /// Send the payments of a CSV and follow each to its end.
    Replay(replay::Arguments),
    /// Open streams of events and count what they are sent.
    Listen(listen::Arguments),
    /// Post payments and wait for their ends with `Prefer: wait`.
    Wait(wait::Arguments),
    /// Measure the system on a private stack, beside pgbench.
    Bench(bench::Arguments),
    /// Check the ledger's invariants from outside.
    Verify(verify::Arguments),
}

fn main() -> ExitCode {
    let arguments: Arguments = parse_command_line();
    let flags = arguments.flags;
    let outcome = match arguments.action {
        Action::Gen(arguments) => generate::run(&arguments),
        Action::Seed(arguments) => block_on(&flags, async |config| seed::run(&arguments, config).await),
        Action::Replay(arguments) => block_on(&flags, async |config| replay::run(&arguments, config).await),
        Action::Listen(arguments) => block_on(&flags, async |config| listen::run(&arguments, config).await),
        Action::Wait(arguments) => block_on(&flags, async |config| wait::run(&arguments, config).await),
        Action::Bench(arguments) => bench::Place::prepare(&arguments, &flags)
            .and_then(|place| block_on(place.flags(), async |config| bench::run(&place, config).await)),
        Action::Verify(arguments) => block_on(&flags, async |config| verify::run(&arguments, config).await),
    };
    outcome.unwrap_or_else(|error| {
        output::complain(&error);
        error.exit_code()
    })
}

fn block_on<F>(flags: &Flags, action: F) -> Result<ExitCode, LoadtestError>
where
    F: AsyncFnOnce(&Config) -> Result<ExitCode, LoadtestError>,
{
    let config = load_or_exit(flags);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadtestError::Runtime)?;
    runtime.block_on(action(&config))
}
