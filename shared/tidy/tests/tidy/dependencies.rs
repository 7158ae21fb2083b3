//! Who may know whom.

use crate::checkout::{Checkout, File, Finding};

/// The arrows: a crate and those of ours that it may depend on. Tests may use more.
const ARROWS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("wire", &["domain"]),
    ("store", &["domain"]),
    ("signals", &["wire", "domain"]),
    ("config", &["wire", "domain"]),
    ("runtime", &["config", "signals", "wire", "domain"]),
    ("host", &["runtime", "store", "config", "signals", "wire", "domain"]),
    ("stages", &["host", "runtime", "store", "config", "signals", "wire", "domain"]),
    ("gateway", &["host", "runtime", "store", "config", "signals", "wire", "domain"]),
    ("loadtest", &["runtime", "store", "config", "signals", "wire", "domain"]),
    ("devstack", &["config", "signals", "wire"]),
    ("simulation", &[]),
    ("tidy", &[]),
];

/// A line `name = ...` or `name.workspace = true` of a section of a Cargo.toml.
struct Line<'t> {
    number: usize,
    section: &'t str,
    name: &'t str,
    text: &'t str,
}

fn lines(manifest: &File) -> Vec<Line<'_>> {
    let mut section = "";
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(manifest.text.lines()) {
        if text.starts_with('[') {
            section = text.trim_matches(['[', ']']);
        } else if let Some((key, _)) = text.split_once('=').filter(|_| !text.starts_with(['#', ' ', '"'])) {
            let name = key.trim().trim_end_matches(".workspace");
            lines.push(Line { number, section, name, text });
        }
    }
    lines
}

/// The manifests of the members.
fn manifests(checkout: &Checkout) -> impl Iterator<Item = &File> {
    checkout.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"))
}

fn package_name<'f>(lines: &[Line<'f>]) -> &'f str {
    let name = lines.iter().find(|line| line.section == "package" && line.name == "name");
    name.and_then(|line| line.text.split('"').nth(1)).unwrap_or("")
}

/// Dependencies between our crates follow the arrows.
pub(crate) fn arrows(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(checkout) {
        let lines = lines(manifest);
        let package = package_name(&lines);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
            findings.push(manifest.finding(
                1,
                format!("crate `{package}` has no row in ARROWS: say there what it may depend on"),
            ));
            continue;
        };
        for line in lines.iter().filter(|line| matches!(line.section, "dependencies" | "build-dependencies"))
        {
            let is_ours = ARROWS.iter().any(|(name, _)| *name == line.name);
            if is_ours && !allowed.contains(&line.name) {
                findings.push(manifest.finding(
                    line.number,
                    format!("`{package}` may not depend on `{}`; allowed: {allowed:?}", line.name),
                ));
            }
        }
    }
    findings
}

/// Each dependency of the workspace says what it is for, and someone uses it.
pub(crate) fn workspace_dependencies(checkout: &Checkout) -> Vec<Finding> {
    let Some(manifest) = checkout.file("Cargo.toml") else { return Vec::new() };
    let texts: Vec<&str> = manifest.text.lines().collect();
    let used: Vec<&str> = manifests(checkout)
        .flat_map(lines)
        .filter(|line| line.section.ends_with("dependencies"))
        .map(|line| line.name)
        .collect();
    let mut findings = Vec::new();
    let external =
        |line: &Line<'_>| line.section == "workspace.dependencies" && !line.text.contains("path =");
    for line in lines(manifest).iter().filter(|line| external(line)) {
        let above = texts[..line.number - 1]
            .iter()
            .rev()
            .find(|text| text.starts_with('#') || text.is_empty() || text.starts_with('['));
        if !above.is_some_and(|text| text.starts_with('#')) {
            findings.push(manifest.finding(
                line.number,
                format!("`{}` has no comment above its group: say why it is here", line.name),
            ));
        }
        if !used.contains(&line.name) {
            findings
                .push(manifest.finding(line.number, format!("no member uses `{}`: take it out", line.name)));
        }
    }
    findings
}

/// What a crate depends on, its code names.
pub(crate) fn unused_dependencies(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(checkout) {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        for line in lines(manifest).iter().filter(|line| line.section.ends_with("dependencies")) {
            let name = line.name.replace('-', "_");
            let mut ours = checkout.rust_files().filter(|(file, _)| file.path.starts_with(folder));
            if !ours.any(|(_, rust)| rust.lines_with_word(&name).next().is_some()) {
                findings.push(
                    manifest.finding(line.number, format!("no code in {folder} names `{name}`: take it out")),
                );
            }
        }
    }
    findings
}

/// Only the store knows sqlx.
pub(crate) fn database_client(checkout: &Checkout) -> Vec<Finding> {
    kept_to(checkout, ("sqlx", "sqlx"), "shared/store/", "shared/store/Cargo.toml", "ask the store")
}

/// Only the broker module knows async-nats.
pub(crate) fn broker_client(checkout: &Checkout) -> Vec<Finding> {
    kept_to(
        checkout,
        ("async-nats", "async_nats"),
        "shared/runtime/src/broker/",
        "shared/runtime/Cargo.toml",
        "go through runtime::broker",
    )
}

/// A package (by its name in manifests and in code) that only one folder and manifest may name in what is
/// shipped. A test may look from outside, with a client of its own.
fn kept_to(
    checkout: &Checkout,
    names: (&str, &str),
    folder: &str,
    manifest: &str,
    instead: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in manifests(checkout).filter(|file| file.path != manifest) {
        let named =
            lines(file).into_iter().filter(|line| line.section == "dependencies" && line.name == names.0);
        findings.extend(named.map(|line| {
            file.finding(line.number, format!("only {manifest} may name {}: {instead}", names.0))
        }));
    }
    for (file, rust) in checkout.rust_files().filter(|(file, _)| !file.path.starts_with(folder)) {
        let reason = || format!("only {folder} may name {}: {instead}", names.1);
        let shipped = rust.lines_with_word(names.1).filter(|line| !file.is_test() && !rust.is_test(*line));
        findings.extend(shipped.map(|line| file.finding(line, reason())));
    }
    findings
}

#[test]
fn a_wrong_dependency_is_found() {
    let domain = (
        "shared/domain/Cargo.toml",
        "[package]\nname = \"domain\"\n[dependencies]\nserde.workspace = true\n",
    );
    let wire = (
        "shared/wire/Cargo.toml",
        "[package]\nname = \"wire\"\n[dependencies]\nstore.workspace = true\n[dev-dependencies]\ngateway.workspace = true\n",
    );
    let new = ("new/Cargo.toml", "[package]\nname = \"new\"\n[dependencies]\nsqlx.workspace = true\n");
    let workspace = "[workspace.dependencies]\ndomain = { path = \"shared/domain\" }\n\n# Formats.\nserde = \"1\"\ntime = { version = \"0.3\" }\n\nrand = \"1\"\n[profile.dev]\nx = 1\n";
    let code = (
        "gateway/src/a.rs",
        "// sqlx, async_nats\nuse sqlx::query;\nlet x = \"async_nats\";\nasync_nats::connect();\n",
    );
    let allowed = ("shared/store/src/a.rs", "use sqlx::query;\n");
    crate::check(&[
        ("arrows", &[domain, wire, new], &["shared/wire/Cargo.toml:4", "new/Cargo.toml:1"]),
        (
            "workspace dependencies",
            &[("Cargo.toml", workspace), domain],
            &["Cargo.toml:6", "Cargo.toml:8", "Cargo.toml:8"],
        ),
        ("unused dependencies", &[domain, ("shared/domain/src/a.rs", "use serde::Serialize;\n")], &[]),
        (
            "unused dependencies",
            &[domain, ("shared/wire/src/a.rs", "use serde::Serialize;\n")],
            &["shared/domain/Cargo.toml:4"],
        ),
        ("database client", &[new, code, allowed], &["new/Cargo.toml:4", "gateway/src/a.rs:2"]),
        (
            "broker client",
            &[code, ("gateway/tests/a.rs", "use async_nats::Client;\n")],
            &["gateway/src/a.rs:4"],
        ),
        ("broker client", &[("shared/runtime/src/broker/a.rs", "use async_nats::Client;\n"), allowed], &[]),
    ]);
}
