//! Where payments go that a stage cannot judge. The seam between the harness and the ledger's dead letters.

use bytes::Bytes;
use domain::StageName;
use std::future::Future;

/// A delivery that is to be buried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burial {
    /// The stage that could not judge it.
    pub stage: StageName,
    /// The payment's subject token, well-formed or not.
    pub token: String,
    /// The stream that it came by.
    pub stream: String,
    /// Its sequence there.
    pub seq: u64,
    /// Why.
    pub reason: String,
    /// The message as it was delivered.
    pub payload: Bytes,
}

/// Keeps the dead.
pub trait Morgue: Send + Sync + 'static {
    /// Writes the dead letter down; the same one again changes nothing. An error is an outage.
    fn bury(&self, burial: &Burial) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether the payment of this token has an open dead letter, as far as is known now.
    fn is_dead(&self, token: &str) -> bool;
}
