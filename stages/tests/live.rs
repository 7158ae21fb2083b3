//! `/live`: every role and the traffic are seen there, what is killed is missed at once, and nobody is asked while
//! nobody looks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod common;

use common::listener::Listener;
use common::processes::{self, Process};
use common::{PATIENCE, System, payment};
use futures::StreamExt;
use wire::live::LiveStage;
use wire::{LiveReport, Role, Subject};

const SETTINGS: [&str; 2] = ["telemetry.observe_every_ms=50", "telemetry.audit_after_ms=300"];

/// What is killed is missed within two rounds; an event may have been on its way.
const EVENTS_UNTIL_MISSED: usize = 4;

/// Someone who looks.
struct Onlooker(Listener);

impl Onlooker {
    async fn of(system: &System) -> Onlooker {
        let listener = Listener::open(system.config.gateway.ports[0], "/live", &[]).await.unwrap();
        assert_eq!(listener.status(), 200);
        assert_eq!(listener.headers()["content-type"], "text/event-stream");
        Onlooker(listener)
    }

    /// The next report; nothing once the stream has ended.
    async fn next(&mut self) -> Option<LiveReport> {
        self.0.next().await.map(|event| serde_json::from_value(event.data).unwrap())
    }

    /// The first event that is as awaited, and how many were not.
    async fn until(&mut self, what: &str, is_awaited: impl Fn(&LiveReport) -> bool) -> (LiveReport, usize) {
        for before in 0..PATIENCE.as_secs() as usize {
            let report = self.next().await.expect(what);
            if is_awaited(&report) {
                return (report, before);
            }
        }
        panic!("never seen: {what}");
    }
}

fn is_up(report: &LiveReport, role: Role) -> bool {
    report.roles.iter().any(|row| row.role == role && row.is_up)
}

fn all_are_up(report: &LiveReport) -> bool {
    report.broker && Role::ALL.into_iter().all(|role| is_up(report, role))
}

fn stage<'r>(report: &'r LiveReport, name: &str) -> &'r LiveStage {
    report.stages.iter().find(|stage| stage.stage == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_seen_and_a_stage_that_is_killed_is_missed_at_once() {
    let mut system = System::prepare(&SETTINGS).await;
    let others: Vec<Role> = Role::STAGES.iter().copied().filter(|role| *role != Role::Fx).collect();
    system.start_roles(&others).await;
    system.start_gateway().await;
    let settings = processes::settings(&system, &[]);
    let first = Process::stages("fx", &settings);
    processes::ready(&system, Role::Fx).await;
    system.open(&[("S", "USD", "1000"), ("D", "USD", "0")]).await;

    let mut listener = Onlooker::of(&system).await;
    let (report, _) = listener.until("every role is up", all_are_up).await;
    assert!(report.roles.iter().all(|row| row.instances == 1), "{report:?}");
    assert!(report.stages.iter().all(|stage| stage.is_up), "{report:?}");
    let client = system.client();
    for number in 0..5 {
        let body = payment(&format!("P{number}"), "S", "D", "USD", "1");
        assert_eq!(client.post("/payments", &body).await.status, 202);
    }
    let moves = |report: &LiveReport| {
        report.settled_per_s.is_some_and(|rate| rate > 0.0) && report.settle_p99_s.is_some()
    };
    let (report, _) = listener.until("payments settle", moves).await;
    assert!(report.accepted_per_s > Some(0.0) && report.accept_p99_s.is_some(), "{report:?}");
    for name in ["gateway", "risk", "fx", "reserve", "settle"] {
        let stage = stage(&report, name);
        assert!(stage.per_s > Some(0.0) && stage.batch >= Some(1.0) && stage.p99_s.is_some(), "{stage:?}");
    }
    let is_green = |report: &LiveReport| {
        let currencies = &report.money.currencies;
        report.money.is_audited && !currencies.is_empty() && currencies.iter().all(|each| each.is_conserved)
    };
    let (report, _) = listener.until("the money is where it belongs", is_green).await;
    assert_eq!((report.money.violations, report.money.currencies[0].currency.as_str()), (Some(0), "USD"));

    drop(first);
    let (report, before) = listener.until("fx is missed", |report| !is_up(report, Role::Fx)).await;
    assert!(before < EVENTS_UNTIL_MISSED, "{before} events showed it still");
    let ups: Vec<&str> = report.stages.iter().filter(|row| row.is_up).map(|row| row.stage.as_str()).collect();
    assert_eq!(ups, ["gateway", "risk", "reserve", "settle", "settle_rejected"]);
    assert_eq!(client.post("/payments", &payment("P9", "S", "D", "USD", "1")).await.status, 202);
    listener.until("the payment waits for fx", |report| stage(report, "fx").lag == Some(1)).await;

    let _again = Process::stages("fx", &settings);
    listener.until("fx is back", |report| all_are_up(report) && stage(report, "fx").lag == Some(0)).await;
    system.ended("P9").await;
    system.stop().await;
    while listener.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_while_nobody_looks_and_the_broker_may_come_back() {
    let system = System::start(&SETTINGS).await;
    let outside = async_nats::connect(system.nats.url()).await.unwrap();
    let mut asked = outside.subscribe(Subject::figures_wanted().into_string()).await.unwrap();
    outside.flush().await.unwrap();

    let mut listeners = [Onlooker::of(&system).await, Onlooker::of(&system).await];
    for listener in &mut listeners {
        listener.until("every role is up", all_are_up).await;
    }
    asked.next().await.expect("somebody looks, so roles are asked");

    system.nats.kill().await;
    let is_away = |report: &LiveReport| !report.broker && report.roles.iter().all(|row| !row.is_up);
    for listener in &mut listeners {
        let (report, _) = listener.until("the broker is away", is_away).await;
        assert!(!report.money.is_audited, "{report:?}");
    }
    system.nats.restart().await;
    for listener in &mut listeners {
        listener.until("every role is up again", all_are_up).await;
    }

    drop(listeners);
    // A round notices that nobody is there, and none comes after it: silence has no event to wait for.
    while tokio::time::timeout(QUIET, asked.next()).await.is_ok() {}
    let mut listener = Onlooker::of(&system).await;
    listener.until("every role is up for whoever comes later", all_are_up).await;
    asked.next().await.expect("and roles are asked again");
}

/// Longer than rounds are apart.
const QUIET: std::time::Duration = std::time::Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_records_nothing_says_so_and_turns_away_who_finds_no_place() {
    let settings = [SETTINGS[0], SETTINGS[1], "telemetry.enabled=false", "gateway.event_streams_max=1"];
    let system = System::start(&settings).await;
    let mut listener = Onlooker::of(&system).await;
    let (report, _) = listener.until("every role is up", all_are_up).await;
    let numbers = [report.accepted_per_s, report.settled_per_s, report.accept_p99_s, report.settle_p99_s];
    assert_eq!((numbers, report.in_flight, report.money.is_audited), ([None; 4], None, false));
    let client = system.client();
    let refused = client.get("/live").await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, "overloaded"));
    let refused = client.send("POST", "/live", &[], Vec::new()).await.unwrap();
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
}
