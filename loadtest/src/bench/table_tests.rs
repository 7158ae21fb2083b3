use super::*;
use crate::bench::figures::Named;
use crate::bench::report::tests::report;
use crate::bench::soak::Soak;

#[test]
fn every_figure_has_its_line_and_its_bound() {
    let text = render(&report());
    let rows = [
        ("pgbench", "3000 tps", ""),
        ("uniform", "6,500/s", ">= 2 (aim 2.5) ok"),
        ("CPU of a payment", "200 us", "<= 0.55 (aim 0.4) short"),
        ("all of the machine", "210 us", ""),
        ("WAL a payment", "4000 B", ""),
        ("round trips a payment", "0.040", ""),
        ("memory of nats-server", "40 MB", ""),
        ("memory of stages", "40 MB", "<= 100 MB ok"),
        ("hot destination", "6,000/s", ">= 0.95 ok"),
        ("hot source", "5,600/s", ">= 0.95 short"),
        ("batches of 100", "12,000/s", ">= 3.5 (aim) ok"),
        ("idle", "2000 us/s", ""),
        ("200 a second", "200/s", "<= 1.33 ms p50 ok"),
        ("1000 a second", "1,000/s", ""),
        ("knee", "5,000/s", ">= 0.8 short"),
    ];
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    for (what, figure, bound) in rows {
        let start = words(&format!("{what} {figure} {bound}"));
        let found = lines.iter().find(|line| line.starts_with(&start));
        let line = found.unwrap_or_else(|| panic!("no line starts with {start:?} in\n{text}"));
        assert!(!bound.is_empty() || !line.contains("<=") && !line.contains(">="), "{line}");
    }
    // At 200 a second settlement and cost have bounds too.
    for part in ["<= 3.66 ms p50 ok settle", "<= 900 us short", "<= 500 us ok"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} is not in\n{text}");
    }
    assert!(text.contains("fsync on, synchronous_commit on") && text.ends_with("verified: true\n"), "{text}");
}

#[test]
fn a_quick_run_a_soak_and_what_is_wrong_are_told() {
    let soak = Soak {
        rate: 5_000.0,
        payments: 1_000_000,
        settle_p99_ms: 80.0,
        seconds: (0..=18).map(|look| look * 10).collect(),
        rss_mb: [("stages".to_owned(), (0..=18).map(f64::from).collect())].into(),
        growth_mb: Named::from([("stages".to_owned(), 6.0)]),
    };
    let text = render(&Report {
        quick: true,
        soak: Some(soak),
        verified: false,
        problems: vec!["uniform 1: 3 payments lost".to_owned()],
        ..report()
    });
    for part in [
        "QUICK",
        "1,000,000 payments in 3 minutes at 5,000/s",
        "stages       0 6 12 18   growth +6.0",
        "PROBLEM uniform 1: 3 payments lost",
        "verified: FALSE",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
