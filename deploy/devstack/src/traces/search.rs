//! The traces of a payment among the spans that were received.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::io;

use super::PAYMENT_ID;
use super::folder::SpanFolder;
use super::span::Span;

/// A payment that was sent again and again has a trace each time; who looks wants the last ones.
const TRACES_MAX: usize = 5;
/// A payment's trace has some 20 spans; a client may put all its payments into one.
const SPANS_MAX: usize = 500;
/// Batches that had a part in a trace; each stage has one, and one more for each attempt.
const BATCHES_MAX: usize = 50;

/// What becomes of a payment in the end.
const ENDS: [&str; 2] = ["captured", "failed"];

/// A trace, as far as its spans were received.
#[derive(Debug, PartialEq)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Each once, by their start.
    pub spans: Vec<Span>,
    /// Spans of batches that link to it, by their start.
    pub batches: Vec<Span>,
}

/// What a search has found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// The newest first.
    pub traces: Vec<Trace>,
    /// Whether there is more than is handed out.
    pub is_cut: bool,
}

/// The traces in which this payment has a span, or the trace of this number.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn find(folder: &SpanFolder, wanted: &str) -> io::Result<Found> {
    let mut is_cut = false;
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    folder.each_with(&[wanted], |span| {
        if span.trace_id != wanted && span.text(PAYMENT_ID) != Some(wanted) {
            return;
        }
        let start = starts.entry(span.trace_id).or_default();
        *start = (*start).max(span.start_unix_ns);
        if starts.len() > TRACES_MAX {
            is_cut = true;
            let oldest = starts.iter().min_by_key(|(_, start)| **start).map(|(trace_id, _)| trace_id.clone());
            oldest.map(|trace_id| starts.remove(&trace_id));
        }
    })?;
    let mut newest: Vec<(String, u64)> = starts.into_iter().collect();
    newest.sort_by_key(|(_, start)| Reverse(*start));
    let empty = |(trace_id, _)| Trace { trace_id, spans: Vec::new(), batches: Vec::new() };
    let mut found = Found { traces: newest.into_iter().map(empty).collect(), is_cut };
    found.fill(folder)?;
    Ok(found)
}

/// The payment of whose ends the newest was received; nothing when none was.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn newest_payment(folder: &SpanFolder) -> io::Result<Option<String>> {
    let mut newest: Option<(u64, String)> = None;
    folder.each_with(&ENDS, |span| {
        let is_end = span.text("kilat.outcome").is_some_and(|outcome| ENDS.contains(&outcome));
        if let Some(payment) = span.text(PAYMENT_ID)
            && is_end
            && newest.as_ref().is_none_or(|(end, _)| *end <= span.end_unix_ns)
        {
            newest = Some((span.end_unix_ns, payment.to_owned()));
        }
    })?;
    Ok(newest.map(|(_, payment)| payment))
}

impl Found {
    fn fill(&mut self, folder: &SpanFolder) -> io::Result<()> {
        let trace_ids: Vec<String> = self.traces.iter().map(|trace| trace.trace_id.clone()).collect();
        let texts: Vec<&str> = trace_ids.iter().map(String::as_str).collect();
        // An exporter that misses an answer sends its spans again.
        let mut known: HashSet<(String, String)> = HashSet::new();
        folder.each_with(&texts, |span| {
            if !known.insert((span.trace_id.clone(), span.span_id.clone())) {
                return;
            }
            let is_kept = self.traces.iter_mut().all(|trace| trace.take(&span));
            if !is_kept {
                self.is_cut = true;
                known.remove(&(span.trace_id, span.span_id));
            }
        })?;
        for trace in &mut self.traces {
            trace.spans.sort_by_key(|span| span.start_unix_ns);
            trace.batches.sort_by_key(|span| span.start_unix_ns);
        }
        Ok(())
    }
}

impl Trace {
    /// Keeps a span that has to do with it; says whether there was room.
    fn take(&mut self, span: &Span) -> bool {
        // A batch's span stands in the trace of one of its payments, and is as much the others'.
        let (kept, most) = if span.links.iter().any(|link| link.trace_id == self.trace_id) {
            (&mut self.batches, BATCHES_MAX)
        } else if span.trace_id == self.trace_id {
            (&mut self.spans, SPANS_MAX)
        } else {
            return true;
        };
        let has_room = kept.len() < most;
        if has_room {
            kept.push(span.clone());
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::folder::tests::{scratch, span};
    use crate::traces::span::SpanLink;

    fn of_payment(trace: u32, number: usize, payment: &str) -> Span {
        let mut made = span(&format!("{trace:032x}"), &format!("{number:016x}"), "risk");
        made.start_unix_ns = u64::from(trace) * 1_000_000;
        made.attributes.insert(PAYMENT_ID.to_owned(), payment.into());
        made
    }

    #[test]
    fn the_newest_payment_is_one_that_has_ended() {
        let place = scratch("newest");
        let folder = SpanFolder::new(&place);
        assert_eq!(newest_payment(&folder).unwrap(), None);
        for (trace, payment, outcome) in [
            (1, "FIRST", "failed"),
            (3, "LAST", "captured"),
            (2, "SECOND", "captured"),
            (4, "captured", "forwarded"),
        ] {
            let mut span = of_payment(trace, 1, payment);
            span.end_unix_ns = span.start_unix_ns;
            span.attributes.insert("kilat.outcome".to_owned(), outcome.into());
            folder.append(&[span]).unwrap();
        }
        assert_eq!(newest_payment(&folder).unwrap().as_deref(), Some("LAST"));
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_payment_is_found_by_its_id_and_a_trace_by_its_number() {
        let place = scratch("search");
        let folder = SpanFolder::new(&place);
        let nameless =
            |trace: u32, number| Span { attributes: BTreeMap::new(), ..of_payment(trace, number, "") };
        let link = SpanLink { trace_id: format!("{:032x}", 3), span_id: "1".to_owned() };
        let batch = Span { links: vec![link.clone()], ..nameless(99, 1) };
        let own_batch = Span { links: vec![link], ..nameless(3, 2) };
        let mut spans =
            vec![of_payment(1, 1, "ONE"), of_payment(2, 1, "ONE-MORE"), nameless(1, 2), batch, own_batch];
        spans.extend((3..11).map(|trace| of_payment(trace, 1, "AGAIN")));
        spans.extend((0..600).map(|number| of_payment(50, number, "MANY")));
        folder.append(&spans).unwrap();
        folder.append(&spans[..1]).unwrap();

        let third = format!("{:032x}", 3);
        // What is asked for; its traces, the spans of the first, the batches of the first, and whether it is cut.
        let rows: [(&str, &[u32], usize, usize, bool); 6] = [
            ("ONE", &[1], 2, 0, false),
            ("ONE-MORE", &[2], 1, 0, false),
            ("AGAIN", &[10, 9, 8, 7, 6], 1, 0, true),
            (&third, &[3], 1, 2, false),
            ("MANY", &[50], SPANS_MAX, 0, true),
            ("NOBODY", &[], 0, 0, false),
        ];
        for (wanted, traces, spans, batches, is_cut) in rows {
            let found = find(&folder, wanted).unwrap();
            let numbers: Vec<String> = traces.iter().map(|trace| format!("{trace:032x}")).collect();
            assert_eq!(
                found.traces.iter().map(|trace| &trace.trace_id).collect::<Vec<_>>(),
                numbers.iter().collect::<Vec<_>>(),
                "{wanted}"
            );
            let first = found.traces.first().map_or((0, 0), |trace| (trace.spans.len(), trace.batches.len()));
            assert_eq!((first, found.is_cut), ((spans, batches), is_cut), "{wanted}");
        }
        std::fs::remove_dir_all(place).unwrap();
    }
}
