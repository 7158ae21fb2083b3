use super::*;
use crate::metric::{self, Metric};
use wire::figures::{Figure, Series};

type Labels = &'static [(&'static str, &'static str)];

const ACCEPTED: Labels =
    &[("service", "gateway"), ("route", "/payments"), ("method", "POST"), ("status", "OK"), ("code", "202")];
const RISK: Labels = &[("stage", "risk")];
const NONE: Labels = &[];

fn value(metric: Metric, labels: Labels, value: f64) -> Series {
    series(metric, labels, Figure::Value(value))
}

/// A histogram of so many observations, each of this size.
fn observed(metric: Metric, labels: Labels, count: u64, each: f64) -> Series {
    let metric::Kind::Histogram(bounds) = metric.kind else { panic!("{} is none", metric.name) };
    let counts = bounds.iter().map(|bound| if each <= *bound { count } else { 0 }).chain([count]).collect();
    series(metric, labels, Figure::Histogram { counts, sum: count as f64 * each })
}

fn series(metric: Metric, labels: Labels, figure: Figure) -> Series {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    Series { name: metric.name.to_owned(), labels, figure }
}

/// What happens: a player tells its figures so many milliseconds after the start.
fn hear(live: &mut Live, at_ms: u64, role: Role, instance: &str, series: Vec<Series>) {
    let figures = RoleFigures { role, instance: instance.to_owned(), at: Timestamp::default(), series };
    live.heard(Duration::from_millis(at_ms), &figures);
}

fn report(live: &mut Live, at_ms: u64) -> LiveReport {
    live.report(Duration::from_millis(at_ms), Timestamp::default(), true)
}

fn stage(report: &LiveReport, name: &str) -> LiveStage {
    report.stages.iter().find(|stage| stage.stage == name).unwrap().clone()
}

fn instances(report: &LiveReport, role: Role) -> u64 {
    report.roles.iter().find(|row| row.role == role).map(|row| row.instances).unwrap()
}

#[test]
fn every_role_and_stage_is_there_in_the_order_of_flow_and_what_is_unknown_is_null() {
    let report = report(&mut Live::default(), 0);
    let stages: Vec<&str> = report.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["gateway", "risk", "fx", "reserve", "settle", "settle_rejected"]);
    assert_eq!(report.roles.iter().map(|row| row.role).collect::<Vec<_>>(), Role::ALL);
    assert!(report.roles.iter().all(|row| !row.is_up) && report.stages.iter().all(|stage| !stage.is_up));
    let unknown = [report.accepted_per_s, report.settled_per_s, report.failed_per_s, report.accept_p99_s];
    assert_eq!((unknown, report.in_flight, report.dead_letters), ([None; 4], None, None));
    assert!(!report.money.is_audited && report.money.currencies.is_empty());
}

#[test]
fn rates_are_of_the_last_seconds_and_summed_over_players_that_were_heard_twice() {
    // Each row: who tells how much at which time, and what is known of the rate right after.
    let rows = [
        ("a", 0, 1_000.0, None),
        ("a", 1_000, 1_010.0, Some(10.0)),
        // A second gateway counts from its own next round.
        ("b", 1_100, 500.0, Some(10.0)),
        ("a", 2_000, 1_020.0, Some(10.0)),
        ("b", 2_100, 505.0, Some(15.0)),
        // The first is started again, with another name and nothing counted.
        ("c", 3_000, 7.0, Some(15.0)),
        ("b", 3_100, 510.0, Some(15.0)),
        ("c", 4_000, 27.0, Some(25.0)),
        ("b", 4_100, 515.0, Some(25.0)),
        // A window later only what happened in it counts.
        ("b", 9_700, 515.0, None),
        ("b", 10_700, 517.0, Some(2.0)),
    ];
    let mut live = Live::default();
    for (instance, at_ms, accepted, expected) in rows {
        let told = vec![value(metric::REQUESTS, ACCEPTED, accepted)];
        hear(&mut live, at_ms, Role::Gateway, instance, told);
        let report = report(&mut live, at_ms);
        assert_eq!(report.accepted_per_s, expected, "{instance} at {at_ms}");
        assert_eq!(stage(&report, "gateway").per_s, expected);
    }
}

#[test]
fn who_has_missed_two_rounds_is_not_up() {
    let mut live = Live::default();
    for (instance, at_ms) in [("a", 0), ("b", 0), ("b", 1_000)] {
        hear(&mut live, at_ms, Role::Risk, instance, vec![value(metric::STAGE_HALTED, RISK, 1.0)]);
    }
    for (at_ms, expected) in
        [(400, 2), (1_400, 2), (2_000, 1), (2_400, 1), (2_899, 1), (2_900, 0), (9_000, 0)]
    {
        let report = report(&mut live, at_ms);
        let risk = stage(&report, "risk");
        assert_eq!((instances(&report, Role::Risk), risk.is_up), (expected, expected > 0), "{at_ms}");
        assert_eq!(risk.halted, expected > 0, "{at_ms}");
    }
    hear(&mut live, 10_000, Role::Risk, "a", Vec::new());
    let away = live.report(Duration::from_millis(10_100), Timestamp::default(), false);
    assert!(!away.broker && away.roles.iter().all(|row| !row.is_up), "nobody is up without a broker");
}

#[test]
fn a_stage_and_the_end_of_payments_tell_what_they_did() {
    let mut live = Live::default();
    for (at_ms, batches, ends) in [(0, 10, 100), (1_000, 12, 104), (2_000, 14, 108)] {
        hear(
            &mut live,
            at_ms,
            Role::Risk,
            "risk",
            vec![
                observed(metric::STAGE_BATCH_SIZE, RISK, batches, 4.0),
                observed(metric::STAGE_DURATION, RISK, batches, 0.004),
            ],
        );
        let status = [("CAPTURED", ends), ("FAILED", ends / 2)];
        let ended = status.map(|(status, count)| {
            let mut ended = observed(metric::END_TO_END, NONE, count, 0.02);
            ended.labels.insert("status".to_owned(), status.to_owned());
            ended
        });
        hear(&mut live, at_ms, Role::Settle, "settle", ended.to_vec());
    }
    let report = report(&mut live, 2_000);
    let risk = stage(&report, "risk");
    assert_eq!((risk.per_s, risk.batch, risk.p99_s), (Some(8.0), Some(4.0), Some(0.004975)));
    assert_eq!((report.settled_per_s, report.failed_per_s), (Some(4.0), Some(2.0)));
    assert_eq!(report.settle_p99_s, Some(0.02485));
    let fx = stage(&report, "fx");
    assert_eq!((fx.per_s, fx.batch, fx.p99_s, fx.is_up), (None, None, None, false));

    // No traffic: the rates are known, quantiles have nothing to be of.
    for at_ms in [20_000, 21_000] {
        let told = vec![observed(metric::STAGE_BATCH_SIZE, RISK, 14, 4.0)];
        hear(&mut live, at_ms, Role::Risk, "risk", told);
    }
    let risk = stage(&self::report(&mut live, 21_000), "risk");
    assert_eq!((risk.per_s, risk.batch, risk.p99_s), (Some(0.0), None, None));
}

#[test]
fn where_nothing_is_recorded_a_role_is_up_and_its_numbers_are_unknown() {
    let mut live = Live::default();
    for (at_ms, role) in
        [(0, Role::Gateway), (0, Role::Janitor), (1_000, Role::Gateway), (1_000, Role::Janitor)]
    {
        hear(&mut live, at_ms, role, "one", Vec::new());
    }
    let report = report(&mut live, 1_000);
    assert_eq!((instances(&report, Role::Gateway), report.accepted_per_s), (1, None));
    assert_eq!((report.money.is_audited, report.money.violations, report.in_flight), (false, None, None));
}

#[test]
fn money_is_conserved_only_where_the_audit_vouches_for_it_now() {
    let janitor = |violations: Option<f64>, lag: Option<f64>, minor: f64| {
        let violations = violations.map(|count| value(metric::INVARIANT_VIOLATIONS, NONE, count));
        let lag = lag.map(|lag| value(metric::AUDIT_LAG, NONE, lag));
        let currencies = [
            value(metric::IMBALANCE, &[("currency", "IDR")], 0.0),
            value(metric::IMBALANCE, &[("currency", "USD")], minor),
        ];
        currencies.into_iter().chain(violations).chain(lag).collect::<Vec<_>>()
    };
    let behind = f64::from(crate::rules::money::AUDIT_BEHIND_SECONDS);
    let rows = [
        (janitor(Some(0.0), Some(1.5), 0.0), 400, true, [true, true]),
        (janitor(Some(0.0), Some(behind), 0.0), 400, true, [true, true]),
        (janitor(Some(0.0), Some(behind + 1.0), 0.0), 400, false, [false, false]),
        (janitor(Some(0.0), Some(1.5), -7.0), 400, true, [true, false]),
        (janitor(Some(1.0), Some(1.5), 0.0), 400, true, [false, false]),
        (janitor(None, Some(1.5), 0.0), 400, false, [false, false]),
        (janitor(Some(0.0), None, 0.0), 400, false, [false, false]),
        // The janitor does not answer any more.
        (janitor(Some(0.0), Some(1.5), 0.0), 2_400, false, [false, false]),
    ];
    for (place, (told, at_ms, is_audited, is_conserved)) in rows.into_iter().enumerate() {
        let mut live = Live::default();
        hear(&mut live, 0, Role::Janitor, "one", told);
        let first = report(&mut live, 0);
        assert_eq!(first.money.currencies.len(), if first.money.violations.is_some() { 2 } else { 0 });
        let money = report(&mut live, at_ms).money;
        let green: Vec<bool> = money.currencies.iter().map(|currency| currency.is_conserved).collect();
        assert_eq!(money.is_audited, is_audited, "row {place}");
        assert!(green.is_empty() || green == is_conserved, "row {place}: {money:?}");
    }
}

#[test]
fn of_several_janitors_the_worst_word_counts_and_lags_are_of_all_shards() {
    let told = |violations: f64, minor: f64, lags: [f64; 2]| {
        vec![
            value(metric::INVARIANT_VIOLATIONS, NONE, violations),
            value(metric::AUDIT_LAG, NONE, 1.0),
            value(metric::DEAD_LETTERS_OPEN, NONE, violations),
            value(metric::IMBALANCE, &[("currency", "USD")], minor),
            value(metric::STAGE_LAG, &[("stage", "risk"), ("shard", "0")], lags[0]),
            value(metric::STAGE_LAG, &[("stage", "risk"), ("shard", "1")], lags[1]),
            value(metric::STAGE_LAG, &[("stage", "fx"), ("shard", "0")], 1.0),
        ]
    };
    let mut live = Live::default();
    hear(&mut live, 0, Role::Janitor, "one", told(0.0, 3.0, [1.0, 2.0]));
    hear(&mut live, 0, Role::Janitor, "two", told(2.0, -5.0, [4.0, 3.0]));
    let now = report(&mut live, 400);
    assert_eq!((now.money.violations, now.dead_letters, now.in_flight), (Some(2), Some(2), Some(8)));
    assert_eq!(now.money.currencies[0].imbalance_minor, -5);
    let lags: Vec<Option<u64>> = now.stages.iter().map(|stage| stage.lag).collect();
    assert_eq!(lags, [None, Some(7), Some(1), None, None, None]);
    let later = report(&mut live, 5_000);
    assert_eq!((later.in_flight, later.dead_letters, later.money.violations), (None, None, None));
    assert_eq!(later.money.currencies.len(), 1, "what was known of currencies stays, without a vouch");
    assert!(!later.money.currencies[0].is_conserved && stage(&later, "risk").lag.is_none());
}

#[test]
fn whoever_tells_too_much_is_held_to_bounds() {
    let mut live = Live::default();
    for number in 0..INSTANCES_MAX + 10 {
        hear(&mut live, 0, Role::Risk, &format!("i{number}"), Vec::new());
    }
    for instance in ["", "a b", "x".repeat(INSTANCE_LENGTH_MAX + 1).as_str()] {
        hear(&mut live, 0, Role::Fx, instance, Vec::new());
    }
    let now = report(&mut live, 0);
    assert_eq!(
        (instances(&now, Role::Risk), instances(&now, Role::Fx)),
        (INSTANCES_MAX as u64, 0),
        "names that cannot be one are nobody's"
    );
    let most = f64::from(u32::MAX) * f64::from(u32::MAX);
    for at_ms in 0..1_000 {
        let told = vec![
            value(metric::REQUESTS, ACCEPTED, most * at_ms as f64),
            value(metric::REQUESTS, ACCEPTED, f64::INFINITY),
            observed(metric::REQUEST_DURATION, ACCEPTED, u64::MAX, 1.0),
        ];
        hear(&mut live, at_ms, Role::Gateway, "i1", told);
    }
    assert!(live.instances.values().all(|instance| instance.0.len() <= READINGS_MAX));
    report(&mut live, 1_000);
    report(&mut live, 20_000);
    assert!(live.instances.is_empty(), "who is not heard is forgotten");
}
