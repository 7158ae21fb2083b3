//! What Prometheus records and alerts of.
//!
//! `observability/rules/` is written from here, each alert has a page in `observability/runbooks/`.

mod flow;
pub(crate) mod money;
mod promises;
mod servers;

pub use money::AUDIT_BEHIND_SECONDS;
pub use promises::{ACCEPTANCE, Promise, SETTLEMENT};
pub(crate) use servers::disk_left;

use serde_json::Value;
use std::fmt::Write;

/// Pages of this repository.
const RUNBOOKS: &str = "observability/runbooks";

/// Rules that are evaluated together.
#[derive(Debug, Clone)]
pub struct Group<R> {
    /// Unique within its file.
    pub name: &'static str,
    /// Why the numbers are what they are.
    pub comment: &'static str,
    /// How often it is evaluated, where that is less often than everything else.
    pub interval: Option<&'static str>,
    /// In order.
    pub rules: Vec<R>,
}

/// A series that Prometheus computes and keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its name.
    pub record: String,
    /// What it computes.
    pub expression: String,
}

/// Something that someone should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name, and its page's.
    pub name: &'static str,
    /// Who hears of it.
    pub severity: Severity,
    /// It fires for each series of this.
    pub expression: String,
    /// For so long before it fires.
    pub lasting: &'static str,
    /// In one line, with labels.
    pub summary: &'static str,
    /// What it means for payments.
    pub description: &'static str,
}

/// Who hears of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Someone gets up at night.
    Page,
    /// Someone looks at it in the morning.
    Ticket,
}

impl Severity {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Page => "page",
            Severity::Ticket => "ticket",
        }
    }
}

/// What is recorded.
pub fn recordings() -> Vec<Group<Recording>> {
    promises::recordings()
}

/// What is alerted of.
pub fn alerts() -> Vec<Group<Alert>> {
    vec![money::alerts(), flow::alerts(), promises::alerts(), servers::alerts()]
}

/// The text of `recording.yml`.
pub fn recording_file() -> String {
    file(&recordings(), |text, rule| {
        let _ = write!(text, "      - record: {}\n        expr: {}\n", rule.record, block(&rule.expression));
    })
}

/// The text of `alerts.yml`.
pub fn alert_file() -> String {
    file(&alerts(), |text, rule| {
        let Alert { name, severity, expression, lasting, summary, description } = rule;
        let _ = write!(
            text,
            "      - alert: {name}\n        expr: {}\n        for: {lasting}\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          description: {}\n          runbook_url: {RUNBOOKS}/{name}.md\n",
            block(expression),
            severity.as_str(),
            quoted(summary),
            quoted(description),
        );
    })
}

fn file<R>(groups: &[Group<R>], write_rule: impl Fn(&mut String, &R)) -> String {
    let mut text =
        "# Written from shared/signals: GOLDEN_WRITE=1 cargo test -p signals\ngroups:\n".to_owned();
    for group in groups {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  # {}\n  - name: {}", group.comment, group.name);
        if let Some(interval) = group.interval {
            let _ = writeln!(text, "    interval: {interval}");
        }
        text.push_str("    rules:\n");
        for rule in &group.rules {
            write_rule(&mut text, rule);
        }
    }
    text
}

/// A literal block, so that the expression stands there as it is asked.
fn block(expression: &str) -> String {
    let lines: Vec<String> = expression.lines().map(|line| format!("\n          {line}")).collect();
    format!("|-{}", lines.concat())
}

/// A double-quoted scalar of YAML takes every escape of JSON.
fn quoted(text: &str) -> Value {
    Value::from(text)
}
