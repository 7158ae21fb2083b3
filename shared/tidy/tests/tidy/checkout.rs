//! The files that the rules look at.

use crate::rust_text::RustText;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

/// A file with its path from the top of the checkout.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Of Rust files: code, comments and strings apart.
    pub(crate) rust: Option<RustText>,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let rust = path.ends_with(".rs").then(|| RustText::of(text));
        File { path: path.to_owned(), text: text.to_owned(), rust }
    }

    /// What is wrong in this file; lines count from 1.
    pub(crate) fn finding(&self, line: usize, reason: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, reason: reason.into() }
    }

    /// Whether all of the file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || ["/tests.rs", "_tests.rs", "/testing.rs"].iter().any(|ending| self.path.ends_with(ending))
    }
}

/// Every file of ours that is text.
pub(crate) struct Checkout {
    pub(crate) files: Vec<File>,
}

impl Checkout {
    /// The checkout that this crate lies in.
    pub(crate) fn read() -> Checkout {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut paths = Vec::new();
        list(&top, &mut paths);
        paths.sort();
        let files = paths.iter().filter_map(|path| {
            // What is not text is no concern of these rules.
            let text = std::fs::read_to_string(path).ok()?;
            Some(File::new(path.strip_prefix(&top).unwrap().to_str()?, &text))
        });
        Checkout { files: files.collect() }
    }

    /// One made of paths and texts.
    pub(crate) fn of(files: &[(&str, &str)]) -> Checkout {
        Checkout { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files, with their parts.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&File, &RustText)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }
}

/// Kinds of files that people here write.
const ENDINGS: [&str; 13] =
    ["rs", "sql", "sh", "toml", "md", "json", "yaml", "yml", "txt", "html", "css", "js", "mjs"];

fn list(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        // Hidden folders hold state; target and data are made by programs.
        let is_made = name.starts_with('.') || name == "target" || path.ends_with("loadtest/data");
        let is_link = path.is_symlink();
        if path.is_dir() && !is_made && !is_link {
            list(&path, paths);
        } else if name == "Makefile"
            || path
                .extension()
                .and_then(|ending| ending.to_str())
                .is_some_and(|ending| ENDINGS.contains(&ending))
        {
            paths.push(path);
        }
    }
}
