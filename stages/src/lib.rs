//! The stages of the pipeline, in the order a payment meets them, and the services and upkeep around them.
//!
//! A stage is one small file: what it consumes, what it decides, why it may be asked twice.

pub mod fx;
pub mod reserve;
pub mod risk;
pub mod settle;
pub mod settle_rejected;

mod faults;
mod intake;
mod janitor;
mod ledger_morgue;
mod open_holds;
mod rate_book;
mod rate_service;
pub mod roles;
mod score_service;
mod upkeep;
mod velocities;
mod wallet;

use runtime::stage::follows;

/// The order of stages, proven at compile time: each consumes what the one before forwards.
const _: () = {
    follows::<risk::Risk, fx::Fx>();
    follows::<fx::Fx, reserve::Reserve>();
    follows::<reserve::Reserve, settle::Settle>();
};
