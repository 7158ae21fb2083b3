//! The stages, in the order a payment meets them, and what they know: what accounts sent lately, and the
//! rates.
//!
//! A stage is one small file: what it consumes, what it decides, why it may be asked twice.

pub(crate) mod fx;
pub(crate) mod rate_book;
mod rebuild;
pub(crate) mod reserve;
pub(crate) mod risk;
pub(crate) mod settle;
pub(crate) mod settle_rejected;
pub(crate) mod trimming;
pub(crate) mod velocities;

#[cfg(test)]
pub(crate) mod testing;

use runtime::stage::follows;
use store::Store;

/// The order of stages, proven at compile time: each consumes what the one before forwards.
const _: () = {
    follows::<risk::Risk, fx::Fx<Store>>();
    follows::<fx::Fx<Store>, reserve::Reserve<Store>>();
    follows::<reserve::Reserve<Store>, settle::Settle<Store>>();
};
