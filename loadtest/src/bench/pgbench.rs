//! pgbench, the measure: TPC-B on the same server, and what a transaction of it costs.

use super::figures::{Named, ratio, rounded};
use super::processes::{Groups, POSTGRES};
use super::programs;
use crate::error::LoadtestError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DATABASE: &str = "pgbench";
const SCALE: &str = "10";
const CLIENTS: &str = "8";

/// Making the tables is seconds, a checkpoint of a slow disk a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// The client programs beside the server that runs, and its databases as their owner sees them.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    programs: PathBuf,
    owner_url: String,
}

/// What pgbench made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Transactions {
    /// Transactions a second, as it says.
    pub(crate) tps: f64,
    /// How many it made.
    pub(crate) transactions: u64,
    /// Processor time of a transaction, of the server and of pgbench itself: of ours the load generator counts
    /// too.
    pub(crate) cpu_us: f64,
    /// The same by process.
    pub(crate) cpu_us_by_process: Named,
}

impl Client {
    /// `postgres` is the server's process; `owner_url` names any of its databases.
    pub(crate) fn beside(postgres: u32, owner_url: &str) -> Result<Client, LoadtestError> {
        let link = PathBuf::from(format!("/proc/{postgres}/exe"));
        let server = std::fs::read_link(&link).map_err(LoadtestError::file(&link))?;
        let folder = server.parent().unwrap_or(Path::new("/"));
        Ok(Client { programs: folder.to_owned(), owner_url: owner_url.to_owned() })
    }

    /// Runs statements, each in a transaction of its own, in a database.
    pub(crate) async fn sql(&self, database: &str, statements: &[&str]) -> Result<(), LoadtestError> {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.url(database));
        for statement in statements {
            command.arg("-c").arg(statement);
        }
        programs::output(command, PATIENCE).await.map(drop)
    }

    /// Vacuums a database and writes all that is dirty, so that what is measured next does not pay for what was
    /// before.
    pub(crate) async fn settle_debts(&self, database: &str) -> Result<(), LoadtestError> {
        self.sql(database, &["VACUUM", "CHECKPOINT"]).await
    }

    /// Runs pgbench on fresh tables, and removes them.
    pub(crate) async fn measure(&self, seconds: u32, groups: &Groups) -> Result<Transactions, LoadtestError> {
        let (drop, create) =
            (format!("DROP DATABASE IF EXISTS {DATABASE}"), format!("CREATE DATABASE {DATABASE}"));
        self.sql("postgres", &[&drop, &create]).await?;
        self.pgbench(&["-i", "-q", "-s", SCALE], PATIENCE).await?;
        self.settle_debts(DATABASE).await?;
        let (duration, threads) = (seconds.to_string(), threads().to_string());
        // Its tables are vacuumed already, and what it would vacuum is not of a transaction.
        let arguments = ["-n", "-c", CLIENTS, "-j", &threads, "-T", &duration];
        let first = groups.ticks();
        let said = self.pgbench(&arguments, PATIENCE + Duration::from_secs(seconds.into())).await?;
        let last = groups.ticks();
        let server_us = last.since(&first).get(POSTGRES).copied().unwrap_or(0.0);
        let (_, _, own_us) = last.of_all_since(&first);
        self.sql("postgres", &[&drop]).await?;
        transactions(&said, server_us, own_us)
            .ok_or_else(|| LoadtestError::Program { name: DATABASE.to_owned(), problem: said })
    }

    async fn pgbench(&self, arguments: &[&str], patience: Duration) -> Result<String, LoadtestError> {
        let mut command = self.command("pgbench");
        command.args(arguments).arg(self.url(DATABASE));
        programs::output(command, patience).await
    }

    /// Without the variables that somebody may have set for another server; gone with whoever waits for it.
    fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = programs::command(&self.programs.join(program));
        command.env_clear().env("LC_ALL", "C").current_dir("/").kill_on_drop(true);
        command
    }

    fn url(&self, database: &str) -> String {
        let server = self.owner_url.rsplit_once('/').map_or(self.owner_url.as_str(), |(server, _)| server);
        format!("{server}/{database}")
    }
}

/// Threads of pgbench: one for each core, and a client at least for each.
fn threads() -> usize {
    const CLIENT_COUNT: usize = 8;
    std::thread::available_parallelism().map_or(1, usize::from).min(CLIENT_COUNT)
}

/// Reads what pgbench says at its end.
fn transactions(said: &str, server_us: f64, own_us: f64) -> Option<Transactions> {
    let after = |start: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(start))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let tps: f64 = after("tps = ")?.parse().ok()?;
    let transactions: u64 = after("number of transactions actually processed: ")?.parse().ok()?;
    let each = |us: f64| rounded(ratio(us, transactions as f64), 1);
    let cpu_us_by_process =
        [(POSTGRES, server_us), (DATABASE, own_us)].map(|(name, us)| (name.to_owned(), each(us))).into();
    Some(Transactions {
        tps: rounded(tps, 1),
        transactions,
        cpu_us: each(server_us + own_us),
        cpu_us_by_process,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let said = "pgbench (15.18 (Debian 15.18-0+deb12u1))\ntransaction type: <builtin: TPC-B (sort of)>\n\
                    number of transactions actually processed: 61600\nnumber of failed transactions: 0 (0.000%)\n\
                    latency average = 2.597 ms\ntps = 3080.123456 (without initial connection time)\n";
        let found = transactions(said, 18_480_000.0, 1_540_000.0).unwrap();
        assert_eq!((found.tps, found.transactions, found.cpu_us), (3_080.1, 61_600, 325.0));
        assert_eq!((found.cpu_us_by_process["postgres"], found.cpu_us_by_process["pgbench"]), (300.0, 25.0));
        for broken in ["", "tps = 1.0\n", "tps = many\nnumber of transactions actually processed: 3\n"] {
            assert_eq!(transactions(broken, 1.0, 1.0), None, "{broken}");
        }
    }

    #[test]
    fn databases_are_those_of_the_owner_s_server() {
        let client =
            Client { programs: PathBuf::new(), owner_url: "postgres://kilat_owner@127.0.0.1:1/kilat".into() };
        assert_eq!(client.url("pgbench"), "postgres://kilat_owner@127.0.0.1:1/pgbench");
    }
}
