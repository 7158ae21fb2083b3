//! The workers: the stages of the pipeline, the micro services beside them, and the janitor behind them.

pub mod roles;
pub mod workers;

mod janitor;
mod part;
mod pipeline;
mod services;
