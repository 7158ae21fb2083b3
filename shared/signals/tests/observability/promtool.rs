//! What Prometheus itself says of the files.

use crate::folder;
use crate::rules::questions_of_pages;
use signals::{dashboards, rules};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs promtool in `observability/`; what it says when it does not like what it sees.
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(folder()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("promtool cannot run ({error}): `make deps` installs it, or `apt-get install prometheus`")
    });
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "promtool {arguments:?} says:\n{}", said.concat());
}

#[test]
fn configuration_and_rules_are_understood() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules/recording.yml", "rules/alerts.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder().join("rules/tests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        promtool(&["test", "rules", file.to_str().unwrap()]);
    }
}

/// As rules of a file of its own: promtool of Debian's Prometheus reads expressions there only.
#[test]
fn every_expression_of_a_panel_or_a_page_is_promql() {
    let mut text = "groups:\n  - name: panels\n    rules:\n".to_owned();
    for dashboard in dashboards::all() {
        for (number, query) in dashboard.panels().flat_map(|panel| &panel.queries).enumerate() {
            let chosen = query.expression.in_grafana().replace("$__rate_interval", "20s");
            for (form, expression) in [("grafana", chosen), ("plain", query.expression.over("20s"))] {
                assert!(!expression.contains("$__"), "{expression}");
                let _ = write!(
                    text,
                    "      - record: panel:{form}:{}_{number}\n        expr: {expression:?}\n",
                    dashboard.uid.replace('-', "_")
                );
            }
        }
    }
    for (number, question) in questions_of_pages().iter().enumerate() {
        let _ = write!(text, "      - record: page:{number}\n        expr: {question:?}\n");
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panels.yml");
    std::fs::write(&file, text).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_wrong_is_found() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.yml");
    std::fs::write(&file, rules::alert_file().replace("max(", "max((")).unwrap();
    let refused = std::panic::catch_unwind(|| promtool(&["check", "rules", file.to_str().unwrap()]));
    std::fs::remove_file(&file).unwrap();
    assert!(refused.is_err());
}
