//! `stages ROLE...`: the workers of the pipeline, any subset in one process.

use clap::{Parser, Subcommand};
use runtime::config::{self, Flags};
use runtime::process;
use stages::roles;
use std::process::ExitCode;
use wire::Role;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The workers of Kilat's pipeline.
#[derive(Debug, Parser)]
#[command(name = "stages", subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct CommandLine {
    /// risk fx reserve settle wallet janitor, any of them, or all.
    #[arg(required = true, value_name = "ROLE", value_parser = parse_role)]
    roles: Vec<Vec<Role>>,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
    /// Print the configuration, secrets left out, and exit.
    #[arg(long, global = true)]
    print_config: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the database's schema up to date, as its owner (postgres.owner_url).
    Migrate,
}

fn parse_role(text: &str) -> Result<Vec<Role>, String> {
    if text == "all" {
        return Ok(Role::STAGES.to_vec());
    }
    let names = || Role::STAGES.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" ");
    Role::named(text)
        .filter(|role| Role::STAGES.contains(role))
        .map(|role| vec![role])
        .ok_or_else(|| format!("not a role: use {} or all", names()))
}

fn main() -> ExitCode {
    let command_line: CommandLine = config::parse_command_line();
    let config = config::load_or_exit(&command_line.flags);
    if command_line.print_config {
        return config::print(&config);
    }
    let (log, process) = (config.log.clone(), config.process.clone());
    match command_line.command {
        Some(Command::Migrate) => {
            let migrated = |_| async move { store::migrate(&config.postgres.owner_url).await };
            process::main(&process, process::run(&log, migrated))
        }
        None => {
            let mut roles: Vec<Role> = command_line.roles.concat();
            roles.sort_unstable();
            roles.dedup();
            let played = |drain| async move { roles::run(&roles, config, drain).await };
            process::main(&process, process::run(&log, played))
        }
    }
}
