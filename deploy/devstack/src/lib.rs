//! Private nats-server, Postgres and Prometheus processes on this machine, for the development stack and for tests.
//!
//! Everything listens on 127.0.0.1 only. [`start_nats`], [`start_postgres`] and [`start_prometheus`] start servers that outlive
//! this process; they block. [`testing`] has the servers for tests: asynchronous, on free ports, with data of
//! their own, and gone with the handle or with the test process, also when that is killed.
//!
//! ```no_run
//! use devstack::testing::{TestNats, TestPostgres};
//!
//! #[tokio::test]
//! async fn a_payment_survives_a_crash() {
//!     let nats = TestNats::start().await; // about 50 ms
//!     let client = connect(nats.url()).await; // nats://127.0.0.1:2xxxx
//!     nats.kill().await; // SIGKILL, as a crash
//!     nats.restart().await; // same port, same data
//!
//!     // One Postgres for all tests of this process, and a database per test.
//!     let database_url = TestPostgres::shared().await.fresh_database().await;
//!
//!     // A Postgres of its own, for a test that kills it or needs other settings.
//!     let postgres = TestPostgres::start_with(|options| options.setting("max_connections", "10")).await;
//!     let database_url = postgres.fresh_database().await;
//!     postgres.kill().await;
//!     postgres.restart().await;
//!     assert_eq!(postgres.query("postgres", "SELECT 1").await, "1");
//! }
//! # async fn connect(url: &str) {}
//! ```
//!
//! Linux only: processes are looked up in `/proc`.

mod checkout;
mod error;
mod initdb;
mod launch;
mod nats;
mod port;
mod postgres;
mod process;
mod programs;
mod prometheus;
mod server;
mod template;
pub mod testing;
pub mod traces;
mod unread;
mod user;
mod watcher;

pub use checkout::{find_root, own_folder};
pub use error::Error;
pub use initdb::OWNER;
pub use launch::{Launch, Launched, await_ready, tail};
pub use nats::{NatsOptions, start_nats};
pub use port::{http_post, http_status, is_free, loopback, nats_answers};
pub use postgres::{PostgresOptions, create_database, database_url, query, start_postgres};
pub use process::{ProcessIdentity, Signal, kill_all_in};
pub use programs::{find_program, is_program};
pub use prometheus::{
    PrometheusOptions, PrometheusTargets, prometheus_answers, prometheus_targets, reload_prometheus,
    start_prometheus,
};
pub use user::is_root;
