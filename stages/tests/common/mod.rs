//! A whole system for one test: private servers, every role, gateways, and a client of each kind.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this one")]

pub mod client;
pub mod listener;
pub mod processes;
pub mod prometheus;
pub mod tree;

use async_nats::jetstream;
use client::Client;
use devstack::testing::{TestNats, TestPort, TestPostgres};
use runtime::config::{self, Config, Flags};
use runtime::drain::Drain;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;
use wire::Role;

/// The longest that any of these systems may take to come to rest.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that no event announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One process' worth of roles or gateway, stopped when dropped.
pub struct Part {
    drain: Drain,
    task: JoinHandle<()>,
}

impl Part {
    /// Drains it and waits for its end, as SIGTERM does.
    pub async fn stop(self) {
        self.drain.begin();
        tokio::time::timeout(PATIENCE, self.task).await.expect("a part drains in time").unwrap();
    }
}

pub struct System {
    pub nats: TestNats,
    pub postgres: &'static TestPostgres,
    pub database: String,
    pub config: Config,
    pub ports: Vec<TestPort>,
    parts: Vec<Part>,
}

/// Settings that make minutes into moments.
pub const QUICK: [&str; 8] = [
    "janitor.every_ms=50",
    "janitor.purge_after_ms=60000",
    "janitor.redrive_after_ms=500",
    "janitor.redrive_after_ms_max=2000",
    "pipeline.trim_every_ms=50",
    "pipeline.retry_ms_max=100",
    "pipeline.ack_wait_ms=2000",
    "log.filter=error",
];

impl System {
    /// Servers and an empty ledger; nothing of ours runs yet. `settings` come after [`QUICK`].
    pub async fn prepare(settings: &[&str]) -> System {
        let nats = TestNats::start().await;
        let postgres = TestPostgres::shared().await;
        System::prepare_on(nats, postgres, settings).await
    }

    pub async fn prepare_on(nats: TestNats, postgres: &'static TestPostgres, settings: &[&str]) -> System {
        let owner_url = postgres.fresh_database().await;
        store::migrate(&owner_url).await.unwrap();
        let database = owner_url.rsplit('/').next().unwrap().to_owned();
        // Two of the gateway, and one of each role.
        let ports: Vec<TestPort> = (0..Role::ALL.len() + 1).map(|_| TestPort::take()).collect();
        let (gateway, admin) = ports.split_at(2);
        let mut overrides: Vec<String> =
            QUICK.iter().chain(settings).map(|text| (*text).to_owned()).collect();
        overrides.push(format!("nats.url={}", nats.url()));
        overrides.push(format!("postgres.url={}", owner_url.replace("kilat_owner", "kilat_app")));
        overrides.push(format!("gateway.ports=[{}, {}]", gateway[0].number(), gateway[1].number()));
        overrides.extend(
            Role::STAGES.iter().zip(admin).map(|(role, port)| format!("admin.{role}={}", port.number())),
        );
        let config = config::load(&Flags { config: None, overrides }).unwrap();
        System { nats, postgres, database, config, ports, parts: Vec::new() }
    }

    /// Everything up and ready.
    pub async fn start(settings: &[&str]) -> System {
        let mut system = System::prepare(settings).await;
        system.start_roles(Role::STAGES).await;
        system.start_gateway().await;
        system
    }

    pub fn launch_roles(&self, roles: &[Role]) -> Part {
        let (drain, config, roles) = (Drain::default(), self.config.clone(), roles.to_vec());
        let begin = drain.clone();
        let task = tokio::spawn(async move { stages::roles::run(&roles, config, drain).await.unwrap() });
        Part { drain: begin, task }
    }

    pub async fn start_roles(&mut self, roles: &[Role]) {
        let part = self.launch_roles(roles);
        self.parts.push(part);
        for role in roles {
            self.ready(self.config.listeners(*role).1[0]).await;
        }
    }

    pub fn launch_gateway(&self, ports: Vec<u16>) -> Part {
        let (drain, mut config) = (Drain::default(), self.config.clone());
        config.gateway.ports = ports;
        let begin = drain.clone();
        let task = tokio::spawn(async move { gateway::gateway::run(config, drain).await.unwrap() });
        Part { drain: begin, task }
    }

    pub async fn start_gateway(&mut self) {
        let part = self.launch_gateway(self.config.gateway.ports.clone());
        self.parts.push(part);
        self.ready(self.config.gateway.ports[0]).await;
    }

    /// Stops everything of ours.
    pub async fn stop(&mut self) {
        for part in self.parts.drain(..).rev() {
            part.stop().await;
        }
    }

    async fn ready(&self, port: u16) {
        until("a part is ready", || async {
            Client::new(port).get("/readyz").await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// A client of the first gateway port.
    pub fn client(&self) -> Client {
        Client::new(self.config.gateway.ports[0])
    }

    /// Opens accounts with so much money each, in major units.
    pub async fn open(&self, accounts: &[(&str, &str, &str)]) {
        let client = self.client();
        for (id, currency, amount) in accounts {
            // The wallet's subscription may follow its port by a moment.
            until("the account opens", || async {
                client.post("/accounts", &json!({ "id": id, "currency": currency })).await.status < 300
            })
            .await;
            if *amount != "0" {
                let path = format!("/accounts/{id}/deposits");
                let answer =
                    client.post(&path, &json!({ "id": format!("open-{id}"), "amount": amount })).await;
                assert_eq!(answer.status, 201, "{}", answer.body);
            }
        }
    }

    /// The payment's status body once it has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let client = self.client();
        let last = tokio::sync::Mutex::new(Value::Null);
        until(&format!("payment {id} ends"), || async {
            let Some(answer) = client.get(&format!("/payments/{id}")).await else { return false };
            let ended = answer.status == 200 && answer.body["status"] != "PENDING";
            *last.lock().await = answer.body;
            ended
        })
        .await;
        last.into_inner()
    }

    /// One value of the ledger, asked as its owner.
    pub async fn sql(&self, query: &str) -> String {
        self.postgres.query(&self.database, query).await.trim().to_owned()
    }

    /// The broker as an operator's tools see it.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.nats.url()).await.unwrap())
    }

    /// Every invariant of the ledger, each silent.
    pub async fn assert_ledger_is_clean(&self) {
        let options = store::StoreOptions {
            url: self.config.postgres.url.clone(),
            application_name: "audit".into(),
            connections_max: 1,
            acquire_timeout: PATIENCE,
            statement_timeout: PATIENCE,
            lock_timeout: PATIENCE,
            plans: store::Plans::Free,
        };
        let store = store::Store::connect_lazily(&options).unwrap();
        let file = include_str!("../../../loadtest/sql/invariants.sql");
        let sections: Vec<&str> =
            file.split("\n-- ").filter_map(|section| section.strip_prefix("name: ")).collect();
        assert!(sections.len() >= 10, "the invariants are there");
        for section in sections {
            let (name, query) = section.split_once('\n').unwrap();
            let (count, sample) = store.violations(query, 3).await.unwrap();
            assert_eq!(count, 0, "{name}: {sample:?}");
        }
    }
}

/// Waits until `condition` holds, which no event announces.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        // Polled: the condition lies in another process.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A payment request.
pub fn payment(id: &str, source: &str, destination: &str, currency: &str, amount: &str) -> Value {
    json!({ "id": id, "source_account": source, "destination_account": destination, "currency": currency, "amount": amount })
}
