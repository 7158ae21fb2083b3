//! An initialised data folder, made once per machine and Postgres version, and copied for each test server: a
//! copy takes a tenth of the time of `initdb`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::PostgresPrograms;
use crate::{Error, checkout, initdb, process, user};

/// Goes up when the arguments below change.
const EDITION: u32 = 1;
/// No fsync for a folder that can be made again; small log segments, because most of a new data folder is one
/// segment.
const ARGUMENTS: [&str; 2] = ["--no-sync", "--wal-segsize=1"];

/// Copies the template to a folder that does not exist yet.
pub(crate) fn copy_to(data_dir: &Path, programs: &PostgresPrograms) -> Result<(), Error> {
    let template = prepare(programs)?;
    let mut command = Command::new("cp");
    command.arg("-a").arg("--").arg(&template).arg(data_dir);
    process::output_of(command).map(|_| ())
}

/// The template's folder; made by the first process that asks, while the others wait for its lock.
fn prepare(programs: &PostgresPrograms) -> Result<PathBuf, Error> {
    let name = format!("postgres-{}-template-{EDITION}", programs.version);
    let scratch = checkout::scratch_folder()?;
    let template = scratch.join(&name);
    if template.exists() {
        return Ok(template);
    }
    let lock_file = scratch.join(format!("{name}.lock"));
    let lock = File::options().write(true).create(true).truncate(false).open(&lock_file);
    let lock = lock.map_err(Error::file("open", &lock_file))?;
    lock.lock().map_err(Error::file("lock", &lock_file))?;
    if !template.exists() {
        initdb::initialise(programs, user::for_postgres()?, &template, &ARGUMENTS)?;
    }
    Ok(template)
}
