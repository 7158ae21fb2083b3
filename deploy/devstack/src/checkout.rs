//! Where things lie: the checkout, its state folder, and a folder for tests that the server's user may enter.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, launch, user};

/// A file that only this workspace has, so that a run inside some other cargo workspace finds nothing.
const MARKER: &str = "deploy/devstack/Cargo.toml";

/// The workspace folder: above this program's file, else above the current folder.
///
/// # Errors
/// [`Error::NoCheckout`] when neither lies inside a checkout.
pub fn find_root() -> Result<PathBuf, Error> {
    let starts = [env::current_exe().ok(), env::current_dir().ok()];
    starts.iter().flatten().find_map(|start| root_above(start)).ok_or(Error::NoCheckout)
}

fn root_above(start: &Path) -> Option<PathBuf> {
    let found = start.ancestors().find(|folder| folder.join(MARKER).is_file())?;
    found.canonicalize().ok()
}

/// A folder for test servers, one per user: `kilat-<uid>` in a temporary folder which the user that runs
/// Postgres may enter.
pub(crate) fn scratch_folder() -> Result<PathBuf, Error> {
    let candidates = [env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/tmp")];
    let must_be_open = user::is_root();
    let Some(base) =
        candidates.iter().find(|folder| folder.is_dir() && (!must_be_open || is_enterable(folder)))
    else {
        let tried = candidates.map(|folder| folder.display().to_string()).join(", ");
        return Err(Error::NoScratchFolder { tried });
    };
    own_folder(&base.join(format!("kilat-{}", user::own_id())))
}

/// Makes a folder of ours in a place where anybody may write, open for others to walk through.
///
/// # Errors
/// [`Error::File`] also when the folder belongs to somebody else: its name can be guessed.
pub fn own_folder(folder: &Path) -> Result<PathBuf, Error> {
    launch::make_folder(folder)?;
    let metadata = fs::symlink_metadata(folder).map_err(Error::file("look at", folder))?;
    if !metadata.is_dir() || metadata.uid() != user::own_id() {
        let refused = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it is not a folder of ours");
        return Err(Error::File { action: "use", path: folder.to_owned(), source: refused });
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(Error::file("set the mode of", folder))?;
    folder.canonicalize().map_err(Error::file("resolve", folder))
}

/// Whether every user may walk through all folders down to this one.
fn is_enterable(folder: &Path) -> bool {
    const OTHERS_MAY_ENTER: u32 = 0o001;
    let Ok(folder) = folder.canonicalize() else { return false };
    folder.ancestors().all(|part| fs::metadata(part).is_ok_and(|found| found.mode() & OTHERS_MAY_ENTER != 0))
}
