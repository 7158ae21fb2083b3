//! Who we are, and who Postgres has to be.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::Error;

/// The account a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) user_id: u32,
    pub(crate) group_id: u32,
}

/// The effective user id of this process; its entry in `/proc` belongs to that user.
pub(crate) fn own_id() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |found| found.uid())
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    own_id() == 0
}

/// The user Postgres must run as: `postgres` when we are root (it refuses root), else nobody but ourselves.
pub(crate) fn for_postgres() -> Result<Option<User>, Error> {
    if !is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    account(&accounts, "postgres").map(Some).ok_or(Error::NoPostgresUser)
}

/// Finds `name:password:user_id:group_id:...` among the lines of a passwd file.
fn account(accounts: &str, name: &str) -> Option<User> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, user_id, group_id, ..] = fields[..] else { return None };
        if found != name {
            return None;
        }
        Some(User { user_id: user_id.parse().ok()?, group_id: group_id.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::{User, account};

    #[test]
    fn accounts_are_found_by_whole_name() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7:::\npostgres:x:101:104:::/bin/bash\nbroken\n";
        let rows = [
            ("postgres", Some(User { user_id: 101, group_id: 104 })),
            ("root", Some(User { user_id: 0, group_id: 0 })),
            ("nobody", None),
            ("broken", None),
        ];
        for (name, expected) in rows {
            assert_eq!(account(accounts, name), expected, "{name}");
        }
    }
}
