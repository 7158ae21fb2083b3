//! The report for people.

use super::report::Summary;
use super::threshold::Check;
use crate::output::grouped;
use std::collections::BTreeMap;

/// The figures and the thresholds in lines.
pub(crate) fn render(title: &str, summary: &Summary, checks: &[Check]) -> String {
    let report = &summary.report;
    let repeated = if summary.retries == 0 {
        String::new()
    } else {
        format!("   ({} attempts repeated)", grouped(summary.retries))
    };
    let mut lines = vec![
        title.to_owned(),
        format!(
            "  sent {} = accepted {} + replayed {} + refused {} + unavailable {}{repeated}",
            grouped(report.sent),
            grouped(report.accepted),
            grouped(report.replayed),
            grouped(report.refused),
            grouped(report.unavailable),
        ),
        format!(
            "  accepted {} = settled {} + failed {} + lost {};   duplicates {}",
            grouped(report.accepted),
            grouped(report.settled),
            grouped(report.failed),
            grouped(report.lost),
            grouped(report.duplicates),
        ),
    ];
    let counted = |what: &str, counts: &BTreeMap<String, u64>| {
        let parts: Vec<String> =
            counts.iter().map(|(code, count)| format!("{code} {}", grouped(*count))).collect();
        (!parts.is_empty()).then(|| format!("  {what}: {}", parts.join(", ")))
    };
    lines.extend(counted("failed by", &report.failed_by_reason));
    lines.extend(counted("refused by", &report.refused_by_code));
    lines.push(format!(
        "  {:.3} s from the first send to the last settlement: {} accepted/s, {} settled/s",
        report.duration_s,
        grouped(report.accepted_per_s as u64),
        grouped(report.settled_per_s as u64),
    ));
    lines.push(format!("  {:<9}{:>10}{:>10}{:>10}{:>10}", "ms", "p50", "p95", "p99", "max"));
    for (name, latencies) in summary.spans() {
        let cells = latencies.quantiles().cells();
        lines.push(format!("  {name:<9}{:>10}{:>10}{:>10}{:>10}", cells[0], cells[1], cells[2], cells[3]));
    }
    lines.extend(checks.iter().map(|check| {
        let word = if check.holds { "ok  " } else { "BROKEN" };
        format!("  {word} {} ({})", check.text, check.found)
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::latencies::Latencies;
    use crate::replay::report::Report;

    #[test]
    fn the_text_says_what_was_kept_and_what_was_not() {
        let once = |code: &str| BTreeMap::from([(code.to_owned(), 1)]);
        let (failed_by_reason, refused_by_code) = (once("insufficient_funds"), once("same_account"));
        let counted = Report { sent: 3, accepted: 2, refused: 1, settled: 1, failed: 1, ..Report::default() };
        let mut summary = Summary {
            report: Report { failed_by_reason, refused_by_code, ..counted },
            accepts: Latencies::new(),
            settlements: Latencies::new(),
            delays: None,
            retries: 1_200,
        };
        summary.accepts.record(1_500);
        let check = |text: &str, holds| Check { text: text.to_owned(), found: "1 ms".to_owned(), holds };
        let text =
            render("replay of x.csv", &summary, &[check("accept_p50<2ms", true), check("lost<0", false)]);
        for part in [
            "replay of x.csv\n",
            "sent 3 = accepted 2 + replayed 0 + refused 1 + unavailable 0   (1,200 attempts repeated)",
            "accepted 2 = settled 1 + failed 1 + lost 0;   duplicates 0",
            "failed by: insufficient_funds 1",
            "refused by: same_account 1",
            "accept          1.5       1.5       1.5       1.5",
            "settle            -",
            "ok   accept_p50<2ms (1 ms)",
            "BROKEN lost<0 (1 ms)",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
