//! As much of PromQL as it takes to see which series an expression asks for. That it is PromQL at all,
//! promtool checks.

use signals::Kind;
use signals::metric::{self, Metric};

/// A name of series in an expression, with what narrows it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Each as `label=~"value"`.
    pub(crate) matchers: Vec<String>,
    /// The window, where there is one.
    pub(crate) range: Option<String>,
}

impl Selector {
    /// The labels that it is narrowed down by.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.matchers.iter().map(|matcher| matcher.split(['=', '!']).next().unwrap_or(""))
    }
}

/// Words of the language that may stand where a name could.
const WORDS: [&str; 12] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "inf",
];

/// The selectors of an expression, and the labels that it groups or joins by.
pub(crate) fn parse(expression: &str) -> (Vec<Selector>, Vec<String>) {
    let (mut selectors, mut labels) = (Vec::new(), Vec::new());
    let mut rest = expression;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic() || "_:\"0".contains(letter))
    {
        let before = rest[..start].chars().last();
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let length = rest.find(|letter: char| !is_of_a_name(letter)).unwrap_or(rest.len());
        let name = &rest[..length];
        rest = rest[length..].trim_start();
        let is_duration = before.is_some_and(|letter| letter.is_ascii_digit()) || name.starts_with('0');
        if is_duration {
            continue;
        }
        let is_grouping = ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&name);
        if is_grouping && rest.starts_with('(') {
            let inside = rest.strip_prefix('(').and_then(|text| text.split_once(')'));
            let (list, after) = inside.unwrap_or(("", rest));
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        } else if !WORDS.contains(&name) && !rest.starts_with('(') && !is_aggregation(rest) {
            let (selector, after) = selector(name, rest);
            selectors.push(selector);
            rest = after;
        }
    }
    (selectors, labels)
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// `sum by (label) (...)`.
fn is_aggregation(after_name: &str) -> bool {
    ["by (", "by(", "without ("].iter().any(|word| after_name.starts_with(word))
}

/// A selector by its name, and what stands behind it.
fn selector<'t>(name: &str, mut rest: &'t str) -> (Selector, &'t str) {
    let mut part = |open: char, close: char| {
        let inside = rest.strip_prefix(open).and_then(|text| text.split_once(close));
        let (text, after) = inside?;
        rest = after;
        Some(text.to_owned())
    };
    let matchers = part('{', '}').unwrap_or_default();
    let range = part('[', ']');
    let matchers = matchers.split(',').filter(|matcher| !matcher.is_empty()).map(str::to_owned).collect();
    (Selector { name: name.to_owned(), matchers, range }, rest)
}

/// The metric of the table that makes series of this name.
pub(crate) fn of_the_table(name: &str) -> Option<&'static Metric> {
    metric::ALL.iter().find(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::Histogram(_) => {
            let ending = name.strip_prefix(metric.name).unwrap_or("");
            ["_bucket", "_sum", "_count"].contains(&ending)
        }
    })
}

#[test]
fn selectors_and_labels_are_found() {
    let selector = |name: &str, matchers: &[&str], range: Option<&str>| Selector {
        name: name.to_owned(),
        matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
        range: range.map(str::to_owned),
    };
    for (expression, selectors, labels) in [
        ("up", vec![selector("up", &[], None)], vec![]),
        (
            "up == 0 and on (job) x > 1.5e3",
            vec![selector("up", &[], None), selector("x", &[], None)],
            vec!["job"],
        ),
        (
            r#"histogram_quantile(0.99, sum by (le, a) (rate(x_bucket{b="c d",e!~"f"}[$__rate_interval])))"#,
            vec![selector("x_bucket", &[r#"b="c d""#, r#"e!~"f""#], Some("$__rate_interval"))],
            vec!["le", "a"],
        ),
        (
            "sum by (a) (b * on (c) group_left (d) e)",
            vec![selector("b", &[], None), selector("e", &[], None)],
            vec!["a", "c", "d"],
        ),
        (
            "(a:b_rate5m > 14.4 * 0.001) or increase(c[5m] offset 5m) / 30 >= max by (d) (e)",
            vec![selector("a:b_rate5m", &[], None), selector("c", &[], Some("5m")), selector("e", &[], None)],
            vec!["d"],
        ),
    ] {
        let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
        assert_eq!(parse(expression), (selectors, labels), "{expression}");
    }
}

#[test]
fn series_lead_back_to_their_metric() {
    for (name, expected) in [
        ("payment_requests_total", Some(metric::REQUESTS)),
        ("payment_requests", None),
        ("stage_duration_seconds_bucket", Some(metric::STAGE_DURATION)),
        ("stage_duration_seconds", None),
        ("stage_halted_count", None),
        ("stage_halted", Some(metric::STAGE_HALTED)),
    ] {
        assert_eq!(of_the_table(name).copied(), expected, "{name}");
    }
}
