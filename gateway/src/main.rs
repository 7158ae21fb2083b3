//! `gateway`: the HTTP border.

use clap::Parser;
use runtime::config::{self, Flags};
use runtime::process;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The HTTP border of Kilat.
#[derive(Debug, Parser)]
#[command(name = "gateway")]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
    /// Print the configuration, secrets left out, and exit.
    #[arg(long)]
    print_config: bool,
}

fn main() -> ExitCode {
    let command_line: CommandLine = config::parse_command_line();
    let config = config::load_or_exit(&command_line.flags);
    if command_line.print_config {
        return config::print(&config);
    }
    let (log, process) = (config.log.clone(), config.process.clone());
    process::main(&process, process::run(&log, |drain| gateway::gateway::run(config, drain)))
}
