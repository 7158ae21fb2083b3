//! `devstack up | down | restart | ps | logs | trace | watch | clean`: the private stack of one checkout.

mod accounts;
mod error;
mod logs;
mod member;
mod monitoring;
mod receiver;
mod stack;
mod state;
mod table;
mod terminal;
mod trace;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::{Flags, load_or_exit, parse_command_line};

use crate::error::StackError;
use crate::member::Member;
use crate::stack::Stack;
use crate::state::StateFolder;

/// The private stack of this checkout: Postgres, nats-server, the services, and what watches them.
#[derive(Debug, Parser)]
#[command(name = "devstack", version)]
struct Arguments {
    /// The checkout; else the one around this program, else the one around the current folder.
    #[arg(long, value_name = "FOLDER", global = true)]
    root: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start what is not running, and wait until it is ready.
    Up(Selection),
    /// Stop in reverse order.
    Down(Selection),
    /// Stop, then start.
    Restart(Selection),
    /// Show what runs.
    Ps,
    /// Show the ends of the logs.
    Logs {
        #[command(flatten)]
        selection: Selection,
        /// Lines of each log.
        #[arg(long, short = 'n', default_value_t = 40)]
        lines: usize,
        /// Go on as the logs grow.
        #[arg(long, short)]
        follow: bool,
    },
    /// Draw the trace of a payment.
    Trace(trace::Wanted),
    /// Watch how every role does, second by second.
    Watch(watch::Wanted),
    /// Receive spans and keep them; a member of the stack.
    #[command(hide = true)]
    ReceiveTraces,
    /// Remove the data, logs and state of a stack that is down.
    Clean,
}

#[derive(Debug, clap::Args)]
struct Selection {
    /// The members to act on; all of them when none is named.
    #[arg(value_enum)]
    names: Vec<Member>,
}

impl Selection {
    /// In the order of starting, each once.
    fn members(&self) -> Vec<Member> {
        let is_chosen = |member: &Member| self.names.is_empty() || self.names.contains(member);
        Member::ALL.into_iter().filter(is_chosen).collect()
    }
}

fn main() -> ExitCode {
    match run(parse_command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), StackError> {
    let flags = absolute(arguments.flags)?;
    let root = match arguments.root {
        Some(folder) => folder.canonicalize().map_err(devstack::Error::file("find", &folder))?,
        None => devstack::find_root()?,
    };
    // The services run in the checkout and read its kilat.toml; so does this program, from wherever it is
    // called.
    std::env::set_current_dir(&root).map_err(devstack::Error::file("enter", &root))?;
    match arguments.command {
        Action::Up(selection) => up(&root, flags, &selection.members()),
        Action::Down(selection) => down(&root, &selection.members()),
        Action::Restart(selection) => {
            // A bad configuration must not stop a stack that runs.
            load_or_exit(&flags);
            down(&root, &selection.members())?;
            up(&root, flags, &selection.members())
        }
        Action::Ps => table::print(&StateFolder::of(&root)),
        Action::Logs { selection, lines, follow } => {
            logs::show(&StateFolder::of(&root), &selection.members(), lines, follow)
        }
        Action::Trace(wanted) => trace::show(&StateFolder::of(&root), &wanted),
        Action::Watch(wanted) => watch::show(&StateFolder::of(&root), &load_or_exit(&flags), &wanted),
        Action::ReceiveTraces => receiver::run(&StateFolder::of(&root), load_or_exit(&flags).stack.otlp_port),
        Action::Clean => stack::clean(&StateFolder::of(&root)),
    }
}

fn up(root: &Path, flags: Flags, members: &[Member]) -> Result<(), StackError> {
    let config = load_or_exit(&flags);
    Stack::new(root, config, flags).up(members)?;
    table::print(&StateFolder::of(root))
}

fn down(root: &Path, members: &[Member]) -> Result<(), StackError> {
    stack::down(&StateFolder::of(root), members)
}

/// The same flags seen from any folder.
fn absolute(flags: Flags) -> Result<Flags, StackError> {
    let Some(file) = flags.config else { return Ok(flags) };
    let config = std::path::absolute(&file).map_err(devstack::Error::file("find", &file))?;
    Ok(Flags { config: Some(config), ..flags })
}
