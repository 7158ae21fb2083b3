//! What a person sees: the state of each member, and what went wrong.

use std::fs;
use std::io::{Write, stderr, stdout};

use crate::error::StackError;
use crate::member::Member;
use crate::state::{Record, StateFolder};

pub(crate) fn print(state: &StateFolder) -> Result<(), StackError> {
    let mut text = line(["name", "pid", "ports", "state"]);
    for member in Member::ALL {
        let record = state.read(member);
        let (pid, ports) = match &record {
            Some(record) if record.process.is_alive() => (record.process.pid.to_string(), ports(record)),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        text.push_str(&line([member.name(), &pid, &ports, &condition(member, record.as_ref())]));
    }
    Ok(stdout().write_all(text.as_bytes())?)
}

pub(crate) fn print_error(error: &StackError) {
    // Nothing is left to do when even the terminal is gone.
    let _ = writeln!(stderr(), "devstack: {}", error.chain());
}

/// In one line: the end of its log is where it was.
pub(crate) fn print_left_out(member: Member, error: &StackError) {
    let text = error.chain();
    let reason = text.lines().next().unwrap_or_default();
    // As above.
    let _ = writeln!(stderr(), "devstack: going on without {member}: {reason}");
}

/// The stack runs without them.
pub(crate) fn print_without_accounts(problem: &str) {
    // As above.
    let _ = writeln!(stderr(), "devstack: the accounts of the README are not all there: {problem}");
}

fn line(columns: [&str; 4]) -> String {
    let [name, pid, ports, state] = columns;
    format!("{name:<17} {pid:>8}  {ports:<32} {state}\n")
}

fn ports(record: &Record) -> String {
    record.addresses.iter().map(|address| address.port().to_string()).collect::<Vec<_>>().join(" ")
}

fn condition(member: Member, record: Option<&Record>) -> String {
    let condition = match record {
        None if !member.is_installed() => "not installed",
        None => "stopped",
        Some(record) if !record.process.is_alive() => "crashed",
        Some(record) if !member.is_ready(&record.addresses) => "not ready",
        Some(record) if is_older_build(record) => "ready, from an older build: restart it",
        Some(record) if member == Member::Prometheus => return ready_with_targets(record),
        Some(_) => "ready",
    };
    condition.to_owned()
}

/// A target that has not been scraped yet is not up yet.
fn ready_with_targets(record: &Record) -> String {
    let targets = record.addresses.first().and_then(|address| devstack::prometheus_targets(*address));
    match targets {
        Some(targets) => format!("ready, {} of {} targets up", targets.up, targets.all),
        None => "not ready".to_owned(),
    }
}

/// Whether the file of its program was replaced since it started.
fn is_older_build(record: &Record) -> bool {
    let program = fs::read_link(format!("/proc/{}/exe", record.process.pid));
    program.is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}
