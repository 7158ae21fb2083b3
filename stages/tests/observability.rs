//! What a real Prometheus sees of a system under load: every panel and every rule asks for series that are
//! there, and what it counts is what was sent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::print_stderr, reason = "the long test tells how long it took")]

mod common;

use common::client::Client;
use common::prometheus::prometheus;
use common::{System, payment};
use devstack::testing::TestPrometheus;
use serde_json::{Value, json};
use signals::panel::Source;
use signals::{dashboards, metric, rules};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use wire::Role;

/// Rates are asked over this: a few scrapes of a Prometheus that is told to be quick.
const WINDOW: &str = "10s";

const QUICK: [&str; 2] = ["telemetry.observe_every_ms=200", "telemetry.audit_after_ms=1000"];

/// Payments of every ending and requests of every kind, until `is_over`.
struct Load {
    client: Client,
    is_over: AtomicBool,
    payments: AtomicUsize,
}

impl Load {
    async fn run(&self) {
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let (id, [usd, eur]) = (format!("L{number}"), ["D", "E"]);
            for body in [
                payment(&format!("{id}-usd"), "S", usd, "USD", "1"),
                payment(&format!("{id}-eur"), "S", eur, "USD", "1"),
                payment(&format!("{id}-poor"), "POOR", usd, "USD", "5"),
                payment(&format!("{id}-nobody"), "S", "NOBODY", "USD", "1"),
                // From an account of its own: what risk refuses counts against its sender too.
                payment(&format!("{id}-large"), "LARGE", usd, "USD", "99000000"),
                json!({ "source_account": "S", "destination_account": usd, "amount": "1.001", "currency": "USD" }),
            ] {
                self.client.post("/payments", &body).await;
                self.payments.fetch_add(1, Ordering::Relaxed);
            }
            let deposit = json!({ "id": id, "amount": "5" });
            self.client.post("/accounts/S/deposits", &deposit).await;
            self.client.post("/score", &json!({ "account": "S", "amount": "1", "currency": "USD" })).await;
            for path in ["/balance/S", "/rate?base=USD&quote=EUR", "/convert?from=USD&to=EUR&amount=1"] {
                self.client.get(path).await.unwrap();
            }
            self.client.get(&format!("/payments/{id}-usd")).await.unwrap();
        }
    }
}

/// Whether an answer holds at least one series that has a number.
fn has_data(result: &Value) -> bool {
    let is_number = |series: &Value| series["value"][1].as_str().is_some_and(|number| number != "NaN");
    result.as_array().is_some_and(|series| series.iter().any(is_number))
}

/// The series that an expression is made of: each metric of the table, or of the recorded ones, with what
/// narrows it down.
fn series_of(expression: &str) -> BTreeSet<String> {
    let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let is_series = |name: &str| {
        let is_recorded = name.starts_with("kilat:") || name == "up";
        is_recorded || metric::ALL.iter().any(|metric| name.starts_with(metric.name))
    };
    let starts = expression.char_indices().filter(|(place, letter)| {
        is_of_a_name(*letter) && !expression[..*place].chars().last().is_some_and(is_of_a_name)
    });
    let words = starts.map(|(place, _)| {
        let rest = &expression[place..];
        let name = &rest[..rest.find(|letter| !is_of_a_name(letter)).unwrap_or(rest.len())];
        let matchers = rest[name.len()..].strip_prefix('{').and_then(|text| text.split_once('}'));
        (name, matchers.map_or(String::new(), |(matchers, _)| format!("{{{matchers}}}")))
    });
    words.filter(|(name, _)| is_series(name)).map(|(name, matchers)| format!("{name}{matchers}")).collect()
}

async fn check_every_expression(prometheus: &TestPrometheus) {
    for panel in dashboards::all().iter().flat_map(|dashboard| dashboard.panels()) {
        if panel.source != Source::Services {
            continue;
        }
        for query in &panel.queries {
            prometheus.until(&query.expression.over(WINDOW), has_data).await;
        }
    }
    for recording in rules::recordings().iter().flat_map(|group| &group.rules) {
        prometheus.until(&recording.record, has_data).await;
    }
    for alert in rules::alerts().iter().flat_map(|group| &group.rules) {
        let series = series_of(&alert.expression);
        // No exporter runs here.
        for series in series.iter().filter(|series| !series.contains("node|postgres")) {
            prometheus.until(series, has_data).await;
        }
    }
}

/// The gateway answers every panel, over every range; those of our own series have something to show.
async fn check_panels(client: &Client) {
    let listed = client.get("/panels").await.unwrap().body;
    assert_eq!(listed["grafana"], Value::Null, "none runs here");
    let ranges: Vec<&str> = listed["ranges"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let rows =
        listed["dashboards"].as_array().unwrap().iter().flat_map(|board| board["rows"].as_array().unwrap());
    let panels: Vec<&Value> = rows.flat_map(|row| row["panels"].as_array().unwrap()).collect();
    assert_eq!(panels.len(), dashboards::all().iter().flat_map(|board| board.panels()).count());
    for (place, panel) in panels.into_iter().enumerate() {
        let id = panel["id"].as_str().unwrap();
        // Each panel over the shortest range, and over one of the others.
        for range in [ranges[0], ranges[1 + place % (ranges.len() - 1)]] {
            let answer = client.get(&format!("/panels/{id}?range={range}")).await.unwrap();
            assert_eq!((answer.status, &answer.body["range"]), (200, &json!(range)), "{id}: {}", answer.text);
            let series = answer.body["series"].as_array().unwrap();
            let mut points = series.iter().flat_map(|series| series["points"].as_array().unwrap());
            if range == ranges[0] && panel["source"] == "services" {
                assert!(points.any(|point| point[1].is_number()), "{id}: {}", answer.text);
            }
        }
    }
    for (path, status, code) in [
        ("/panels/nothing", 404, "not_found"),
        ("/panels/flow?range=2h", 400, "malformed_json"),
        ("/panels/flow?range=5m&range=1h", 400, "malformed_json"),
        ("/panels/flow?query=up", 400, "unknown_field"),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{path}");
    }
    let posted = client.post("/panels/flow", &json!({})).await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
}

/// Every port answers while all else goes on, and not with too much.
async fn check_scrapes(system: &System) {
    for role in Role::ALL {
        let client = Client::new(system.config.listeners(role).1[0]);
        let answer = client.get("/metrics").await.unwrap();
        let series = answer.text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(answer.status == 200 && (1..2_000).contains(&series), "{role}: {series} series");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_rule_has_data_and_counts_what_was_sent() {
    let mut system = System::prepare(&QUICK).await;
    let prometheus = prometheus(&system).await;
    system.config.telemetry.prometheus_url = prometheus.url();
    system.start_roles(Role::STAGES).await;
    system.start_gateway().await;
    system
        .open(&[("S", "USD", "90000000"), ("D", "USD", "0"), ("E", "EUR", "0"), ("POOR", "USD", "0")])
        .await;
    // Rates of the committed day do not age: this one does.
    let rates = system.jetstream().await.get_key_value("fx_rates").await.unwrap();
    rates.put("EUR.USD", "1.0823".into()).await.unwrap();
    let (client, is_over, payments) = (system.client(), AtomicBool::new(false), AtomicUsize::new(0));
    let load = Load { client, is_over, payments };
    let checks = async {
        check_every_expression(&prometheus).await;
        check_panels(&load.client).await;
        check_scrapes(&system).await;
        load.is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load.run(), checks);
    let sent = load.payments.load(Ordering::Relaxed).to_string();
    let counted =
        format!(r#"sum({}{{service="gateway",route="/payments",method="POST"}})"#, metric::REQUESTS.name);
    prometheus.until(&counted, |result| result[0]["value"][1] == sent.as_str()).await;
    for target in prometheus.targets().await.as_array().unwrap() {
        assert_eq!(target["health"], "up", "{target}");
    }
    let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).await;
    assert_eq!(firing, json!([]), "a system under a light load that is well");
}

/// The names of the alerts that fire.
async fn firing(prometheus: &TestPrometheus) -> BTreeSet<String> {
    let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).await;
    let names = firing.as_array().unwrap().iter().map(|alert| &alert["metric"]["alertname"]);
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

async fn until_fires(prometheus: &TestPrometheus, alert: &str, fires: bool) {
    let expression = format!(r#"ALERTS{{alertstate="firing",alertname="{alert}"}}"#);
    prometheus.until(&expression, |result| has_data(result) == fires).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_violation_fires_its_alerts_until_it_is_resolved() {
    let system = System::start(&QUICK).await;
    system.open(&[("S", "USD", "100")]).await;
    let prometheus = prometheus(&system).await;
    prometheus.until(metric::INVARIANT_VIOLATIONS.name, has_data).await;
    // Only who may do anything can break the books at all.
    system
        .sql(
            "INSERT INTO entries (tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after, posted_at) \
             VALUES ('default', 'S', 2, 'deposit', 'from nowhere', 'USD', 7, 10007, clock_timestamp())",
        )
        .await;
    for alert in ["InvariantViolated", "LedgerImbalanced"] {
        until_fires(&prometheus, alert, true).await;
    }
    let imbalance = format!(r#"{}{{currency="USD"}} == 7"#, metric::IMBALANCE.name);
    assert!(has_data(&prometheus.query(&imbalance).await));
    system.sql("UPDATE audit_findings SET resolved_at = clock_timestamp()").await;
    for alert in ["InvariantViolated", "LedgerImbalanced"] {
        until_fires(&prometheus, alert, false).await;
    }
}

/// Roles run apart, so that one of them can stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_stops_for_a_minute_is_told_of_until_it_has_caught_up() {
    if std::env::var_os("KILAT_DEEP").is_none() {
        return;
    }
    let mut system = System::prepare(&QUICK).await;
    let others: Vec<Role> = Role::STAGES.iter().copied().filter(|role| *role != Role::Fx).collect();
    system.start_roles(&others).await;
    let fx = system.launch_roles(&[Role::Fx]);
    system.start_gateway().await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;
    let prometheus = prometheus(&system).await;
    let client = system.client();
    client.post("/payments", &payment("before", "S", "D", "USD", "1")).await;
    system.ended("before").await;
    fx.stop().await;
    let stopped_at = std::time::Instant::now();
    for number in 0..20 {
        client.post("/payments", &payment(&format!("P{number}"), "S", "D", "USD", "1")).await;
    }
    for alert in ["StageStopped", "BacklogOld"] {
        until_fires(&prometheus, alert, true).await;
        eprintln!("{alert} fires after {:?}", stopped_at.elapsed());
    }
    // A minute is what is tested.
    tokio::time::sleep(Duration::from_secs(60).saturating_sub(stopped_at.elapsed())).await;
    eprintln!("before fx is back: {:?}", firing(&prometheus).await);
    let fx = system.launch_roles(&[Role::Fx]);
    system.ended("P19").await;
    let back_at = std::time::Instant::now();
    for alert in ["StageStopped", "BacklogOld", "TargetDown"] {
        until_fires(&prometheus, alert, false).await;
        eprintln!("{alert} is over after {:?}", back_at.elapsed());
    }
    fx.stop().await;
}
