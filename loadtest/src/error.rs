//! What ends a command, and with which exit code.

use crate::client::Targets;
use runtime::broker::BrokerError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::StoreError;

/// Something was lost, was done twice, or is not as it must be.
pub(crate) const EXIT_BROKEN: u8 = 1;
/// A flag, or a file that a flag names, cannot be used (`EX_USAGE`).
pub(crate) const EXIT_USAGE: u8 = 64;
/// What is to be tested does not answer (`EX_UNAVAILABLE`).
pub(crate) const EXIT_UNREACHABLE: u8 = 69;
/// A threshold is broken; k6's code for it.
pub(crate) const EXIT_THRESHOLD: u8 = 99;

/// Ctrl-C, as shells say it.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Why a command ends without its result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadtestError {
    /// A flag's value cannot be used together with the others.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag as it is typed.
        flag: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A file is not of the shape it must have.
    #[error("{}", path.display())]
    Csv {
        path: PathBuf,
        /// Where and why.
        source: csv::Error,
    },
    /// A line of a file makes no sense.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// No gateway answers.
    #[error("no gateway answers at {0}")]
    NoGateway(Targets),
    /// No broker answers.
    #[error("no broker answers at {url}")]
    NoBroker { url: String, source: Box<BrokerError> },
    /// The ledger cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] StoreError),
    /// A program that the benchmark needs has not done its work.
    #[error("{name}: {problem}")]
    Program {
        /// The program, and what it was to do.
        name: String,
        /// How it ended, and what it said.
        problem: String,
    },
    /// The checkout's own stack runs.
    #[error(
        "the stack of this checkout runs ({members}) and would take the benchmark's cores: run `make down` first"
    )]
    Company { members: String },
    /// Someone has asked it to end.
    #[error("interrupted")]
    Interrupted,
    /// There is no event loop.
    #[error("the asynchronous runtime does not start")]
    Runtime(#[source] std::io::Error),
}

impl LoadtestError {
    /// For `map_err` of file operations.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> LoadtestError {
        move |source| LoadtestError::File { path: path.to_owned(), source }
    }

    /// For `map_err` of CSV operations.
    pub(crate) fn csv(path: &Path) -> impl FnOnce(csv::Error) -> LoadtestError {
        move |source| LoadtestError::Csv { path: path.to_owned(), source }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            LoadtestError::Flag { .. }
            | LoadtestError::File { .. }
            | LoadtestError::Csv { .. }
            | LoadtestError::Line { .. }
            | LoadtestError::Company { .. } => EXIT_USAGE,
            LoadtestError::NoGateway(_)
            | LoadtestError::NoBroker { .. }
            | LoadtestError::Ledger(_)
            | LoadtestError::Program { .. } => EXIT_UNREACHABLE,
            LoadtestError::Interrupted => EXIT_INTERRUPTED,
            LoadtestError::Runtime(_) => EXIT_BROKEN,
        })
    }
}
