//! The workers: the stages of the pipeline, the micro services beside them, and the janitor behind them.

pub mod roles;

mod faults;
mod janitor;
mod ledger_letters;
mod pipeline;
mod services;
