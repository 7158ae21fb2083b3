//! What panels there are, as clients are told.

use super::Range;
use serde_json::{Value, json};
use signals::panel::{Dashboard, Panel, Row};

/// The body of `/panels`.
pub(super) fn described(dashboards: &[Dashboard], grafana: Option<&str>) -> Value {
    json!({
        "grafana": grafana,
        "ranges": Range::ALL.map(Range::as_str),
        "dashboards": dashboards.iter().map(dashboard).collect::<Vec<_>>(),
    })
}

fn dashboard(dashboard: &Dashboard) -> Value {
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "rows": dashboard.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    json!({ "title": row.title, "panels": row.panels.iter().map(panel).collect::<Vec<_>>() })
}

fn panel(panel: &Panel) -> Value {
    let thresholds = panel.thresholds.iter();
    let thresholds = thresholds.map(|from| json!({ "value": from.value, "colour": from.colour.as_str() }));
    json!({
        "id": panel.id,
        "title": panel.title,
        "question": panel.question,
        "drawing": panel.drawing.as_str(),
        "unit": panel.unit.as_str(),
        "thresholds": thresholds.collect::<Vec<_>>(),
        "source": panel.source.as_str(),
    })
}
