//! What makes a dashboard one that people can work with, after Grafana's dashboard-linter.

use crate::promql::{Selector, of_the_table, parse};
use serde_json::Value;
use signals::panel::Source;
use signals::{Kind, dashboards, grafana, rules};
use std::collections::BTreeSet;

/// Series that panels ask for and that are not ours: of Prometheus, of its client library, of its exporters.
const EXTERNAL: [(&str, Source); 18] = [
    ("up", Source::Services),
    ("ALERTS", Source::Services),
    ("process_cpu_seconds_total", Source::Services),
    ("process_resident_memory_bytes", Source::Services),
    ("process_open_fds", Source::Services),
    ("process_max_fds", Source::Services),
    ("process_start_time_seconds", Source::Services),
    ("node_cpu_seconds_total", Source::NodeExporter),
    ("node_memory_MemAvailable_bytes", Source::NodeExporter),
    ("node_memory_MemTotal_bytes", Source::NodeExporter),
    ("node_filesystem_avail_bytes", Source::NodeExporter),
    ("node_filesystem_size_bytes", Source::NodeExporter),
    ("node_filesystem_readonly", Source::NodeExporter),
    ("node_disk_io_time_seconds_total", Source::NodeExporter),
    ("pg_stat_activity_count", Source::PostgresExporter),
    ("pg_stat_database_tup_inserted", Source::PostgresExporter),
    ("pg_stat_database_tup_updated", Source::PostgresExporter),
    ("pg_locks_count", Source::PostgresExporter),
];

/// What Prometheus itself makes of its rules, as it does what they record: of all jobs and instances, so that a
/// choice would find nothing.
const FIRING: &str = "ALERTS";

/// Counters of exporters whose names do not say so.
const COUNTERS_WITHOUT_ENDING: [&str; 2] = ["pg_stat_database_tup_inserted", "pg_stat_database_tup_updated"];

/// Grafana's ids of the units that are in use.
const UNITS: [&str; 7] = ["short", "ops", "reqps", "s", "percentunit", "bytes", "Bps"];

/// The only exceptions: their questions stand as the seed documents wrote them.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("request-rate", "of the seed documents: over one minute, of all jobs"),
    ("error-rate", "of the seed documents: over one minute, of all jobs"),
    ("latency-p95", "of the seed documents: over one minute, of all jobs"),
    ("requests-by-status", "goes with the seed documents' three: over one minute, of all jobs"),
];

/// What is wrong with an expression.
fn findings(expression: &str, source: Source, is_excepted: bool) -> Vec<String> {
    let (selectors, grouped_by) = parse(expression);
    let mut findings: Vec<String> =
        selectors.iter().flat_map(|selector| selector_findings(selector, source, is_excepted)).collect();
    // Recorded and external series have labels that no table of ours lists.
    let metrics: Option<Vec<_>> = selectors.iter().map(|selector| of_the_table(&selector.name)).collect();
    for label in grouped_by.iter().filter(|_| !selectors.is_empty()) {
        let is_known = metrics.as_ref().is_none_or(|metrics| {
            ["job", "instance", "le"].contains(&label.as_str())
                || metrics.iter().any(|metric| metric.labels.contains(&label.as_str()))
        });
        if !is_known {
            findings.push(format!("nothing has the label {label}"));
        }
    }
    if selectors.is_empty() {
        findings.push("asks for nothing".to_owned());
    }
    findings
}

fn selector_findings(selector: &Selector, source: Source, is_excepted: bool) -> Vec<String> {
    let name = selector.name.as_str();
    let metric = of_the_table(name);
    let external = EXTERNAL.iter().find(|(external, _)| *external == name);
    let is_recorded =
        rules::recordings().into_iter().flat_map(|group| group.rules).any(|rule| rule.record == name);
    let made_by = match (metric, external) {
        (Some(_), _) => Some(Source::Services),
        (None, Some((_, source))) => Some(*source),
        (None, None) => is_recorded.then_some(Source::Services),
    };
    let is_counter = match metric {
        Some(metric) => metric.kind != Kind::Gauge,
        None => name.ends_with("_total") || COUNTERS_WITHOUT_ENDING.contains(&name),
    };
    let labels_are_known = metric.is_none_or(|metric| {
        let mut labels = selector.labels();
        labels.all(|label| ["job", "instance", "le"].contains(&label) || metric.labels.contains(&label))
    });
    let chosen = [r#"job=~"$job""#, r#"instance=~"$instance""#];
    let is_of_rules = is_recorded || name == FIRING;
    let is_chosen = chosen.iter().all(|matcher| selector.matchers.iter().any(|own| own == matcher));
    let window = selector.range.as_deref();
    let rows = [
        (made_by.is_none(), "is nobody's"),
        (made_by.is_some_and(|made_by| made_by != source), "is not made by the panel's source"),
        (is_counter != window.is_some(), "a counter is looked at over a window, a gauge as it is"),
        (!labels_are_known, "has no such label"),
        (!is_excepted && !is_of_rules && !is_chosen, "lacks the choice of job and instance"),
        (is_of_rules && is_chosen, "is made of all jobs and instances"),
        (!is_excepted && window.is_some_and(|window| window != "$__rate_interval"), "has a fixed window"),
    ];
    rows.iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, reason)| format!("{name} {reason}")).collect()
}

#[test]
fn expressions_follow_the_rules() {
    let mut wrong = Vec::new();
    for dashboard in dashboards::all() {
        for panel in dashboard.panels() {
            let is_excepted = EXCEPTIONS.iter().any(|(id, _)| *id == panel.id);
            for query in &panel.queries {
                let found = findings(query.expression.in_grafana(), panel.source, is_excepted);
                wrong.extend(found.iter().map(|reason| format!("{}: {reason}", panel.id)));
                let names = query.legend.split("{{").skip(1).filter_map(|part| part.split("}}").next());
                let (_, grouped_by) = parse(query.expression.in_grafana());
                let lost = names.filter(|name| !grouped_by.iter().any(|label| label == name));
                wrong.extend(lost.map(|name| format!("{}: the legend's {name} is not grouped by", panel.id)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let asked = dashboards::all()
        .iter()
        .flat_map(|dashboard| dashboard.panels())
        .flat_map(|panel| &panel.queries)
        .map(|query| query.expression.in_grafana().to_owned())
        .collect::<Vec<_>>()
        .concat();
    for (name, _) in EXTERNAL {
        assert!(asked.contains(name), "no panel asks for {name}");
    }
    let excepted: Vec<&str> = EXCEPTIONS.iter().map(|(id, _)| *id).collect();
    assert_eq!(excepted, dashboards::SEED_PANELS);
}

#[test]
fn what_is_wrong_with_an_expression_is_found() {
    let choice = r#"job=~"$job",instance=~"$instance""#;
    let rows = [
        (format!("rate(payment_requests_total{{{choice}}}[$__rate_interval])"), vec![]),
        (format!("payment_requests_total{{{choice}}}"), vec!["a counter is looked at"]),
        (format!("rate(payment_requests_total{{{choice}}}[1m])"), vec!["has a fixed window"]),
        (r#"stage_halted{job=~"$job"}"#.to_owned(), vec!["lacks the choice"]),
        (format!("stage_halted{{stge=\"fx\",{choice}}}"), vec!["has no such label"]),
        (format!("stage_stopped{{{choice}}}"), vec!["is nobody's"]),
        (format!("node_cpu_seconds_total{{{choice}}}"), vec!["not made by", "a counter"]),
        (format!("max by (shard) (stage_halted{{{choice}}})"), vec!["nothing has the label shard"]),
        ("vector(1)".to_owned(), vec!["asks for nothing"]),
        (r#"count(ALERTS{alertstate="firing"}) or vector(0)"#.to_owned(), vec![]),
        (format!("ALERTS{{{choice}}}"), vec!["is made of all jobs"]),
        (format!("kilat:payments_late:ratio_rate5m{{{choice}}}"), vec!["is made of all jobs"]),
    ];
    for (expression, expected) in rows {
        let found = findings(&expression, Source::Services, false);
        assert_eq!(found.len(), expected.len(), "{expression}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{expression}: {found}");
        }
    }
}

/// Looks at what is written, not at the table that it is written from.
#[test]
fn dashboards_follow_the_rules() {
    for dashboard in dashboards::all() {
        let model: Value = serde_json::from_str(&grafana::file(&dashboard)).unwrap();
        for (pointer, expected) in [
            ("/editable", Value::from(false)),
            ("/id", Value::Null),
            ("/graphTooltip", Value::from(1)),
            ("/refresh", Value::from("10s")),
            ("/time/from", Value::from("now-30m")),
            ("/templating/list/0/type", Value::from("datasource")),
            ("/templating/list/1/definition", Value::from("label_values(up, job)")),
            ("/templating/list/2/definition", Value::from("label_values(up{job=~\"$job\"}, instance)")),
            ("/links/0/tags", model["tags"].clone()),
        ] {
            assert_eq!(model.pointer(pointer), Some(&expected), "{} {pointer}", dashboard.uid);
        }
        assert!(model.get("version").is_none(), "Grafana counts versions itself");
        let restarts = model["annotations"]["list"][0]["expr"].as_str().unwrap();
        assert!(findings(restarts, Source::Services, false).is_empty(), "{restarts}");
        for panel in model["panels"].as_array().unwrap() {
            check_panel(dashboard.uid, panel);
        }
    }
}

fn check_panel(dashboard: &str, panel: &Value) {
    let text = |pointer: &str| panel.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let place = format!("{dashboard}: {}", text("/title"));
    assert!(!text("/title").is_empty(), "{place}");
    if text("/type") == "row" {
        return;
    }
    assert!(text("/description").ends_with(['?', '.']), "{place}: which question does it answer?");
    assert_eq!(text("/datasource/uid"), "${datasource}", "{place}");
    assert!(UNITS.contains(&text("/fieldConfig/defaults/unit")), "{place}");
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{place}");
    let letters: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
    assert_eq!(letters.len(), targets.len(), "{place}");
    for target in targets {
        assert_eq!(target["datasource"], panel["datasource"], "{place}");
        assert!(target["legendFormat"].as_str().is_some_and(|legend| !legend.is_empty()), "{place}");
    }
    let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().unwrap();
    let values: Vec<f64> = steps.iter().skip(1).filter_map(|step| step["value"].as_f64()).collect();
    assert!(steps[0]["value"].is_null() && values.is_sorted(), "{place}");
}

#[test]
fn panels_have_ids_of_their_own_and_fill_their_rows() {
    let all = dashboards::all();
    let ids: Vec<&str> = all.iter().flat_map(|dashboard| dashboard.panels()).map(|panel| panel.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for id in ids {
        assert!(
            id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{id}"
        );
    }
    for dashboard in &all {
        let model: Value = serde_json::from_str(&grafana::file(dashboard)).unwrap();
        let panels = model["panels"].as_array().unwrap();
        let side = |panel: &Value, side: &str| panel["gridPos"][side].as_u64().unwrap();
        let numbers: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(numbers.len(), panels.len());
        let (mut x, mut y) = (0, 0);
        for panel in panels {
            assert_eq!((side(panel, "x"), side(panel, "y")), (x, y), "{}", panel["title"]);
            x += side(panel, "w");
            if x == 24 {
                (x, y) = (0, y + side(panel, "h"));
            }
        }
        assert_eq!(x, 0, "{} ends with a gap", dashboard.uid);
    }
}
