//! What the player of a role is made of: its own connections to both servers, its own metrics, its health,
//! its dead letters, and what an error of the ledger means to a stage and to a client.

mod connections;
mod dead_letters;
mod faults;
mod figures;
mod host;
mod readiness;

pub use dead_letters::LedgerLetters;
pub use faults::{fault, problem};
pub use host::{Host, Observers, StartError};
