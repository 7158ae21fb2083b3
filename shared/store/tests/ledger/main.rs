//! The store against a real Postgres: its answers, its round trips, its races, and what is left when the
//! server dies; and the ledger in memory against both.
//!
//! One program, so that all tests share one server; every test has a database of its own. The services' role
//! does what the store does, the owner of the schema looks at the result and makes corruptions on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod append_only;
mod audit;
mod commits;
mod common;
mod concurrency;
mod dead_letters;
mod deposits;
mod faulty_wire;
mod figures;
mod generate;
mod janitor;
mod limits;
mod locked;
mod lookups;
mod memory;
mod memory_locks;
mod memory_pair;
mod memory_steps;
mod model;
mod model_check;
mod open_holds;
mod outages;
mod plans;
mod races;
mod reads;
mod reemit;
mod round_trips;
mod rows_touched;
mod sessions;
mod silence;
mod wiretap;
mod writes;
mod written_ahead;
