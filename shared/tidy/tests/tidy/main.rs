//! The rules of the checkout that no compiler checks. Each is one function over the same list of files, and
//! says of a file and line what is wrong and what to do instead.
//!
//! A rule is added by writing it, giving it a line in [`RULES`], and a row in the table that shows it fire.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod checkout;
mod dependencies;
mod hygiene;
mod names;
mod papers;
mod rust_text;
mod shape;

use checkout::{Checkout, Finding};

type Rule = fn(&Checkout) -> Vec<Finding>;

/// Every rule, by the name that its test row uses.
const RULES: [(&str, Rule); 18] = [
    ("arrows", dependencies::arrows),
    ("workspace dependencies", dependencies::workspace_dependencies),
    ("unused dependencies", dependencies::unused_dependencies),
    ("database client", dependencies::database_client),
    ("broker client", dependencies::broker_client),
    ("file length", shape::file_length),
    ("function length", shape::function_length),
    ("subjects", names::subjects),
    ("metrics", names::metrics),
    ("pure domain", names::pure_domain),
    ("no floats in the store", names::no_floats_in_the_store),
    ("unfinished work", hygiene::unfinished_work),
    ("ignored tests", hygiene::ignored_tests),
    ("notes to self", hygiene::notes_to_self),
    ("sleeping tests", hygiene::sleeping_tests),
    ("biased selects", hygiene::biased_selects),
    ("migrations", papers::migrations),
    ("code map", papers::code_map),
];

#[test]
fn the_checkout_keeps_the_rules() {
    let checkout = Checkout::read();
    assert!(checkout.files.len() > 100, "only {} files were found", checkout.files.len());
    let findings: Vec<String> = RULES
        .into_iter()
        .flat_map(|(name, rule)| {
            rule(&checkout).into_iter().map(move |finding| format!("{finding}  [{name}]"))
        })
        .collect();
    assert!(findings.is_empty(), "{} breaches of the rules:\n{}", findings.len(), findings.join("\n"));
}

/// A rule, the paths and texts of a made-up checkout, and where the rule fires on it, as `path:line`.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r [&'r str]);

fn check(rows: &[Row<'_>]) {
    for (rule, files, expected) in rows {
        let found = RULES.into_iter().find(|(name, _)| name == rule);
        let (_, apply) = found.unwrap_or_else(|| panic!("no rule is called {rule}"));
        let fired: Vec<String> = apply(&Checkout::of(files))
            .iter()
            .map(|finding| format!("{}:{}", finding.path, finding.line))
            .collect();
        assert_eq!(fired, *expected, "{rule}");
    }
}
