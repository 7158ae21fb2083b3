//! Servers that are away, or do not let us in, are named in what is logged, and say why; no password is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use devstack::testing::{TestPort, TestPostgres};
use host::Host;
use runtime::config::{self, Flags};
use runtime::drain::Drain;
use runtime::process::chain;
use std::sync::Arc;
use wire::Role;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_let_in_is_named_with_its_reason() {
    let postgres = TestPostgres::shared().await;
    let owner_url = postgres.fresh_database().await;
    let name = owner_url.rsplit('/').next().unwrap();
    let address = owner_url.split_once('@').unwrap().1.split('/').next().unwrap();
    let role_less = owner_url.replace("kilat_owner", "nobody:SECRET");
    let rows = [
        (
            owner_url.replace(name, "nowhere"),
            format!("nowhere at {address}: the database is unavailable (SQLSTATE 3D000): "),
            "not exist",
        ),
        (
            role_less,
            format!("{name} at {address}: the database is unavailable (SQLSTATE 28000): "),
            "\"nobody\" does not exist",
        ),
    ];
    for (url, beginning, reason) in rows {
        for told in [chain(&store::migrate(&url).await.unwrap_err()), reason_of(&url).await] {
            assert!(
                told.starts_with(&beginning) && told.contains(reason) && !told.contains("SECRET"),
                "{told}"
            );
            assert_eq!(told.matches(reason).count(), 1, "said once: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_are_named_with_their_reason() {
    let port = TestPort::take();
    let told = reason_of(&format!("postgres://kilat_app:SECRET@127.0.0.1:{}/kilat", port.number())).await;
    let expected = format!(
        "kilat at 127.0.0.1:{}: the database is unavailable: error communicating with database: ",
        port.number()
    );
    assert!(
        told.starts_with(&expected)
            && told.matches("Connection refused").count() == 1
            && !told.contains("SECRET"),
        "{told}"
    );

    let overrides = vec![format!("nats.url=nats://SECRET@127.0.0.1:{}", port.number())];
    let config = Arc::new(config::load(&Flags { config: None, overrides }).unwrap());
    let host = Host::open(Role::Risk, config.clone(), Drain::default()).await.unwrap();
    let told = chain(&host.broker.declare_all(&config.pipeline).await.unwrap_err());
    assert_eq!(told, format!("the broker is unavailable: not connected to 127.0.0.1:{}", port.number()));
}

/// Why the ledger of a role does not answer.
async fn reason_of(postgres_url: &str) -> String {
    let overrides =
        vec![format!("postgres.url={postgres_url}"), "postgres.acquire_timeout_ms=100".to_owned()];
    let config = Arc::new(config::load(&Flags { config: None, overrides }).unwrap());
    let mut host = Host::open(Role::Janitor, config, Drain::default()).await.unwrap();
    let ledger = host.open_ledger("", host.connections_max()).unwrap();
    chain(&ledger.ping().await.unwrap_err())
}
