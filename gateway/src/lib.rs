//! The HTTP border: judges the form of requests, makes accepted payments durable, tells their status.
//!
//! The border judges form, the stages judge facts: nothing here looks an account up to accept a payment.
//! `http` is the face of the program; `border` has the same without ports, for whoever is in the same process.
//! What they do with payments, `payments` does for every other face as well.

pub mod border;
pub mod gateway;

mod http;
mod page;

mod batch;
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
mod acceptance_costs;
#[cfg(test)]
mod memory_ledger;
#[cfg(test)]
mod request_sizes;
