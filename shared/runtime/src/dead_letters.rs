//! Dead letters: payments that a stage cannot judge. The seam between the harness and the ledger's dead
//! letters.

use bytes::Bytes;
use domain::StageName;
use std::future::Future;

/// A delivery that is buried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The stage that could not judge it.
    pub stage: StageName,
    /// The name of the letter: see [`wire::dead_letter::token`].
    pub token: String,
    /// The stream that it came by.
    pub stream: String,
    /// Its sequence there.
    pub seq: u64,
    /// Why: see [`wire::dead_letter::reason`].
    pub reason: String,
    /// The message as it was delivered; empty when it could not be kept.
    pub payload: Bytes,
}

/// Why a dead letter was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BurialError {
    /// The ledger is away: try again.
    #[error("{0}")]
    Outage(String),
    /// The ledger does not take this letter.
    #[error("{0}")]
    Objection(String),
}

/// Where dead letters are kept.
pub trait DeadLetters: Send + Sync + 'static {
    /// Writes the dead letter down; the same one again changes nothing.
    fn write(&self, letter: &DeadLetter) -> impl Future<Output = Result<(), BurialError>> + Send;

    /// Whether the payment of this token has an open dead letter, as far as is known now.
    fn is_dead(&self, token: &str) -> bool;
}
