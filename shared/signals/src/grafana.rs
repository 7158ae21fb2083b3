//! Dashboards as Grafana reads them from files: its classic model.

use crate::panel::{Dashboard, Drawing, Panel, Query, Row, Threshold};
use crate::query::Series;
use serde_json::{Value, json};

/// The newest version of the classic model.
const SCHEMA: u32 = 42;
/// Columns of a dashboard.
const COLUMNS: usize = 24;
/// Lines that a row's heading takes.
const HEADING_LINES: u32 = 1;
/// What every dashboard of ours is tagged with: links go by it.
const TAG: &str = "kilat";

/// The datasource that was chosen above the panels.
fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The text of a dashboard's file.
pub fn file(dashboard: &Dashboard) -> String {
    let model = json!({
        "id": null,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-30m", "to": "now" },
        "timezone": "",
        "links": [links()],
        "annotations": { "list": [restarts()] },
        "templating": { "list": variables() },
        "panels": panels(&dashboard.rows),
    });
    // Its form with a colon and line breaks cannot fail either: keys are strings.
    let mut text = format!("{model:#}");
    text.push('\n');
    text
}

/// To the other dashboards, with the same choice and time.
fn links() -> Value {
    json!({
        "type": "dashboards", "title": "Kilat", "tags": [TAG],
        "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
    })
}

/// A mark wherever a process has started, however long it was away: its first minute.
fn restarts() -> Value {
    json!({
        "name": "Restarts", "enable": true, "hide": false, "iconColor": "orange", "datasource": datasource(),
        "expr": Series::named("process_start_time_seconds").now().ago().only("< 60").in_grafana(),
        "step": "10s", "titleFormat": "{{job}} started", "textFormat": "{{instance}}",
    })
}

fn variables() -> Value {
    let choice = |name: &str, label: &str, question: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": datasource(),
            "query": { "query": question, "refId": name }, "definition": question,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        })
    };
    json!([
        { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1 },
        choice("job", "Job", "label_values(up, job)"),
        choice("instance", "Instance", "label_values(up{job=~\"$job\"}, instance)"),
    ])
}

/// Rows one below the other, their panels side by side.
fn panels(rows: &[Row]) -> Vec<Value> {
    let mut drawn: Vec<Value> = Vec::new();
    let mut y = 0;
    for row in rows {
        let number = drawn.len() + 1;
        drawn.push(json!({
            "id": number, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": HEADING_LINES },
        }));
        y += HEADING_LINES;
        let width = COLUMNS / row.panels.len().max(1);
        for (place, drawing) in row.panels.iter().enumerate() {
            let position = json!({ "x": place * width, "y": y, "w": width, "h": row.height });
            drawn.push(panel(drawing, drawn.len() + 1, position));
        }
        y += row.height;
    }
    drawn
}

fn panel(panel: &Panel, number: usize, position: Value) -> Value {
    let is_table = panel.drawing == Drawing::Table;
    let targets = panel.queries.iter().zip('A'..).map(|(query, letter)| target(panel, query, letter));
    json!({
        "id": number,
        "title": panel.title,
        "description": panel.question,
        "type": kind(panel.drawing),
        "datasource": datasource(),
        "gridPos": position,
        "targets": targets.collect::<Vec<_>>(),
        "options": options(panel),
        "fieldConfig": { "defaults": defaults(panel), "overrides": [] },
        "transformations": if is_table { json!([{ "id": "labelsToFields" }, { "id": "merge" }]) } else { json!([]) },
    })
}

const fn kind(drawing: Drawing) -> &'static str {
    match drawing {
        Drawing::Number => "stat",
        Drawing::Lines | Drawing::Areas => "timeseries",
        Drawing::Heatmap => "heatmap",
        Drawing::Table => "table",
    }
}

fn target(panel: &Panel, query: &Query, letter: char) -> Value {
    let is_table = panel.drawing == Drawing::Table;
    let format = match panel.drawing {
        Drawing::Heatmap => "heatmap",
        Drawing::Table => "table",
        Drawing::Number | Drawing::Lines | Drawing::Areas => "time_series",
    };
    json!({
        "refId": letter.to_string(), "datasource": datasource(), "editorMode": "code", "format": format,
        "expr": query.expression.in_grafana(), "legendFormat": query.legend,
        "instant": is_table, "range": !is_table,
    })
}

fn options(panel: &Panel) -> Value {
    match panel.drawing {
        Drawing::Number => json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "background", "graphMode": "area", "textMode": "value", "justifyMode": "auto",
        }),
        Drawing::Lines | Drawing::Areas => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Drawing::Heatmap => json!({
            "calculate": false, "cellGap": 1, "showValue": "never",
            "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5 },
            "yAxis": { "unit": panel.unit.in_grafana(), "axisPlacement": "left" },
            "rowsFrame": { "layout": "auto" }, "legend": { "show": true },
            "tooltip": { "mode": "single", "yHistogram": true },
        }),
        Drawing::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
    }
}

fn defaults(panel: &Panel) -> Value {
    let mode = if panel.drawing == Drawing::Number { "thresholds" } else { "palette-classic" };
    let is_area = panel.drawing == Drawing::Areas;
    let custom = match panel.drawing {
        Drawing::Lines | Drawing::Areas => json!({
            "drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": false,
            "fillOpacity": if is_area { 30 } else { 5 },
            "stacking": { "mode": if is_area { "normal" } else { "none" }, "group": "A" },
            "thresholdsStyle": { "mode": if panel.thresholds.is_empty() { "off" } else { "dashed" } },
        }),
        Drawing::Number | Drawing::Heatmap | Drawing::Table => json!({}),
    };
    json!({
        "unit": panel.unit.in_grafana(),
        "color": { "mode": mode },
        "thresholds": { "mode": "absolute", "steps": steps(&panel.thresholds) },
        "custom": custom,
    })
}

fn steps(thresholds: &[Threshold]) -> Vec<Value> {
    let well = json!({ "color": "green", "value": null });
    let rest = thresholds
        .iter()
        .map(|threshold| json!({ "color": threshold.colour.as_str(), "value": threshold.value }));
    std::iter::once(well).chain(rest).collect()
}
