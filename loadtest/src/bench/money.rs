//! Payments for every part, and accounts with the money for all of them.
//!
//! A seed names one row of payments for ever, and a shorter file is the beginning of a longer one: so what all
//! parts spend is known before the first is made, and the accounts are funded once.

use super::programs;
use super::stack;
use crate::error::LoadtestError;
use crate::rows::{self, AccountRow};
use config::Flags;
use domain::{Currency, Money};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// As many as the contract says, half of them sources.
const ACCOUNTS: &str = "20000";
const FX_SHARE: &str = "0.3";
const SEED: &str = "7";

/// Tens of thousands of requests, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// This program's other commands, in the folder of the benchmark.
#[derive(Debug, Clone)]
pub(crate) struct Loadtest {
    program: PathBuf,
    folder: PathBuf,
    flags: Vec<OsString>,
}

/// The side on which all payments have one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hot {
    Destination,
    Source,
}

impl Hot {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Hot::Destination => "destination",
            Hot::Source => "source",
        }
    }
}

impl Loadtest {
    /// With the same flags as this one.
    pub(crate) fn in_folder(folder: &Path, flags: &Flags) -> Result<Loadtest, LoadtestError> {
        let program = std::env::current_exe().map_err(LoadtestError::file(Path::new("/proc/self/exe")))?;
        Ok(Loadtest { program, folder: folder.to_owned(), flags: stack::arguments(flags) })
    }

    /// Writes so many payments under ids of this part.
    pub(crate) async fn payments(
        &self,
        part: &str,
        count: u64,
        hot: Option<Hot>,
    ) -> Result<PathBuf, LoadtestError> {
        let file = self.folder.join(format!("{part}.csv"));
        let (rows, prefix) = (count.to_string(), format!("{part}-"));
        let mut arguments = vec!["gen", "--rows", &rows, "--accounts", ACCOUNTS, "--seed", SEED];
        arguments.extend(["--fx-share", FX_SHARE, "--id-prefix", &prefix]);
        arguments.extend(hot.into_iter().flat_map(|side| ["--hot", side.name()]));
        let mut command = self.command();
        command.args(arguments).arg("--out").arg(&file);
        programs::output(command, PATIENCE).await?;
        Ok(file)
    }

    /// Opens the accounts of a file of payments, and funds them for so many files like it.
    pub(crate) async fn fund(&self, payments: &Path, times: u64) -> Result<(), LoadtestError> {
        let accounts = PathBuf::from(format!("{}.accounts.csv", payments.display()));
        let funded = self.folder.join("funded.csv");
        multiply(&accounts, &funded, times)?;
        let mut command = self.command();
        command.args(["seed", "--accounts"]).arg(&funded);
        programs::output(command, PATIENCE).await.map(drop)
    }

    /// Asks the ledger whether every invariant holds; what does not.
    pub(crate) async fn verify(&self) -> Result<Vec<String>, LoadtestError> {
        let mut command = self.command();
        command.arg("verify");
        let output = programs::finish(command, PATIENCE).await?;
        let said = programs::text(&output.stdout);
        match output.status.code() {
            Some(0) => Ok(Vec::new()),
            Some(code) if code == i32::from(crate::error::EXIT_BROKEN) => Ok(broken(&said)),
            _ => {
                let problem = format!("{}\n{}", output.status, programs::text(&output.stderr).trim());
                Err(LoadtestError::Program { name: "loadtest verify".to_owned(), problem })
            }
        }
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = programs::command(&self.program);
        command.args(&self.flags).current_dir(&self.folder).kill_on_drop(true);
        command
    }
}

/// The lines of `verify` that tell of something broken; there is one, or it would not say so.
fn broken(said: &str) -> Vec<String> {
    let lines: Vec<String> =
        said.lines().filter(|line| line.starts_with("BROKEN")).map(str::to_owned).collect();
    if lines.is_empty() { vec![format!("verify: {}", said.trim())] } else { lines }
}

/// Copies a file of accounts, with so many times the money.
fn multiply(from: &Path, to: &Path, times: u64) -> Result<(), LoadtestError> {
    let mut writer = csv::Writer::from_path(to).map_err(LoadtestError::csv(to))?;
    rows::read(from, |line, row: AccountRow| {
        let opening_balance = times_as_much(&row, times).map_err(|problem| LoadtestError::Line {
            path: from.to_owned(),
            line,
            problem,
        })?;
        writer.serialize(AccountRow { opening_balance, ..row }).map_err(LoadtestError::csv(to))
    })?;
    writer.flush().map_err(LoadtestError::file(to))
}

fn times_as_much(row: &AccountRow, times: u64) -> Result<String, String> {
    let currency = Currency::parse(&row.currency).map_err(|error| error.to_string())?;
    let money = Money::parse(&row.opening_balance, currency).map_err(|error| error.to_string())?;
    let minor = i64::try_from(times).ok().and_then(|times| money.minor.checked_mul(times));
    let minor = minor.ok_or_else(|| format!("{times} times {} is too much", row.opening_balance))?;
    Ok(Money::new(minor, currency).to_decimal_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_multiplied_exactly() {
        let row = |currency: &str, opening_balance: &str| AccountRow {
            id: "A".to_owned(),
            currency: currency.to_owned(),
            opening_balance: opening_balance.to_owned(),
        };
        let rows = [
            (row("USD", "0.07"), 21, Some("1.47")),
            (row("JPY", "12345"), 3, Some("37035")),
            (row("KWD", "1.005"), 10, Some("10.050")),
            (row("USD", "0.00"), 21, Some("0.00")),
            (row("USD", "92233720368547.00"), 10_000, None),
            (row("XXXX", "1"), 1, None),
        ];
        for (account, times, expected) in rows {
            assert_eq!(times_as_much(&account, times).ok().as_deref(), expected, "{account:?}");
        }
    }

    #[test]
    fn what_is_broken_is_told() {
        let rows: [(&str, &[&str]); 3] = [
            (
                "ok  a\nBROKEN b: 1 row\nnote c: 2 rows\nBROKEN d: no\n2 broken\n",
                &["BROKEN b: 1 row", "BROKEN d: no"],
            ),
            ("1 broken\n", &["verify: 1 broken"]),
            ("", &["verify: "]),
        ];
        for (said, expected) in rows {
            assert_eq!(broken(said), expected);
        }
    }
}
