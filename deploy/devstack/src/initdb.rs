//! The data folder of a new Postgres.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::programs::PostgresPrograms;
use crate::user::User;
use crate::{Error, launch, process};

/// The superuser of every private Postgres; the migrations run as it.
pub const OWNER: &str = "kilat_owner";

/// Initialises a data folder: in a neighbour folder that is renamed when complete, so that an interrupted
/// attempt is not taken for a database.
pub(crate) fn initialise(
    programs: &PostgresPrograms,
    user: Option<User>,
    data_dir: &Path,
    further_arguments: &[&str],
) -> Result<(), Error> {
    let unfinished = append(data_dir, ".unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::file("remove", &unfinished))?;
    }
    launch::make_folder(&unfinished)?;
    let mut command = programs.command("initdb");
    if let Some(user) = user {
        chown(&unfinished, Some(user.user_id), Some(user.group_id))
            .map_err(Error::file("give away", &unfinished))?;
        command.uid(user.user_id).gid(user.group_id);
    }
    // The C locale: every machine has it, and ids sort by their bytes.
    command
        .args(["--username", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C"])
        .args(further_arguments);
    command.arg("--pgdata").arg(&unfinished).current_dir("/");
    process::output_of(command)?;
    fs::rename(&unfinished, data_dir).map_err(Error::file("rename", &unfinished))
}

/// A neighbour of this path; the name may hold dots itself.
fn append(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
