//! Names that leave the process have one home; names that pure code must not know.

use crate::checkout::{Checkout, File, Finding};
use crate::rust_text::{Literal, RustText, has_word};

const HOPS: [&str; 7] = ["accepted", "screened", "quoted", "reserved", "rejected", "finished", "dead"];

/// The metrics of the contract (DESIGN.md, section 10), without `_total` and `_seconds`.
const METRICS: [&str; 11] = [
    "payment_requests",
    "payment_request_duration",
    "stage_batch_size",
    "stage_duration",
    "payment_end_to_end",
    "payments_rejected",
    "payments_dead",
    "stage_lag_messages",
    "stage_redeliveries",
    "ledger_invariant_violations",
    "ledger_oldest_open_hold",
];

const SIGNALS: &str = "shared/signals/";
const METRIC_TABLE: &str = "shared/signals/src/metric.rs";

/// Strings that are no test's.
fn strings<'c>(checkout: &'c Checkout) -> impl Iterator<Item = (&'c File, &'c Literal)> {
    let sources = checkout.rust_files().filter(|(file, _)| !file.is_test());
    sources.flat_map(|(file, rust): (&'c File, &'c RustText)| {
        rust.strings.iter().filter(|literal| !rust.is_test(literal.line)).map(move |literal| (file, literal))
    })
}

/// Subjects and streams are spelled in wire alone.
pub(crate) fn subjects(checkout: &Checkout) -> Vec<Finding> {
    let is_name = |text: &str| {
        text.starts_with("pay.")
            || text.contains("PAY_")
            || HOPS.iter().any(|hop| text.contains(&format!("pay.{hop}")))
    };
    let elsewhere = strings(checkout)
        .filter(|(file, literal)| !file.path.starts_with("shared/wire/src/") && is_name(&literal.text));
    let reason =
        "a subject or stream is spelled out: only shared/wire/src may; use wire::Subject and wire::Stream";
    elsewhere.map(|(file, literal)| file.finding(literal.line, reason)).collect()
}

/// Metrics are named in signals alone: those of the contract, and those that its table adds to them.
pub(crate) fn metrics(checkout: &Checkout) -> Vec<Finding> {
    let table = checkout.file(METRIC_TABLE).and_then(|file| file.rust.as_ref());
    let declared = table.map(declared_metrics).unwrap_or_default();
    let names: Vec<&str> = METRICS.into_iter().chain(declared.iter().map(String::as_str)).collect();
    let bare = |word: &str| {
        ["_total", "_seconds"]
            .iter()
            .fold(word.to_owned(), |word, ending| word.trim_end_matches(ending).to_owned())
    };
    let named = |text: &str| {
        let mut words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        words.any(|word| {
            names.contains(&word) || names.iter().any(|name| word.contains('_') && bare(name) == bare(word))
        })
    };
    let elsewhere =
        strings(checkout).filter(|(file, literal)| !file.path.starts_with(SIGNALS) && named(&literal.text));
    let reason =
        format!("a metric is named: only {SIGNALS} may; give a struct of runtime::telemetry a method");
    elsewhere.map(|(file, literal)| file.finding(literal.line, reason.clone())).collect()
}

/// The first string of each line of the table `NAME = Kind, "name", ...`.
fn declared_metrics(table: &RustText) -> Vec<String> {
    let is_row = |line: usize| {
        let code = table.code.get(line - 1).map_or("", String::as_str);
        [" = Counter, ", " = Gauge, ", " = Histogram("].iter().any(|kind| code.contains(kind))
    };
    let mut rows: Vec<(usize, String)> = Vec::new();
    for literal in table.strings.iter().filter(|literal| is_row(literal.line)) {
        if rows.last().is_none_or(|(line, _)| *line != literal.line) {
            rows.push((literal.line, literal.text.clone()));
        }
    }
    rows.into_iter().map(|(_, name)| name).collect()
}

/// The domain does no I/O, reads no clock, draws no random number and computes without floats.
pub(crate) fn pure_domain(checkout: &Checkout) -> Vec<Finding> {
    const BANNED: [(&str, &str); 7] = [
        ("tokio", "the domain does no I/O"),
        ("SystemTime", "time is an argument"),
        ("Instant", "time is an argument"),
        ("now_utc", "time is an argument"),
        ("rand", "randomness is an argument"),
        ("f32", "money is integer minor units"),
        ("f64", "money is integer minor units"),
    ];
    banned(checkout, "shared/domain/", &BANNED)
}

/// No amount passes through a float on its way into the ledger.
pub(crate) fn no_floats_in_the_store(checkout: &Checkout) -> Vec<Finding> {
    banned(
        checkout,
        "shared/store/src/",
        &[("f32", "money is integer minor units"), ("f64", "money is integer minor units")],
    )
}

fn banned(checkout: &Checkout, folder: &str, words: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in checkout.rust_files().filter(|(file, _)| file.path.starts_with(folder)) {
        for (line, code) in rust.lines() {
            let found = words.iter().filter(|(word, _)| has_word(code, word));
            findings.extend(
                found.map(|(word, reason)| file.finding(line, format!("`{word}` in {folder}: {reason}"))),
            );
        }
    }
    findings
}

#[test]
fn a_name_away_from_home_is_found() {
    let table =
        (METRIC_TABLE, "    REDRIVEN = Counter, \"payments_redriven_total\", [], \"not_a_name here\";\n");
    let words = "// pay.accepted in a comment\nlet a = \"pay.accepted.0.X\";\nlet b = \"see PAY_DEAD\";\nlet c = \"pay.*.*.x\";\nlet d = \"prepay. accepted\";\n#[cfg(test)]\nmod t { const E: &str = \"PAY_X\"; }\n";
    let metrics = "let a = \"payments_redriven_total\";\nlet b = \"rate(stage_duration_seconds[1m])\";\nlet c = \"stage_durations\";\n// payments_dead\nlet d = \"payments_dead{stage}\";\n";
    let domain = "use rand::Rng; // tokio\nlet x: f64 = \"f32\";\nlet operand = Instant::now();\n";
    crate::check(&[
        (
            "subjects",
            &[("a/src/b.rs", words), ("a/tests/b.rs", words)],
            &["a/src/b.rs:2", "a/src/b.rs:3", "a/src/b.rs:4"],
        ),
        ("subjects", &[("shared/wire/src/subject.rs", words)], &[]),
        (
            "metrics",
            &[table, ("shared/signals/src/b.rs", metrics), ("a/src/b.rs", metrics)],
            &["a/src/b.rs:1", "a/src/b.rs:2", "a/src/b.rs:5"],
        ),
        (
            "pure domain",
            &[("shared/domain/src/a.rs", domain), ("a/src/b.rs", domain)],
            &["shared/domain/src/a.rs:1", "shared/domain/src/a.rs:2", "shared/domain/src/a.rs:3"],
        ),
        ("no floats in the store", &[("shared/store/src/a.rs", domain)], &["shared/store/src/a.rs:2"]),
        ("no floats in the store", &[("shared/store/tests/a.rs", domain)], &[]),
    ]);
}
