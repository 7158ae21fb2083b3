//! The private stack that is measured, through `devstack`, which started it and knows its processes.

use super::processes::Groups;
use super::programs;
use crate::error::LoadtestError;
use config::Flags;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// What is measured: who carries payments, and who receives the spans that they send. Nobody scrapes.
const MEMBERS: [&str; 5] = ["postgres", "nats", "traces", "stages", "gateway"];

/// What pgbench is measured without.
const SERVICES: [&str; 2] = ["stages", "gateway"];

/// Above what `devstack` itself waits for its members to start or to end.
const PATIENCE: Duration = Duration::from_secs(360);

/// A stack, by the folder below which its state lies.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    program: PathBuf,
    root: PathBuf,
    flags: Vec<OsString>,
}

impl Stack {
    /// The stack of a folder, through the `devstack` beside this program.
    pub(crate) fn of(root: &Path, flags: &Flags) -> Result<Stack, LoadtestError> {
        let program = std::env::current_exe().map_err(LoadtestError::file(Path::new("/proc/self/exe")))?;
        let program = program.with_file_name("devstack");
        if !program.is_file() {
            let problem = format!("there is no {}: run `make build`", program.display());
            return Err(LoadtestError::Program { name: "devstack".to_owned(), problem });
        }
        Ok(Stack { program, root: root.to_owned(), flags: arguments(flags) })
    }

    /// Starts what does not run of what is measured.
    pub(crate) async fn up(&self) -> Result<(), LoadtestError> {
        self.run("up", &MEMBERS).await
    }

    /// Starts the servers alone.
    pub(crate) async fn up_servers(&self) -> Result<(), LoadtestError> {
        self.run("up", &MEMBERS[..2]).await
    }

    /// Stops everything.
    pub(crate) async fn down(&self) -> Result<(), LoadtestError> {
        self.run("down", &[]).await
    }

    /// Stops the services alone.
    pub(crate) async fn down_services(&self) -> Result<(), LoadtestError> {
        self.run("down", &SERVICES).await
    }

    /// Starts Postgres anew, with what its configuration says by then.
    pub(crate) async fn restart_postgres(&self) -> Result<(), LoadtestError> {
        self.run("restart", &MEMBERS[..1]).await
    }

    /// Removes the data of a stack that is down.
    pub(crate) async fn clean(&self) -> Result<(), LoadtestError> {
        self.run("clean", &[]).await
    }

    /// The names and pids of what runs.
    pub(crate) async fn running(&self) -> Result<Vec<(String, u32)>, LoadtestError> {
        Ok(running(&programs::output(self.command("ps", &[]), PATIENCE).await?))
    }

    /// What runs, as groups to measure.
    pub(crate) async fn groups(&self) -> Result<Groups, LoadtestError> {
        let members = self.running().await?.into_iter();
        // By the name of its program, as everything else that people look at processes with.
        let renamed = |name: String| if name == "nats" { "nats-server".to_owned() } else { name };
        Ok(Groups::of(members.map(|(name, pid)| (renamed(name), pid))))
    }

    /// One that is interrupted goes on: a server that it has started is written down at its end.
    async fn run(&self, action: &str, members: &[&str]) -> Result<(), LoadtestError> {
        programs::output(self.command(action, members), PATIENCE).await.map(drop)
    }

    fn command(&self, action: &str, members: &[&str]) -> Command {
        let mut command = programs::command(&self.program);
        command.arg("--root").arg(&self.root).args(&self.flags).arg(action).args(members);
        command
    }
}

/// The same flags for another program of ours.
pub(crate) fn arguments(flags: &Flags) -> Vec<OsString> {
    let file = flags.config.iter().map(|file| {
        let mut argument = OsString::from("--config=");
        argument.push(file);
        argument
    });
    file.chain(flags.overrides.iter().map(|text| format!("--set={text}").into())).collect()
}

/// Lines of `devstack ps`: name, pid, ports, state; what does not run has no pid.
fn running(table: &str) -> Vec<(String, u32)> {
    let member = |line: &str| {
        let mut columns = line.split_whitespace();
        Some((columns.next()?.to_owned(), columns.next()?.parse().ok()?))
    };
    table.lines().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_has_a_pid() {
        let table = "name                   pid  ports                            state\n\
                     postgres              1201  27432                            ready\n\
                     nats                     -  -                                crashed\n\
                     stages                1301  19082 19083                      not ready\n\
                     grafana                  -  -                                not installed\n";
        let expected = [("postgres".to_owned(), 1_201), ("stages".to_owned(), 1_301)];
        assert_eq!(running(table), expected);
        assert_eq!(running(""), []);
    }

    #[test]
    fn programs_of_ours_have_the_same_flags() {
        let flags = Flags {
            config: Some("/a b/kilat.toml".into()),
            overrides: vec!["stack.port_offset=2000".into(), "log.filter=warn".into()],
        };
        let expected = ["--config=/a b/kilat.toml", "--set=stack.port_offset=2000", "--set=log.filter=warn"];
        assert_eq!(arguments(&flags), expected);
        assert_eq!(arguments(&Flags::default()), Vec::<OsString>::new());
    }
}
