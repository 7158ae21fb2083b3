//! What must not be left lying about.

use crate::checkout::{Checkout, File, Finding};
use crate::rust_text::has_word;

/// Where time passes by itself, and every run can be run again.
const SIMULATION: &str = "shared/simulation/";

/// No macros that stand for work to come.
pub(crate) fn unfinished_work(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in checkout.rust_files() {
        for (line, code) in rust.lines() {
            let found = ["todo!", "unimplemented!", "dbg!"]
                .into_iter()
                .filter(|name| code.contains(name) && has_word(code, &name[..name.len() - 1]));
            findings.extend(found.map(|name| file.finding(line, format!("`{name}` is left: finish it"))));
        }
    }
    findings
}

/// A test that is not run says why.
pub(crate) fn ignored_tests(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in checkout.rust_files() {
        let silent =
            rust.lines().filter(|(_, code)| code.contains("#[ignore") && !code.contains("#[ignore = \""));
        findings.extend(
            silent.map(|(line, _)| {
                file.finding(line, "an ignored test without a reason: `#[ignore = \"why\"]`")
            }),
        );
    }
    findings
}

/// Work to come stands in the design, not between the lines. The words are put together so that this file has
/// none.
pub(crate) fn notes_to_self(checkout: &Checkout) -> Vec<Finding> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut findings = Vec::new();
    for file in &checkout.files {
        let lines: Vec<&str> = match &file.rust {
            Some(rust) => rust.comments.iter().map(String::as_str).collect(),
            None if file.path.ends_with(".json") => continue,
            None => file.text.lines().collect(),
        };
        let noted = (1..).zip(lines).filter(|(_, text)| words.iter().any(|word| has_word(text, word)));
        findings.extend(
            noted.map(|(line, _)| file.finding(line, "a note to self: do it, or write it into the design")),
        );
    }
    findings
}

/// A test waits for what it needs; where only time will do, a comment says why.
pub(crate) fn sleeping_tests(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The simulation's time passes by itself: what sleeps there waits for nothing.
    for (file, rust) in checkout.rust_files().filter(|(file, _)| !file.path.starts_with(SIMULATION)) {
        let sleeps = rust
            .lines()
            .filter(|(line, code)| (file.is_test() || rust.is_test(*line)) && code.contains("sleep("));
        for (line, _) in sleeps {
            let has_comment =
                |line: usize| rust.comments.get(line - 1).is_some_and(|comment| !comment.trim().is_empty());
            if !has_comment(line) && (line == 1 || !has_comment(line - 1)) {
                findings.push(file.finding(
                    line,
                    "a test sleeps: await the event, or say on the line above why only time will do",
                ));
            }
        }
    }
    findings
}

/// Of branches that are ready at once the first is taken. By chance, a simulation could not be run again.
pub(crate) fn biased_selects(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let runs_again = |file: &File| !file.is_test() || file.path.starts_with(SIMULATION);
    for (file, rust) in checkout.rust_files().filter(|(file, _)| runs_again(file)) {
        let is_judged = |line: usize| file.path.starts_with(SIMULATION) || !rust.is_test(line);
        let selects = rust.lines().filter(|(line, code)| code.contains("select! {") && is_judged(*line));
        for (line, code) in selects {
            let same_line = code.split_once("select! {").map_or("", |(_, rest)| rest);
            let after = rust.code.iter().skip(line).map(String::as_str);
            let first = [same_line].into_iter().chain(after).map(str::trim).find(|text| !text.is_empty());
            if !first.is_some_and(|first| first.starts_with("biased;")) {
                findings.push(file.finding(line, "a branch is taken by chance: begin with `biased;`"));
            }
        }
    }
    findings
}

#[test]
fn what_lies_about_is_found() {
    let left = "fn a() {\n    todo!()\n}\n// todo! in a comment\nlet s = \"dbg!\"; dbg!(s);\nunimplemented!(\"x\");\nmy_todo!();\n";
    let ignored = "#[ignore]\n#[ignore = \"takes an hour\"]\n#[ignore=\"x\"]\n";
    let note = format!("// {}: later\nlet x = \"{}\";\n", concat!("TO", "DO"), concat!("TO", "DO"));
    let sleeps = "sleep(x); // the lease runs out by the clock\n// so long\ntokio::time::sleep(y).await;\n\nsleep(z);\nlet s = \"sleep(\";\n";
    let selects = "select! {\n    // Why.\n    biased;\n}\ntokio::select! {\n    () = a => {}\n}\nselect! { biased; }\nselect! { () = b }\n";
    let tested = format!("sleep(a);\n#[cfg(test)]\nmod tests {{\n{sleeps}}}\n");
    crate::check(&[
        ("unfinished work", &[("a/src/b.rs", left)], &["a/src/b.rs:2", "a/src/b.rs:5", "a/src/b.rs:6"]),
        ("ignored tests", &[("a/tests/b.rs", ignored)], &["a/tests/b.rs:1", "a/tests/b.rs:3"]),
        ("notes to self", &[("a/src/b.rs", &note)], &["a/src/b.rs:1"]),
        ("notes to self", &[("a/b.sql", &note)], &["a/b.sql:1", "a/b.sql:2"]),
        ("sleeping tests", &[("a/tests/b.rs", sleeps)], &["a/tests/b.rs:5"]),
        ("sleeping tests", &[("a/src/b.rs", sleeps)], &[]),
        ("sleeping tests", &[("shared/simulation/tests/b.rs", sleeps)], &[]),
        ("sleeping tests", &[("a/src/b.rs", &tested)], &["a/src/b.rs:8"]),
        ("biased selects", &[("a/src/b.rs", selects)], &["a/src/b.rs:5", "a/src/b.rs:9"]),
        ("biased selects", &[("a/tests/b.rs", selects)], &[]),
        (
            "biased selects",
            &[("shared/simulation/tests/b.rs", selects)],
            &["shared/simulation/tests/b.rs:5", "shared/simulation/tests/b.rs:9"],
        ),
    ]);
}
