//! The HTTP border: judges the form of requests, makes accepted payments durable, tells their status.
//!
//! The border judges form, the stages judge facts: nothing here looks an account up to accept a payment.
//! `http` is the only face so far; what it does with payments, `payments` does for every other one as well.

pub mod gateway;

mod http;
mod page;

mod live;
mod panels;
mod payments;
mod request;
mod waiting;

mod accept;
mod admission;
mod feed;
mod listeners;
mod status;
mod view;
mod watch;

#[cfg(test)]
mod memory_ledger;
#[cfg(test)]
mod request_sizes;
