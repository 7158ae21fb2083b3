//! Files and functions that fit a head.

use crate::checkout::{Checkout, Finding};
use crate::rust_text::RustText;

/// The kinds of files that are read from top to bottom.
const SOURCES: [&str; 8] = [".rs", ".sql", ".sh", "Makefile", ".html", ".css", ".js", ".mjs"];
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Source files have at most 400 lines.
pub(crate) fn file_length(checkout: &Checkout) -> Vec<Finding> {
    let is_source = |path: &str| SOURCES.iter().any(|ending| path.ends_with(ending));
    let files = checkout.files.iter().filter(|file| is_source(&file.path));
    let long =
        files.map(|file| (file, file.text.lines().count())).filter(|(_, count)| *count > FILE_LINES_MAX);
    let reason = |count: usize| {
        format!("{count} lines, at most {FILE_LINES_MAX}: give a part of it a file of its own")
    };
    long.map(|(file, count)| file.finding(count, reason(count))).collect()
}

/// Functions have at most 70 lines, from `fn` to the closing brace, tests too.
pub(crate) fn function_length(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in checkout.rust_files() {
        for (first, last) in functions(rust) {
            let count = last - first + 1;
            if count > FUNCTION_LINES_MAX {
                let reason = format!(
                    "a function of {count} lines, at most {FUNCTION_LINES_MAX}: give a step of it a name of its own"
                );
                findings.push(file.finding(first, reason));
            }
        }
    }
    findings
}

/// The first and last lines of the functions that have a body.
fn functions(rust: &RustText) -> Vec<(usize, usize)> {
    let starts = rust.lines().filter(|(_, code)| opens_function(code));
    starts.filter_map(|(line, _)| Some((line, end_of_body(rust, line)?))).collect()
}

/// Whether a function is declared on this line: `fn` and a name, with nothing but qualifiers before.
fn opens_function(code: &str) -> bool {
    const QUALIFIERS: [&str; 8] =
        ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let mut words = code.split_whitespace().skip_while(|word| QUALIFIERS.contains(word));
    words.next() == Some("fn")
        && words
            .next()
            .is_some_and(|name| name.starts_with(|first: char| first.is_alphabetic() || first == '_'))
}

/// The line of the brace that closes the function on this line; nothing for one without a body.
fn end_of_body(rust: &RustText, first: usize) -> Option<usize> {
    let start = rust.code.get(first - 1)?.find("fn ")?;
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (line, code) in rust.lines().skip(first - 1) {
        let offset = if line == first { start } else { 0 };
        for character in code[offset..].chars() {
            match character {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                ';' if brackets == 0 && braces == 0 => return None,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(line);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

#[test]
fn long_files_and_functions_are_found() {
    let body = |lines: usize| "    x();\n".repeat(lines);
    let longest = format!("//! Doc.\npub(crate) async fn fits(x: [u8; 3]) -> T {{\n{}}}\n", body(68));
    let too_long = format!(
        "trait A {{\n    fn none(&self);\n}}\nimpl A {{\n    fn long(&self) {{ // {{\n{}    }}\n}}\n",
        body(69)
    );
    crate::check(&[
        ("function length", &[("a/src/a.rs", &longest)], &[]),
        ("function length", &[("a/tests/a.rs", &too_long)], &["a/tests/a.rs:5"]),
        ("function length", &[("a/src/a.rs", &format!("let f = |x: fn(u8)| {{\n{}}};\n", body(80)))], &[]),
        ("file length", &[("a/src/a.rs", &"//\n".repeat(400))], &[]),
        ("file length", &[("a/x.sql", &"--\n".repeat(401))], &["a/x.sql:401"]),
        ("file length", &[("a/x.js", &"//\n".repeat(401))], &["a/x.js:401"]),
        ("file length", &[("README.md", &"x\n".repeat(999))], &[]),
    ]);
}
