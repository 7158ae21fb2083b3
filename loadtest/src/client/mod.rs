//! HTTP to the gateways: where they are, one connection each worker, and how to insist on an answer.

mod answer;
mod batch;
mod connection;
mod exchange;
mod insist;
mod target;

pub(crate) use answer::Judgement;
pub(crate) use batch::{Item, insist_on_all};
pub(crate) use connection::Connection;
pub(crate) use insist::{Ending, insist};
pub(crate) use target::{Target, TargetFlags, Targets};

#[cfg(test)]
pub(crate) mod testing;
