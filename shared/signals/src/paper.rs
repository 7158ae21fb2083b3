//! The tables of `observability/README.md`.

use crate::metric::{self, Kind, Metric};
use crate::panel::Source;
use crate::{dashboards, rules};
use std::fmt::Write;

/// Every metric with its kind, its labels and what it tells.
pub fn metrics() -> String {
    let mut text = "| metric | kind | labels | tells |\n|---|---|---|---|\n".to_owned();
    for Metric { name, kind, labels, help } in metric::ALL {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    text
}

/// Every panel with the question that it answers.
pub fn panels() -> String {
    let mut text = String::new();
    for dashboard in dashboards::all() {
        let _ = write!(
            text,
            "\n**{}** (`{}`): {}.\n\n| row | panel | id | answers |\n|---|---|---|---|\n",
            dashboard.title, dashboard.uid, dashboard.description
        );
        for row in &dashboard.rows {
            for panel in &row.panels {
                let note = match panel.source {
                    Source::Services => "",
                    Source::NodeExporter => " (needs node-exporter)",
                    Source::PostgresExporter => " (needs postgres-exporter)",
                };
                let _ = writeln!(
                    text,
                    "| {} | {} | `{}` | {}{note} |",
                    row.title, panel.title, panel.id, panel.question
                );
            }
        }
    }
    text
}

/// Every alert with who hears of it, and its page.
pub fn alerts() -> String {
    let mut text = "| alert | severity | tells |\n|---|---|---|\n".to_owned();
    for alert in rules::alerts().iter().flat_map(|group| &group.rules) {
        let _ = writeln!(
            text,
            "| [{name}](runbooks/{name}.md) | {} | {} |",
            alert.severity.as_str(),
            alert.description,
            name = alert.name,
        );
    }
    text
}
