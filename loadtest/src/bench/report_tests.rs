use super::*;
use crate::bench::settings::tests::{settings, versions};
use crate::replay::latencies::Quantiles;
use serde_json::Value;

/// A run of round figures.
pub(crate) fn run(settled_per_s: f64, cpu_us: f64) -> Run {
    let quantiles =
        |p50| Quantiles { p50: Some(p50), p95: Some(p50 * 2.0), p99: Some(p50 * 3.0), max: Some(p50 * 4.0) };
    let named = |names: &[&str], value: f64| names.iter().map(|name| ((*name).to_owned(), value)).collect();
    Run {
        payments: 60_000,
        settled_per_s,
        accept_ms: quantiles(1.2),
        settle_ms: quantiles(3.4),
        cpu_us_per_payment: cpu_us,
        machine_us_per_payment: cpu_us + 10.0,
        cpu_us_by_process: named(&["gateway", "loadtest", "nats-server", "postgres", "stages"], cpu_us / 5.0),
        rss_mb: named(&["gateway", "loadtest", "nats-server", "postgres", "stages"], 40.0),
        messages_per_payment: 12.5,
        wal_bytes_per_payment: 4_000.0,
        intake_stores_per_payment: 0.02,
        disk_flushes_per_payment: Some(0.1),
        mean_batch: named(&["risk", "settle"], 300.0),
        ..Run::default()
    }
}

pub(crate) fn pair(tps: f64, pgbench_us: f64, settled_per_s: f64, cpu_us: f64) -> Pair {
    let pgbench = Transactions {
        tps,
        transactions: 60_000,
        cpu_us: pgbench_us,
        cpu_us_by_process: [("postgres".to_owned(), pgbench_us)].into(),
    };
    Pair::of(pgbench, 165.0, (650, 3_250), 65_000, run(settled_per_s, cpu_us))
}

/// A whole benchmark of round figures.
pub(crate) fn report() -> Report {
    let uniform = Uniform {
        round_trips_per_payment: Some(0.04),
        ..Uniform::of(vec![
            pair(3_000.0, 320.0, 6_000.0, 200.0),
            pair(4_000.0, 300.0, 7_000.0, 180.0),
            pair(2_000.0, 400.0, 6_500.0, 220.0),
        ])
    };
    let hot = |rates: [f64; 3]| {
        Compared::to(&uniform.runs, rates.map(|settled_per_s| run(settled_per_s, 200.0)).into())
    };
    let held = |rate, cpu_us| Held { rate, run: run(rate, cpu_us) };
    Report {
        quick: false,
        pgbench_tps: 3_000.0,
        pgbench_cpu_us: 320.0,
        pgbench_cpu_us_by_process: [("postgres".to_owned(), 280.0), ("pgbench".to_owned(), 40.0)].into(),
        hot_destination: hot([6_000.0, 7_700.0, 5_200.0]),
        batch_api: hot([12_000.0, 14_000.0, 6_500.0]),
        hot_source: hot([4_800.0, 5_600.0, 6_500.0]),
        half_load: held(3_250.0, 250.0),
        small_load: [("200".to_owned(), held(200.0, 950.0)), ("1000".to_owned(), held(1_000.0, 450.0))]
            .into(),
        idle_cpu_us_per_s: [("nats-server".to_owned(), 1_500.0), ("stages".to_owned(), 500.0)].into(),
        knee_per_s: 5_000.0,
        knee_ratio_to_uniform: 0.769,
        knee_probes: vec![Probe { held: held(3_250.0, 250.0), is_held: true }],
        soak: None,
        uniform,
        fdatasync_us: 165.0,
        settings: settings("on", "on", "on", r#"{"sync_always":true}"#),
        versions: versions(),
        verified: true,
        problems: Vec::new(),
    }
}

/// The keys of the contract (DESIGN.md, section 9) that must be there, with what they hold.
const KEYS: [&str; 31] = [
    "/pgbench_tps",
    "/pgbench_cpu_us",
    "/uniform/settled_per_s",
    "/uniform/ratio_to_pgbench",
    "/uniform/cpu_us_per_payment",
    "/uniform/cpu_ratio_to_pgbench",
    "/uniform/rss_mb/stages",
    "/knee_probes/0/rate",
    "/hot_destination/settled_per_s",
    "/hot_destination/ratio_to_uniform",
    "/batch_api/settled_per_s",
    "/batch_api/ratio_to_pgbench",
    "/batch_api/ratio_to_uniform",
    "/hot_source/settled_per_s",
    "/hot_source/ratio_to_uniform",
    "/half_load/accept_ms/p50",
    "/half_load/settle_ms/p99",
    "/small_load/200/accept_ms/p50",
    "/small_load/200/settle_ms/p50",
    "/small_load/200/cpu_us_per_payment",
    "/small_load/1000/accept_ms/p50",
    "/small_load/1000/settle_ms/p50",
    "/small_load/1000/cpu_us_per_payment",
    "/knee_per_s",
    "/fdatasync_us",
    "/settings/fsync",
    "/settings/synchronous_commit",
    "/settings/full_page_writes",
    "/settings/sync_interval",
    "/verified",
    "/uniform/runs/0/settled_per_s",
];

#[test]
fn the_keys_of_the_contract_are_there() {
    let report: Value = serde_json::to_value(report()).unwrap();
    for key in KEYS {
        let value = report.pointer(key).unwrap_or(&Value::Null);
        assert!(value.is_number() || value.is_string() || value.is_boolean(), "{key}: {value}");
    }
    assert_eq!(report.pointer("/verified"), Some(&Value::Bool(true)));
    assert_eq!(report.pointer("/settings/sync_interval"), Some(&Value::from("always")));
}

#[test]
fn ratios_are_those_of_the_pairs_and_not_of_the_medians() {
    let uniform = report().uniform;
    // 2.0, 1.75 and 3.25; the medians alone would say 6,500 over 3,000.
    assert_eq!((uniform.settled_per_s, uniform.ratio_to_pgbench), (6_500.0, 2.0));
    // 0.625, 0.6 and 0.55.
    assert_eq!((uniform.cpu_us_per_payment, uniform.cpu_ratio_to_pgbench), (200.0, 0.6));
    assert_eq!(uniform.spread["ratio_to_pgbench"], Spread { min: 1.75, max: 3.25 });
    // 650 flushes and 3,250 transactions of 65,000 payments, and the intake's stores.
    assert_eq!((uniform.fsyncs_per_payment, uniform.transactions_per_payment), (0.03, 0.05));
    assert_eq!((uniform.fsyncs["intake"], uniform.fsyncs["disk_flushes"]), (0.02, 0.1));
    let report = report();
    // 1, 1.1 and 0.8 of the uniform run before, 2, 1.925 and 2.6 of its pgbench.
    let hot = &report.hot_destination;
    assert_eq!((hot.settled_per_s, hot.ratio_to_uniform, hot.ratio_to_pgbench), (6_000.0, 1.0, 2.0));
    assert_eq!(hot.spread, Spread { min: 0.8, max: 1.1 });
    assert_eq!(Uniform::of(Vec::new()).ratio_to_pgbench, 0.0);
}
