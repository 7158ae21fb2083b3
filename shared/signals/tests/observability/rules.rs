//! Recording and alert rules, and what belongs to them.

use crate::promql::{of_the_table, parse};
use crate::{folder, names, sorted};
use signals::rules::{Alert, Recording, alerts, recordings};
use std::collections::BTreeSet;

/// Series that the rules ask for and that are not ours.
const EXTERNAL: [&str; 4] =
    ["up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_filesystem_readonly"];

/// How a page asks Prometheus.
const ASKING: &str = "promtool query instant http://127.0.0.1:9090 '";

fn all_alerts() -> Vec<Alert> {
    alerts().into_iter().flat_map(|group| group.rules).collect()
}

fn all_recordings() -> Vec<Recording> {
    recordings().into_iter().flat_map(|group| group.rules).collect()
}

#[test]
fn rules_ask_for_series_that_exist() {
    let recorded: Vec<String> = all_recordings().into_iter().map(|rule| rule.record).collect();
    let expressions = all_alerts().into_iter().map(|alert| alert.expression);
    let mut asked = BTreeSet::new();
    for expression in expressions.chain(all_recordings().into_iter().map(|rule| rule.expression)) {
        let (selectors, _) = parse(&expression);
        assert!(!selectors.is_empty(), "{expression}");
        for selector in selectors {
            let is_known = of_the_table(&selector.name).is_some()
                || recorded.contains(&selector.name)
                || EXTERNAL.contains(&selector.name.as_str());
            assert!(is_known, "`{}` of `{expression}` is nobody's", selector.name);
            asked.insert(selector.name);
        }
    }
    // The five-minute windows are on the overview too; no window is recorded for nobody.
    let unused: Vec<&String> = recorded.iter().filter(|record| !asked.contains(*record)).collect();
    assert!(unused.is_empty(), "recorded for nobody: {unused:?}");
}

#[test]
fn each_alert_has_a_page_a_test_and_a_case_in_which_it_is_silent() {
    let alerts = all_alerts();
    let alert_names = sorted(alerts.iter().map(|alert| alert.name));
    assert_eq!(alert_names.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "names are unique");
    assert_eq!(names("runbooks"), alert_names);
    let fired: String = names("rules/tests")
        .iter()
        .filter(|name| *name != "healthy")
        .map(|name| std::fs::read_to_string(folder().join(format!("rules/tests/{name}.yml"))).unwrap())
        .collect();
    for alert in &alerts {
        let (name, severity) = (alert.name, alert.severity.as_str());
        let expected = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"");
        let place = fired.find(&expected);
        let line = place.and_then(|place| fired[place..].lines().next());
        let is_page = format!("severity=\"{severity}\"");
        assert!(
            line.is_some_and(|line| line.contains(&is_page)),
            "rules/tests expects no {expected} {is_page}"
        );
        let page = std::fs::read_to_string(folder().join(format!("runbooks/{name}.md"))).unwrap();
        for heading in [&format!("# {name}"), "## What it means", "## How to look", "## What to do"] {
            assert!(page.lines().any(|line| line == heading), "runbooks/{name}.md lacks `{heading}`");
        }
    }
}

/// What the pages have people ask Prometheus.
pub(crate) fn questions_of_pages() -> Vec<String> {
    let mut questions = Vec::new();
    for name in names("runbooks") {
        let page = std::fs::read_to_string(folder().join(format!("runbooks/{name}.md"))).unwrap();
        let asked = page.lines().filter_map(|line| line.trim().strip_prefix(ASKING)?.strip_suffix('\''));
        questions.extend(asked.map(str::to_owned));
    }
    questions
}

#[test]
fn pages_ask_for_series_that_exist() {
    let recorded: Vec<String> = all_recordings().into_iter().map(|rule| rule.record).collect();
    let questions = questions_of_pages();
    assert!(questions.len() > all_alerts().len());
    for question in questions {
        for selector in parse(&question).0 {
            let is_known = of_the_table(&selector.name).is_some() || recorded.contains(&selector.name);
            assert!(is_known, "`{}` of `{question}` is nobody's", selector.name);
        }
    }
}

/// What a healthy stack shows has a value in the test that expects no alert.
#[test]
fn the_healthy_stack_shows_all_that_alerts_ask_for() {
    let healthy = std::fs::read_to_string(folder().join("rules/tests/healthy.yml")).unwrap();
    let recorded: Vec<String> = all_recordings().into_iter().map(|rule| rule.record).collect();
    for alert in all_alerts() {
        for selector in parse(&alert.expression).0 {
            let is_there = healthy.contains(&format!("series: '{}", selector.name));
            assert!(
                is_there || recorded.contains(&selector.name),
                "{} asks for {}",
                alert.name,
                selector.name
            );
        }
    }
    assert!(healthy.contains("expr: ALERTS\n"), "and of it no alert may be even pending");
}
