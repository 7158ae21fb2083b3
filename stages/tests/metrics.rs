//! What each port shows: its own role's series, all of them from the start, never too many for a scrape.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::client::Client;
use common::{System, payment, until};
use std::collections::BTreeSet;
use wire::{Method, Role, Route, StageName};

/// A scrape of one port has fewer series.
const SERIES_MAX: usize = 2_000;

const EVERY_ROLE: &str = "ledger_pool_connections ledger_pool_connections_max payment_request_duration_seconds payment_requests_total trace_spans_total";
const STAGE: &str =
    "payments_dead_total stage_batch_size stage_duration_seconds stage_halted stage_redeliveries_total";
const PUBLISH: &str = "publish_batch_size publish_commit_seconds";
const PROCESS: &str = "kilat_build_info process_cpu_seconds_total process_max_fds process_open_fds process_resident_memory_bytes process_start_time_seconds process_threads process_virtual_memory_bytes tokio_alive_tasks tokio_busy_seconds_total tokio_global_queue_depth tokio_workers";
const GATEWAY: &str = "gateway_requests_in_flight gateway_requests_in_flight_max gateway_requests_shed_total";

/// What a role shows beside what every role does. The first role of each process shows the process.
#[rustfmt::skip]
const SHOWN: [(Role, &[&str]); 6] = [
    (Role::Gateway, &[GATEWAY, PUBLISH, PROCESS]),
    (Role::Risk, &[STAGE, PUBLISH, "payments_rejected_total", PROCESS]),
    (Role::Fx, &[STAGE, PUBLISH, "payments_rejected_total", "fx_book_rates fx_rate_age_seconds"]),
    (Role::Reserve, &[STAGE, PUBLISH, "payments_rejected_total"]),
    (Role::Settle, &[STAGE, PUBLISH, "payments_rejected_total", "payment_end_to_end_seconds"]),
    (Role::Wallet, &[]),
];

/// How everything begins that the janitor may show beside it: what it does itself, and what it sees of others
/// in the broker, the ledger and the intake.
const JANITOR: [&str; 7] =
    ["payments_redriven", "payments_emitted", "publish_", "ledger_", "nats_", "postgres_", "stage_lag"];
const JANITOR_SEES: &str = "stage_backlog_age_seconds";

/// The names and the lines of the series of a port.
struct Scrape {
    names: BTreeSet<String>,
    series: Vec<String>,
}

async fn scrape(system: &System, role: Role) -> Scrape {
    let client = Client::new(system.config.listeners(role).1[0]);
    let text = client.get("/metrics").await.expect("the port answers").text;
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    Scrape {
        names: names.map(str::to_owned).collect(),
        series: text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect(),
    }
}

/// Every label that names a role or a stage names the port's own.
fn assert_own(role: Role, scrape: &Scrape) {
    let value = |line: &str, label: &str| {
        let (_, rest) = line.split_once(&format!("{label}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    for line in &scrape.series {
        if let Some(service) = value(line, "service") {
            assert_eq!(service, role.as_str(), "{line}");
        }
        // The janitor sees the stages from outside.
        if let Some(stage) = value(line, "stage").filter(|_| role != Role::Janitor) {
            assert_eq!(StageName::named(&stage).map(Role::playing), Some(role), "{line}");
        }
    }
}

async fn check(system: &System) {
    for role in Role::ALL {
        let scrape = scrape(system, role).await;
        assert!(scrape.series.len() < SERIES_MAX, "{role}: {} series", scrape.series.len());
        assert_own(role, &scrape);
        let common: BTreeSet<String> = EVERY_ROLE.split(' ').map(str::to_owned).collect();
        match SHOWN.iter().find(|(shown, _)| *shown == role) {
            Some((_, further)) => {
                let further = further.iter().flat_map(|names| names.split(' ')).map(str::to_owned);
                assert_eq!(scrape.names, common.into_iter().chain(further).collect(), "{role}");
            }
            None => {
                let is_its_own =
                    |name: &str| name == JANITOR_SEES || JANITOR.iter().any(|start| name.starts_with(start));
                assert!(common.is_subset(&scrape.names), "{role}: {:?}", scrape.names);
                let others = scrape.names.difference(&common).filter(|name| !is_its_own(name));
                assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "{role}");
            }
        }
    }
}

/// Every way to ask every route of every port.
async fn ask_everything(system: &System) {
    let ask = |port: u16, route: Route, method: Method| async move {
        let path = route.as_str().replace("{id}", "X");
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let method = if method == Method::Other { "PROPFIND" } else { method.as_str() };
        let json = [("content-type", "application/json")];
        Client::new(port)
            .status(method, &path, &json, b"{}".to_vec())
            .await
            .expect("every request is answered");
    };
    for role in Role::ALL {
        for route in Route::ALL {
            for method in Method::ALL {
                ask(system.config.listeners(role).1[0], route, method).await;
            }
        }
    }
}

/// The values of a port's series whose names and labels begin and go on like this, together.
async fn sum(system: &System, role: Role, name: &str, labels: &[&str]) -> f64 {
    let of_name = format!("{name}{{");
    let scrape = scrape(system, role).await;
    let lines = scrape.series.iter().filter(|line| line.starts_with(&of_name));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_shows_its_role_and_nothing_else() {
    let mut system = System::start(&[]).await;
    // The rates are followed from the start; their bucket is filled a moment later.
    until("the rates are loaded", || async {
        sum(&system, Role::Fx, "fx_book_rates", &["source=\"seed\""]).await > 0.0
    })
    .await;
    check(&system).await;

    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    for (id, source, amount, status) in [("P1", "S", "1", "CAPTURED"), ("P2", "X", "1", "FAILED")] {
        let answer = system.client().post("/payments", &payment(id, source, "D", "USD", amount)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(system.ended(id).await["status"], status);
    }
    ask_everything(&system).await;
    check(&system).await;

    let accepted = "payment_requests_total";
    let rows = [
        (Role::Gateway, accepted, &["route=\"/payments\"", "code=\"202\"", "status=\"OK\""][..], 2.0),
        (Role::Wallet, accepted, &["route=\"wallet.deposit\"", "method=\"NATS\"", "code=\"200\""], 1.0),
        (Role::Settle, "payment_end_to_end_seconds_count", &["status=\"CAPTURED\""], 1.0),
        (Role::Settle, "payment_end_to_end_seconds_count", &["status=\"FAILED\""], 1.0),
        (Role::Reserve, "payments_rejected_total", &["code=\"account_not_found\""], 1.0),
        (Role::Fx, "payments_rejected_total", &[], 0.0),
        (Role::Gateway, "publish_batch_size_sum", &["hop=\"accepted\""], 2.0),
    ];
    for (role, name, labels, expected) in rows {
        assert_eq!(sum(&system, role, name, labels).await, expected, "{role}: {name} {labels:?}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_is_not_shown() {
    let mut system = System::prepare(&["telemetry.enabled=false"]).await;
    system.start_roles(&[Role::Risk]).await;
    let text = Client::new(system.config.listeners(Role::Risk).1[0]).get("/metrics").await.unwrap().text;
    assert!(text.starts_with("# ") && text.lines().count() == 1, "{text}");
    system.stop().await;
}
