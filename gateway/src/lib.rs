//! The HTTP border: judges the form of requests, makes accepted payments durable, tells their status.
//!
//! The border judges form, the stages judge facts: nothing here looks an account up to accept a payment.

pub mod gateway;

mod accept;
mod accounts;
mod admission;
mod payments;
mod request;
#[cfg(test)]
mod request_sizes;
mod routes;
mod status;
mod view;
