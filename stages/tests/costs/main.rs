//! What a payment costs, counted and never timed: messages, statements, commits and fsyncs, of a backlog, of
//! one payment alone, and of nothing at all. Each number has its reason beside it; whoever makes a payment
//! cheaper lowers it.
//!
//! A proxy tells the messages apart; Postgres counts its statements and each time that its log went to disk, with
//! fsync on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::print_stdout, reason = "the tables of counts are what the tests are asked for")]

#[path = "../common/mod.rs"]
mod common;

mod alone;
mod backlog;
mod idle;
mod scale;
mod submitting;
mod tap;
