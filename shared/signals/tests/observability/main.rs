//! The files of `observability/`: written from the tables, understood by Prometheus, without a loose end.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod files;
mod lint;
mod promql;
mod promtool;
mod rules;

use std::path::PathBuf;

/// The folder that the tables are written into.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../observability")
}

/// The names of the files in one of its folders, without what follows the last dot.
fn names(of: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder().join(of)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn sorted(names: impl Iterator<Item = impl Into<String>>) -> Vec<String> {
    let mut names: Vec<String> = names.map(Into::into).collect();
    names.sort();
    names
}
