//! What is written about the code is there, and whole.

use crate::checkout::{Checkout, Finding};

/// Each migration opens with what it does, why, which locks traffic meets, and how to undo it.
pub(crate) fn migrations(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in checkout
        .files
        .iter()
        .filter(|file| file.path.starts_with("migrations/") && file.path.ends_with(".sql"))
    {
        let head: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("--")).collect();
        let mut below = 0;
        for heading in ["-- What:", "-- Why:", "-- Locks:", "-- Undo:"] {
            match head
                .iter()
                .skip(below)
                .position(|line| line.strip_prefix(heading).is_some_and(|rest| !rest.trim().is_empty()))
            {
                Some(place) => below += place + 1,
                None => findings.push(
                    file.finding(below + 1, format!("the opening comment lacks `{heading}`, in this order")),
                ),
            }
        }
    }
    findings
}

/// The map in the README names every member's folder.
pub(crate) fn code_map(checkout: &Checkout) -> Vec<Finding> {
    let (Some(readme), Some(manifest)) = (checkout.file("README.md"), checkout.file("Cargo.toml")) else {
        return Vec::new();
    };
    let lines = manifest
        .text
        .lines()
        .skip_while(|line| !line.starts_with("members"))
        .take_while(|line| !line.starts_with(']'));
    let members = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let missing = members.filter(|member| !readme.text.contains(member));
    missing.map(|member| readme.finding(1, format!("the map does not name `{member}`"))).collect()
}

#[test]
fn what_is_missing_is_found() {
    let good =
        "-- What:  x.\n-- Why:   y\n--        z.\n-- Locks: none.\n-- Undo:  DROP.\nCREATE TABLE a ();\n";
    let bad = "-- What:  x.\n-- Locks: none.\n-- Undo:\nCREATE TABLE a ();\n-- Why: late\n";
    let workspace =
        ("Cargo.toml", "[workspace]\nmembers = [\n    \"shared/a\",\n    \"b\",\n]\nx = [\"c\"]\n");
    crate::check(&[
        ("migrations", &[("migrations/1.sql", good), ("other/1.sql", bad)], &[]),
        ("migrations", &[("migrations/2.sql", bad)], &["migrations/2.sql:2", "migrations/2.sql:3"]),
        ("code map", &[workspace, ("README.md", "`shared/a` does this")], &["README.md:1"]),
        ("code map", &[workspace], &[]),
    ]);
}
