//! What the stack remembers between two commands, in `.kilat/` of its checkout.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use devstack::{Error, ProcessIdentity};

use crate::member::Member;

/// The paths below `.kilat/`.
#[derive(Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
    folder: PathBuf,
}

/// A member that was started, and may run still.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) process: ProcessIdentity,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl StateFolder {
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), folder: root.join(".kilat") }
    }

    /// Makes the folders, and keeps other commands on this stack waiting until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        for folder in [self.folder.join("log"), self.run_folder()] {
            fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        let path = self.folder.join("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        file.lock().map_err(Error::file("lock", &path))?;
        Ok(file)
    }

    pub(crate) fn exists(&self) -> bool {
        self.folder.exists()
    }

    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    pub(crate) fn nats_data(&self) -> PathBuf {
        self.folder.join("nats")
    }

    pub(crate) fn traces_data(&self) -> PathBuf {
        self.folder.join("traces")
    }

    pub(crate) fn prometheus_data(&self) -> PathBuf {
        self.folder.join("prometheus")
    }

    pub(crate) fn grafana_data(&self) -> PathBuf {
        self.folder.join("grafana")
    }

    /// Records of what runs; who has no data works here.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Where Postgres keeps its data. User `postgres`, who runs it when we are root, may be unable to enter
    /// the checkout; then the data lies in a folder of its own.
    pub(crate) fn postgres_data(&self) -> PathBuf {
        self.postgres_base().join("postgres")
    }

    /// The folder above [`postgres_data`](Self::postgres_data).
    pub(crate) fn postgres_base(&self) -> PathBuf {
        if !devstack::is_root() {
            return self.folder.clone();
        }
        let name = format!("kilat-{:016x}", fingerprint(self.root.as_os_str().as_bytes()));
        Path::new("/var/tmp").join(name)
    }

    /// Notes for people where the data of Postgres is.
    pub(crate) fn note_postgres_data(&self) -> Result<(), Error> {
        let path = self.folder.join("postgres.path");
        fs::write(&path, format!("{}\n", self.postgres_data().display())).map_err(Error::file("write", &path))
    }

    /// Lines: pid, start time, checkout, addresses. The checkout is there because a copied checkout has a
    /// copied state.
    pub(crate) fn write(&self, member: Member, record: &Record) -> Result<(), Error> {
        let addresses: Vec<String> = record.addresses.iter().map(SocketAddr::to_string).collect();
        let ProcessIdentity { pid, start_time } = record.process;
        let text = format!("{pid}\n{start_time}\n{}\n{}\n", self.root.display(), addresses.join(" "));
        let path = self.record_file(member);
        fs::write(&path, text).map_err(Error::file("write", &path))
    }

    /// What was started last, whether or not it still runs.
    pub(crate) fn read(&self, member: Member) -> Option<Record> {
        let text = fs::read_to_string(self.record_file(member)).ok()?;
        let mut lines = text.lines();
        let process =
            ProcessIdentity { pid: lines.next()?.parse().ok()?, start_time: lines.next()?.parse().ok()? };
        if Path::new(lines.next()?) != self.root {
            return None;
        }
        let addresses = lines.next()?.split(' ').filter_map(|address| address.parse().ok()).collect();
        Some(Record { process, addresses })
    }

    /// What was started last and still runs.
    pub(crate) fn running(&self, member: Member) -> Option<Record> {
        self.read(member).filter(|record| record.process.is_alive())
    }

    pub(crate) fn forget(&self, member: Member) {
        // It may never have been there.
        let _ = fs::remove_file(self.record_file(member));
    }

    /// What a stack that is down can be made again from nothing: all but the programs that `make deps` has
    /// fetched.
    pub(crate) fn removable(&self) -> Vec<PathBuf> {
        let names = [
            "log",
            "run",
            "nats",
            "traces",
            "prometheus",
            "grafana",
            "postgres",
            "postgres.path",
            "demo",
            "bench",
        ];
        let mut paths: Vec<PathBuf> = names.iter().map(|name| self.folder.join(name)).collect();
        if devstack::is_root() {
            paths.push(self.postgres_base());
        }
        paths
    }

    fn record_file(&self, member: Member) -> PathBuf {
        self.run_folder().join(format!("{member}.pid"))
    }
}

/// FNV-1a: the same for the same path in every version of this program.
fn fingerprint(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn fingerprints_are_those_of_the_published_function() {
        let rows: [(&str, u64); 3] =
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        for (text, expected) in rows {
            assert_eq!(fingerprint(text.as_bytes()), expected, "{text}");
        }
    }
}
