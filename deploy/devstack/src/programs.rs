//! Finds the server programs, and refuses the ones that are too old.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Error, checkout};

/// Atomic batches are fsynced together from this version on.
const NATS_MIN: (u32, u32) = (2, 15);
/// The version that Debian stable ships; migrations and queries are written for it.
const POSTGRES_MIN: u32 = 15;

/// The folder with `postgres`, `initdb` and `psql`, and their version.
#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
    /// For example `15.18`.
    pub(crate) version: String,
}

impl PostgresPrograms {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command without the `PG...` variables that somebody may have set for another server.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.path(name));
        command.env_clear().env("LC_ALL", "C");
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

/// Path of a nats-server that is young enough: from PATH, else what `make deps` unpacked into `.kilat/bin`.
///
/// # Errors
/// [`Error::NoNatsServer`] tells what was found instead.
pub(crate) fn nats_server() -> Result<PathBuf, Error> {
    let root = checkout::find_root().ok();
    let unpacked = root.as_ref().map(|root| root.join(".kilat/bin/nats-server"));
    let mut tried = Vec::new();
    for program in find_program("nats-server").into_iter().chain(unpacked) {
        match version_text(&program) {
            None => tried.push(format!("{} is missing or does not run", program.display())),
            Some(text) => match numbers(&text)[..] {
                [major, minor, ..] if (major, minor) >= NATS_MIN => return Ok(program),
                _ => tried.push(format!("{} says `{text}`", program.display())),
            },
        }
    }
    Err(Error::NoNatsServer {
        wanted: format!("{}.{}", NATS_MIN.0, NATS_MIN.1),
        tried: describe(&tried),
        root: root.map_or_else(|| "the Kilat checkout".to_owned(), |root| root.display().to_string()),
    })
}

/// Path of Prometheus; its configuration is as old as its second edition.
///
/// # Errors
/// [`Error::NoPrometheus`] when PATH has none.
pub(crate) fn prometheus() -> Result<PathBuf, Error> {
    find_program("prometheus").ok_or(Error::NoPrometheus)
}

/// The Postgres server programs: beside `postgres` on PATH, where `pg_config` says, or in the usual folders
/// of distributions, which are not on PATH.
pub(crate) fn postgres() -> Result<PostgresPrograms, Error> {
    // Asking the programs for their versions takes longer than most queries.
    static FOUND: OnceLock<PostgresPrograms> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = find_postgres()?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// The first program of that name in the folders of PATH.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

/// Whether it is a file that somebody may run.
#[must_use]
pub fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn find_postgres() -> Result<PostgresPrograms, Error> {
    let mut tried = Vec::new();
    for folder in postgres_folders() {
        let server = folder.join("postgres");
        if ["postgres", "initdb", "psql"].iter().any(|name| !folder.join(name).is_file()) {
            continue;
        }
        let text = version_text(&server).unwrap_or_default();
        match numbers(&text)[..] {
            [major, ..] if major >= POSTGRES_MIN => {
                let version = numbers(&text).iter().map(u32::to_string).collect::<Vec<_>>().join(".");
                return Ok(PostgresPrograms { folder, major, version });
            }
            _ => tried.push(format!("{} says `{text}`", server.display())),
        }
    }
    Err(Error::NoPostgres { wanted: POSTGRES_MIN, tried: describe(&tried) })
}

fn postgres_folders() -> Vec<PathBuf> {
    // A link on PATH is followed, because initdb and psql lie beside the real file.
    let linked = find_program("postgres").and_then(|found| found.canonicalize().ok());
    let mut folders: Vec<PathBuf> =
        linked.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
    if let Some(program) = find_program("pg_config") {
        folders.extend(output_line(&program, "--bindir").map(PathBuf::from));
    }
    let mut installed = versioned_folders("/usr/lib/postgresql", "");
    installed.extend(versioned_folders("/usr", "pgsql-"));
    installed.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.extend(installed.into_iter().map(|(_, folder)| folder));
    folders
}

/// The `bin` folders in `base/<prefix><version>/`.
fn versioned_folders(base: &str, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let versions = entries.flatten().filter_map(|entry| {
        let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    versions.collect()
}

fn version_text(program: &Path) -> Option<String> {
    output_line(program, "--version")
}

fn output_line(program: &Path, argument: impl AsRef<OsStr>) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The first dotted number in a version line: `nats-server: v2.15.1` gives 2, 15, 1 and `postgres
/// (PostgreSQL) 16beta1` gives 16.
fn numbers(text: &str) -> Vec<u32> {
    let Some(start) = text.find(|letter: char| letter.is_ascii_digit()) else { return Vec::new() };
    let digits_and_dots = |letter: char| !letter.is_ascii_digit() && letter != '.';
    let end = text[start..].find(digits_and_dots).map_or(text.len(), |length| start + length);
    text[start..end].split('.').map_while(|part| part.parse().ok()).collect()
}

fn describe(tried: &[String]) -> String {
    if tried.is_empty() { "none was found".to_owned() } else { tried.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::{is_program, numbers};
    use std::path::Path;

    #[test]
    fn programs_are_files_that_may_be_run() {
        let own = std::env::current_exe().unwrap();
        let rows = [(own.as_path(), true), (Path::new("/etc/passwd"), false), (Path::new("/"), false)];
        for (file, expected) in rows {
            assert_eq!(is_program(file), expected, "{}", file.display());
        }
    }

    #[test]
    fn versions_are_read_from_what_programs_say() {
        let rows: [(&str, &[u32]); 6] = [
            ("nats-server: v2.15.1", &[2, 15, 1]),
            ("nats-server: v2.16.0-beta.1", &[2, 16, 0]),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", &[15, 18]),
            ("postgres (PostgreSQL) 18beta1", &[18]),
            ("no number", &[]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }
}
