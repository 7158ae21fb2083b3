//! Spans as trees.

use devstack::traces::Span;

/// The spans of one trace.
#[derive(Debug)]
pub struct Tree(Vec<Span>);

impl Tree {
    /// Those of these spans that are of this trace.
    pub fn of(spans: &[Span], trace_id: &str) -> Tree {
        let mut spans: Vec<Span> = spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect();
        spans.sort_by_key(|span| span.start_unix_ns);
        Tree(spans)
    }

    /// Those of a name, the first first.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// The one of a name.
    pub fn only(&self, name: &str) -> &Span {
        match self.named(name).as_slice() {
            [span] => span,
            spans => panic!("{} spans are called {name}:\n{}", spans.len(), self.drawn()),
        }
    }

    /// The names from a span up to the one whose parent is not here, the uppermost first.
    pub fn path(&self, span: &Span) -> Vec<&str> {
        let mut path = Vec::new();
        let mut next = self.0.iter().find(|other| other.span_id == span.span_id);
        while let Some(span) = next {
            path.insert(0, span.name.as_str());
            let parent = span.parent_span_id.as_deref();
            next = self.0.iter().find(|other| Some(other.span_id.as_str()) == parent);
        }
        path
    }

    /// The tree, a line for each span.
    pub fn drawn(&self) -> String {
        let is_here = |id: &str| self.0.iter().any(|span| span.span_id == id);
        let roots = self.0.iter().filter(|span| !span.parent_span_id.as_deref().is_some_and(is_here));
        let mut text = String::new();
        for root in roots {
            self.draw(root, 0, &mut text);
        }
        text
    }

    fn draw(&self, span: &Span, depth: usize, text: &mut String) {
        let about = ["kilat.outcome", "kilat.redrives", "db.operation.name"]
            .into_iter()
            .filter_map(|name| Some(format!(" {name}={}", span.attributes.get(name)?)));
        let (indent, micros) = ("  ".repeat(depth), span.duration_ns() / 1_000);
        text.push_str(&format!("{indent}{} ({}, {micros} us)", span.name, span.service));
        text.extend(about);
        text.push('\n');
        for child in self.0.iter().filter(|child| child.parent_span_id.as_ref() == Some(&span.span_id)) {
            self.draw(child, depth + 1, text);
        }
    }
}
