//! `loadtest gen`: a file of payments that a seed names, and the accounts with the money for them beside it.

mod population;
mod random;

use crate::error::LoadtestError;
use crate::output::{grouped, say};
use crate::rows::AccountRow;
use domain::{Currency, Money, PaymentId};
use population::{CURRENCIES, Population, currency_of};
use random::Random;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Payment numbers have at least so many digits.
const DIGITS_MIN: usize = 6;

/// A side of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    /// Where money leaves.
    Source,
    /// Where it arrives.
    Destination,
}

/// What to write.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// How many payments, one a row.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Accounts, half of them sources, half destinations.
    #[arg(long, default_value_t = 1_000)]
    accounts: usize,
    /// The same seed writes the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of payments whose destination has another currency than the source.
    #[arg(long, default_value_t = 0.3, value_parser = parse_share)]
    fx_share: f64,
    /// The exponent of Zipf's law by which accounts are chosen; 0: all alike.
    #[arg(long, default_value_t = 0.0, value_parser = parse_exponent)]
    zipf: f64,
    /// One account on this side of all payments.
    #[arg(long)]
    hot: Option<Side>,
    /// What payment ids start with.
    #[arg(long, default_value = "PAY-")]
    id_prefix: String,
    /// Where to write; the accounts go to FILE.accounts.csv.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be from 0 to 1".to_owned())
}

fn parse_exponent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|exponent| (0.0..=10.0).contains(exponent))
        .ok_or_else(|| "must be from 0 to 10".to_owned())
}

/// Writes both files and says so.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, LoadtestError> {
    write(arguments)?;
    say(format_args!("{} payments in {}", grouped(arguments.rows), arguments.out.display()));
    say(format_args!(
        "{} accounts in {}",
        grouped(arguments.accounts as u64),
        accounts_path(&arguments.out).display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn write(arguments: &Arguments) -> Result<(), LoadtestError> {
    check(arguments)?;
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder).map_err(LoadtestError::file(folder))?;
    }
    let population = Population::new(arguments.accounts, arguments.fx_share, arguments.zipf, arguments.hot);
    let file = File::create(&arguments.out).map_err(LoadtestError::file(&arguments.out))?;
    let spent = write_payments(arguments, &population, BufWriter::new(file))
        .map_err(LoadtestError::file(&arguments.out))?;
    write_accounts(&accounts_path(&arguments.out), &population, &spent)
}

fn check(arguments: &Arguments) -> Result<(), LoadtestError> {
    let accounts_min = Population::accounts_min(arguments.fx_share);
    if arguments.accounts < accounts_min {
        let problem = format!("must be at least {accounts_min} at --fx-share {}", arguments.fx_share);
        return Err(LoadtestError::Flag { flag: "--accounts", problem });
    }
    PaymentId::parse(payment_id(arguments, arguments.rows))
        .map_err(|error| LoadtestError::Flag { flag: "--id-prefix", problem: format!("the ids {error}") })?;
    Ok(())
}

/// The accounts stand beside the payments, in `FILE.accounts.csv`.
fn accounts_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".accounts.csv");
    name.into()
}

fn payment_id(arguments: &Arguments, number: u64) -> String {
    let digits = arguments.rows.to_string().len().max(DIGITS_MIN);
    format!("{}{number:0digits$}", arguments.id_prefix)
}

fn account_id(side: Side, account: usize) -> String {
    let side = if side == Side::Source { "SRC" } else { "DST" };
    format!("ACC_{side}_{:04}", account + 1)
}

/// Writes the payments; returns what each source spends, in minor units.
fn write_payments(
    arguments: &Arguments,
    population: &Population,
    mut out: impl Write,
) -> std::io::Result<Vec<i64>> {
    let mut random = Random::new(arguments.seed);
    let mut spent = vec![0_i64; population.sources];
    // Without conversions the column would say nothing.
    let converts = arguments.fx_share > 0.0;
    let last_column = if converts { ",destination_currency" } else { "" };
    writeln!(out, "id,currency,amount,source_account,destination_account{last_column}")?;
    for number in 1..=arguments.rows {
        let (source, destination) = population.draw(&mut random);
        let range = &CURRENCIES[currency_of(source)];
        let minor = range.minor_min + random.below(range.minor_max - range.minor_min + 1);
        let minor = i64::try_from(minor).unwrap_or(i64::MAX);
        spent[source] = spent[source].saturating_add(minor);
        write!(
            out,
            "{},{},{},{},{}",
            payment_id(arguments, number),
            range.code,
            decimal(minor, range.code),
            account_id(Side::Source, source),
            account_id(Side::Destination, destination),
        )?;
        match CURRENCIES[currency_of(destination)].code {
            _ if !converts => writeln!(out)?,
            // Left to the destination account, as clients may do.
            code if code == range.code => writeln!(out, ",")?,
            code => writeln!(out, ",{code}")?,
        }
    }
    out.flush()?;
    Ok(spent)
}

/// Writes the accounts: sources with exactly what they spend, destinations with nothing.
fn write_accounts(path: &Path, population: &Population, spent: &[i64]) -> Result<(), LoadtestError> {
    let mut writer = csv::Writer::from_path(path).map_err(LoadtestError::csv(path))?;
    let sources = spent.iter().enumerate().map(|(account, minor)| (Side::Source, account, *minor));
    let destinations = (0..population.destinations).map(|account| (Side::Destination, account, 0));
    for (side, account, minor) in sources.chain(destinations) {
        let code = CURRENCIES[currency_of(account)].code;
        let row = AccountRow {
            id: account_id(side, account),
            currency: code.to_owned(),
            opening_balance: decimal(minor, code),
        };
        writer.serialize(row).map_err(LoadtestError::csv(path))?;
    }
    writer.flush().map_err(LoadtestError::file(path))
}

fn decimal(minor: i64, code: &str) -> String {
    Currency::parse(code)
        .map_or_else(|_| minor.to_string(), |currency| Money::new(minor, currency).to_decimal_string())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
