//! A trace as text: its spans as a tree, each with a bar for when it was.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use super::PAYMENT_ID;
use super::search::Trace;
use super::span::{Span, Status};

/// Text is cut to this where it would push the bars out.
const SERVICE_WIDTH_MAX: usize = 12;
const NAME_WIDTH_MAX: usize = 40;
const DETAIL_WIDTH_MAX: usize = 44;
const TIME_WIDTH: usize = 10;
const BAR_WIDTH_MIN: usize = 10;
/// What stands deeper is not moved further to the right.
const DEPTH_MAX: usize = 10;

/// A row of the tree.
struct Row<'t> {
    span: &'t Span,
    service: String,
    name: String,
    detail: String,
}

/// The trace in lines of about this width.
#[must_use]
pub fn waterfall(trace: &Trace, width: usize) -> String {
    let rows: Vec<Row<'_>> =
        tree(&trace.spans).into_iter().map(|(depth, span)| Row::of(depth, span)).collect();
    let start_ns = trace.spans.iter().map(|span| span.start_unix_ns).min().unwrap_or(0);
    let end_ns = trace.spans.iter().map(|span| span.end_unix_ns).max().unwrap_or(start_ns);
    let mut text = header(trace, end_ns.saturating_sub(start_ns));
    let widest = |length: fn(&Row<'_>) -> usize, title: &str| {
        rows.iter().map(length).max().unwrap_or(0).max(title.len())
    };
    let service = widest(|row| row.service.chars().count(), "service");
    let name = widest(|row| row.name.chars().count(), "span");
    let detail = widest(|row| row.detail.chars().count(), "");
    let before = service + 2 + name + 2 * TIME_WIDTH + 2;
    let bar = width.saturating_sub(before + 2 + detail).max(BAR_WIDTH_MIN);
    let scale = Scale { start_ns, total_ns: end_ns.saturating_sub(start_ns).max(1), width: bar };
    let title =
        format!("{:<service$}  {:<name$}{:>TIME_WIDTH$}{:>TIME_WIDTH$}", "service", "span", "at", "takes");
    let _ = writeln!(text, "{title}");
    for row in &rows {
        let at = duration(row.span.start_unix_ns.saturating_sub(start_ns));
        let takes = duration(row.span.duration_ns());
        let line = format!(
            "{:<service$}  {:<name$}{at:>TIME_WIDTH$}{takes:>TIME_WIDTH$}  {:<bar$}  {}",
            row.service,
            row.name,
            scale.bar(row.span),
            row.detail
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for batch in &trace.batches {
        let _ = writeln!(text, "{}", batch_line(batch, start_ns));
    }
    text
}

fn header(trace: &Trace, total_ns: u64) -> String {
    let payments: BTreeSet<&str> = trace.spans.iter().filter_map(|span| span.text(PAYMENT_ID)).collect();
    let services: BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
    let payment = match payments.iter().next() {
        Some(only) if payments.len() == 1 => format!("payment {}, ", clean(only, NAME_WIDTH_MAX)),
        Some(_) => format!("{} payments, ", payments.len()),
        None => String::new(),
    };
    let count = |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    format!(
        "{payment}trace {}: {}, {} of {}\n",
        clean(&trace.trace_id, NAME_WIDTH_MAX),
        duration(total_ns),
        count(trace.spans.len(), "span"),
        count(services.len(), "service"),
    )
}

/// A batch judges many payments at once, so its span is none of the tree's.
fn batch_line(batch: &Span, start_ns: u64) -> String {
    let messages = batch.attributes.get("messaging.batch.message_count").and_then(serde_json::Value::as_u64);
    let size = messages.map(|count| format!(" of {count}")).unwrap_or_default();
    let at = batch.start_unix_ns.abs_diff(start_ns);
    let sign = if batch.start_unix_ns < start_ns { "-" } else { "" };
    format!(
        "in a batch: {}, {}{size}, {} traced, at {sign}{}, takes {}",
        clean(&batch.service, SERVICE_WIDTH_MAX),
        clean(&batch.name, NAME_WIDTH_MAX),
        batch.links.len(),
        duration(at),
        duration(batch.duration_ns()),
    )
}

/// Every span once with its depth, children below their parent. What has no parent here, or only itself, is a
/// root.
fn tree(spans: &[Span]) -> Vec<(usize, &Span)> {
    let places: HashMap<&str, usize> =
        spans.iter().enumerate().map(|(place, span)| (span.span_id.as_str(), place)).collect();
    let parent = |span: &Span| span.parent_span_id.as_deref().and_then(|id| places.get(id).copied());
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for (place, span) in spans.iter().enumerate() {
        match parent(span) {
            Some(above) => children[above].push(place),
            None => roots.push(place),
        }
    }
    let mut is_shown = vec![false; spans.len()];
    let mut shown = Vec::with_capacity(spans.len());
    // After the roots all the others, of which only those are left that are below themselves.
    for root in roots.into_iter().chain(0..spans.len()) {
        let mut open = vec![(0, root)];
        while let Some((depth, place)) = open.pop() {
            if !std::mem::replace(&mut is_shown[place], true) {
                shown.push((depth, &spans[place]));
                open.extend(children[place].iter().rev().map(|child| (depth + 1, *child)));
            }
        }
    }
    shown
}

impl<'t> Row<'t> {
    fn of(depth: usize, span: &'t Span) -> Self {
        let indent = "  ".repeat(depth.min(DEPTH_MAX));
        let service = clean(&span.service, SERVICE_WIDTH_MAX);
        let name = clean(&format!("{indent}{}", span.name), NAME_WIDTH_MAX);
        Self { span, service, name, detail: clean(&detail(span), DETAIL_WIDTH_MAX) }
    }
}

/// How it went, in a few words.
fn detail(span: &Span) -> String {
    let code = span.attributes.get("http.response.status_code").and_then(serde_json::Value::as_u64);
    let code = code.map(|code| code.to_string());
    let text = |name| span.text(name).map(str::to_owned);
    let failure = (span.status == Status::Error).then(|| format!("! {}", span.status_message));
    let parts = [code, text("kilat.outcome"), text("kilat.refusal"), failure];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Where the bars begin and end.
struct Scale {
    start_ns: u64,
    total_ns: u64,
    width: usize,
}

impl Scale {
    fn bar(&self, span: &Span) -> String {
        let from = self.column(span.start_unix_ns).min(self.width - 1);
        let to = self.column(span.end_unix_ns).clamp(from + 1, self.width);
        format!("{}{}", " ".repeat(from), "█".repeat(to - from))
    }

    fn column(&self, unix_ns: u64) -> usize {
        let offset = u128::from(unix_ns.saturating_sub(self.start_ns));
        let column = offset * self.width as u128 / u128::from(self.total_ns);
        usize::try_from(column).unwrap_or(self.width)
    }
}

fn duration(nanoseconds: u64) -> String {
    let (hundredth, unit) = if nanoseconds < 1_000_000_000 { (10_000, "ms") } else { (10_000_000, "s") };
    let hundredths = nanoseconds / hundredth;
    format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
}

/// Text that cannot command a terminal, cut to a width.
fn clean(text: &str, width_max: usize) -> String {
    let printable = |letter: char| if letter.is_control() { '?' } else { letter };
    if text.chars().count() <= width_max {
        return text.chars().map(printable).collect();
    }
    text.chars().take(width_max - 1).map(printable).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::folder::tests::span;
    use crate::traces::span::SpanLink;

    /// Name, parent, start and end in microseconds.
    type SpanRow<'r> = (&'r str, &'r str, u64, u64);

    fn trace(rows: &[SpanRow<'_>]) -> Trace {
        let made = rows.iter().map(|(name, parent, start, end)| Span {
            parent_span_id: (!parent.is_empty()).then(|| (*parent).to_owned()),
            start_unix_ns: 1_000_000_000 + start * 1_000,
            end_unix_ns: 1_000_000_000 + end * 1_000,
            ..span("4b", name, name)
        });
        Trace { trace_id: "4b".to_owned(), spans: made.collect(), batches: Vec::new() }
    }

    fn check(trace: &Trace, expected: &[&str]) {
        let text = waterfall(trace, 60);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "\n{text}");
    }

    #[test]
    fn spans_stand_below_their_parents_with_their_times() {
        check(
            &trace(&[
                ("a", "client", 0, 1_000),
                ("b", "a", 250, 500),
                ("c", "b", 250, 250),
                ("d", "a", 2_000, 2_000),
            ]),
            &[
                "trace 4b: 2.00 ms, 4 spans of 1 service",
                "service  span         at     takes",
                "risk     a       0.00 ms   1.00 ms  ███████████",
                "risk       b     0.25 ms   0.25 ms    ███",
                "risk         c   0.25 ms   0.00 ms    █",
                "risk       d     2.00 ms   0.00 ms                       █",
            ],
        );
        // Two that are each other's parent, one that is its own, and an end before its start.
        check(
            &trace(&[("a", "b", 0, 1_000), ("b", "a", 0, 1_000), ("c", "c", 1_000, 500)]),
            &[
                "trace 4b: 1.00 ms, 3 spans of 1 service",
                "service  span        at     takes",
                "risk     a      0.00 ms   1.00 ms  ███████████████████████",
                "risk       b    0.00 ms   1.00 ms  ███████████████████████",
                "risk     c      1.00 ms   0.00 ms                        █",
            ],
        );
        check(
            &trace(&[("a", "", 0, 61_000_000), ("b", "a", 999_994, 1_000_000)]),
            &[
                "trace 4b: 61.00 s, 2 spans of 1 service",
                "service  span        at     takes",
                "risk     a      0.00 ms   61.00 s  ███████████████████████",
                "risk       b  999.99 ms   0.00 ms  █",
            ],
        );
        check(
            &trace(&[]),
            &["trace 4b: 0.00 ms, 0 spans of 0 services", "service  span        at     takes"],
        );
    }

    #[test]
    fn outcomes_failures_and_batches_are_said_and_command_no_terminal() {
        let mut made =
            trace(&[("POST", "", 0, 1_000), ("risk", "POST", 0, 500), ("w\u{1b}[2J", "risk", 0, 100)]);
        let attributes = [
            (0, "http.response.status_code", serde_json::Value::from(202)),
            (1, "kilat.outcome", "rejected".into()),
            (1, "kilat.refusal", "risk_rejected".into()),
            (0, PAYMENT_ID, "PAY-1".into()),
            (2, PAYMENT_ID, "PAY-1".into()),
        ];
        for (place, name, value) in attributes {
            made.spans[place].attributes.insert(name.to_owned(), value);
        }
        made.spans[2].status = Status::Error;
        made.spans[2].status_message = "no\nconnection".to_owned();
        let mut batch = span("5c", "1", "risk batch");
        batch.links = vec![SpanLink { trace_id: "4b".to_owned(), span_id: "risk".to_owned() }];
        batch.attributes.insert("messaging.batch.message_count".to_owned(), 37.into());
        made.batches.push(batch);
        check(
            &made,
            &[
                "payment PAY-1, trace 4b: 1.00 ms, 3 spans of 1 service",
                "service  span             at     takes",
                "risk     POST        0.00 ms   1.00 ms  ██████████  202",
                "risk       risk      0.00 ms   0.50 ms  █████       rejected risk_rejected",
                "risk         w?[2J   0.00 ms   0.10 ms  █           ! no?connection",
                "in a batch: risk, risk batch of 37, 1 traced, at 0.00 ms, takes 1.00 ms",
            ],
        );
    }
}
