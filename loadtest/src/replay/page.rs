//! The report as one page that needs nothing else: figures, thresholds, and the latency distributions as a
//! drawing.

use super::latencies::Latencies;
use super::report::Summary;
use super::threshold::Check;
use crate::output::grouped;
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--accept:#0a7d55;--settle:#b4530a;--bad:#c1121f}\
@media(prefers-color-scheme:dark){:root{--accept:#3ddc97;--settle:#ffb454;--bad:#ff6b6b}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.1rem}table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.2rem .8rem;border-bottom:1px solid var(--line);text-align:right;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child{text-align:left}.bad{color:var(--bad);font-weight:600}\
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:currentColor}\
.grid{stroke:var(--line)}.accept{stroke:var(--accept)}.settle{stroke:var(--settle)}polyline{fill:none;stroke-width:2}";

/// The drawing's plane, in its own units.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 780.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 300.0;

/// The curves run from the fastest to the slowest but one in ten thousand; each tenth is this many steps.
const DECADES: u32 = 4;
const STEPS: u32 = 20;

/// The page, whole: it loads nothing.
pub(crate) fn render(title: &str, summary: &Summary, checks: &[Check]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    page.push_str(&counts(summary));
    page.push_str(&quantiles(summary));
    page.push_str(&drawing(&summary.accepts, &summary.settlements));
    page.push_str(&reasons("Failed by", &summary.report.failed_by_reason));
    page.push_str(&reasons("Refused by", &summary.report.refused_by_code));
    page.push_str(&thresholds(checks));
    page.push_str("</body></html>");
    page
}

/// File names and thresholds come from outside.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn table(head: &str, rows: impl Iterator<Item = (String, Vec<String>, bool)>) -> String {
    let mut text = format!("<table><tr>{head}</tr>\n");
    for (name, cells, is_bad) in rows {
        let class = if is_bad { " class=\"bad\"" } else { "" };
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<tr{class}><td>{}</td>{cells}</tr>", escape(&name));
    }
    text.push_str("</table>\n");
    text
}

fn counts(summary: &Summary) -> String {
    let report = &summary.report;
    let rows = [
        ("sent", report.sent, false),
        ("accepted", report.accepted, false),
        ("replayed", report.replayed, false),
        ("refused", report.refused, false),
        ("unavailable", report.unavailable, report.unavailable > 0),
        ("settled", report.settled, false),
        ("failed", report.failed, false),
        ("lost", report.lost, report.lost > 0),
        ("duplicates", report.duplicates, report.duplicates > 0),
        ("attempts repeated", summary.retries, false),
    ];
    let rows = rows.map(|(name, count, is_bad)| (name.to_owned(), vec![grouped(count)], is_bad));
    let rates = [
        ("accepted a second", grouped(report.accepted_per_s as u64)),
        ("settled a second", grouped(report.settled_per_s as u64)),
        ("seconds from the first send to the last settlement", format!("{:.3}", report.duration_s)),
    ];
    let rates = rates.map(|(name, value)| (name.to_owned(), vec![value], false));
    table("<th>payments</th><th></th>", rows.into_iter().chain(rates))
}

fn quantiles(summary: &Summary) -> String {
    let rows = summary
        .spans()
        .map(|(name, latencies)| (name.to_owned(), latencies.quantiles().cells().to_vec(), false));
    table("<th>milliseconds</th><th>p50</th><th>p95</th><th>p99</th><th>max</th>", rows)
}

fn reasons(title: &str, counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let rows = counts.iter().map(|(code, count)| (code.clone(), vec![grouped(*count)], false));
    table(&format!("<th>{title}</th><th></th>"), rows)
}

fn thresholds(checks: &[Check]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let rows = checks.iter().map(|check| {
        let verdict = if check.holds { "holds" } else { "broken" };
        (check.text.clone(), vec![check.found.clone(), verdict.to_owned()], !check.holds)
    });
    table("<th>threshold</th><th>found</th><th></th>", rows)
}

/// Latency by the share of payments that is not slower, the slow ones magnified: each step to the right of 90
/// %, 99 %, 99.9 % is as wide as the one before. Both axes are logarithmic.
fn drawing(accepts: &Latencies, settlements: &Latencies) -> String {
    let curves = [("accept", curve(accepts)), ("settle", curve(settlements))];
    let values = || curves.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if high <= 0.0 {
        return String::new();
    }
    let (first, last) =
        (low.max(0.001).log10().floor(), (high.log10().floor() + 1.0).max(low.log10().floor() + 1.0));
    let height = |value: f64| BOTTOM - (value.max(0.001).log10() - first) / (last - first) * (BOTTOM - TOP);
    let mut text =
        String::from("<svg viewBox=\"0 0 800 330\" role=\"img\" aria-label=\"latency distribution\">\n");
    let mut line = |x: f64,
                    y: f64,
                    to_x: f64,
                    to_y: f64,
                    label: String,
                    label_x: f64,
                    label_y: f64,
                    anchor: &str| {
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\"/><text x=\"{label_x:.1}\" y=\"{label_y:.1}\" text-anchor=\"{anchor}\">{label}</text>"
        );
    };
    for exponent in first as i32..=last as i32 {
        let y = height(10_f64.powi(exponent));
        line(LEFT, y, RIGHT, y, format!("{} ms", 10_f64.powi(exponent)), LEFT - 6.0, y + 4.0, "end");
    }
    for (decade, label) in ["fastest", "90 %", "99 %", "99.9 %", "99.99 %"].into_iter().enumerate() {
        let x = place(decade as f64);
        line(x, TOP, x, BOTTOM, label.to_owned(), x, BOTTOM + 18.0, "middle");
    }
    for (number, (name, points)) in curves.iter().enumerate() {
        let points: String =
            points.iter().map(|(x, value)| format!("{x:.1},{:.1} ", height(*value))).collect();
        let x = LEFT + 20.0 + 90.0 * number as f64;
        let _ = writeln!(text, "<polyline class=\"{name}\" points=\"{points}\"/>");
        let _ = writeln!(
            text,
            "<line class=\"{name}\" stroke-width=\"2\" x1=\"{x}\" y1=\"10\" x2=\"{}\" y2=\"10\"/>",
            x + 20.0
        );
        let _ = writeln!(text, "<text x=\"{}\" y=\"14\">{name}</text>", x + 26.0);
    }
    text.push_str("</svg>\n");
    text
}

/// The horizontal place of the share 1 - 10^-decades.
fn place(decades: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * decades / f64::from(DECADES)
}

/// Places and latencies in milliseconds along a distribution.
fn curve(latencies: &Latencies) -> Vec<(f64, f64)> {
    let steps = (0..=DECADES * STEPS).map(|step| f64::from(step) / f64::from(STEPS));
    steps.filter_map(|decades| Some((place(decades), latencies.at(1.0 - 10_f64.powf(-decades))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::report::Report;

    fn summary(accepts: &[u64], settlements: &[u64]) -> Summary {
        let latencies = |values: &[u64]| {
            let mut latencies = Latencies::new();
            values.iter().for_each(|value| latencies.record(*value));
            latencies
        };
        let failed_by_reason = BTreeMap::from([("insufficient_funds".to_owned(), 1_234)]);
        Summary {
            report: Report { sent: 12_345, failed_by_reason, ..Report::default() },
            accepts: latencies(accepts),
            settlements: latencies(settlements),
            delays: None,
            retries: 0,
        }
    }

    #[test]
    fn a_page_has_the_figures_and_nothing_from_elsewhere() {
        let check = Check { text: "settle_p99<250ms".to_owned(), found: "300.0 ms".to_owned(), holds: false };
        let page =
            render("replay of <b>.csv", &summary(&[900, 2_000, 90_000], &[5_000, 9_000_000]), &[check]);
        for part in [
            "12,345",
            "insufficient_funds",
            "1,234",
            "settle_p99&lt;250ms",
            "replay of &lt;b&gt;.csv",
            "class=\"bad\"",
            "<polyline",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for part in ["http", "src=", "<script", "url(", "NaN", "inf"] {
            assert!(!page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<table>").count(), page.matches("</table>").count());
    }

    #[test]
    fn every_distribution_can_be_drawn() {
        for (accepts, settlements) in
            [(&[][..], &[][..]), (&[1], &[]), (&[0, 0], &[1]), (&[1_000], &[1_000]), (&[u64::MAX], &[1])]
        {
            let drawn = drawing(&summary(accepts, &[]).accepts, &summary(&[], settlements).settlements);
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{accepts:?} {settlements:?}: {drawn}");
        }
    }
}
