//! The program from outside: what it writes, and what it exits with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own, gone with the guard.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("kilat-loadtest-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program in a folder without configuration, on ports where nothing listens.
fn loadtest(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.current_dir(folder).env_clear().args(line.split_whitespace());
    for key in [
        "nats.url=nats://127.0.0.1:1",
        "postgres.url=postgres://nobody@127.0.0.1:1/none",
        "gateway.ports=[1]",
    ] {
        command.args(["--set", key]);
    }
    command.output().unwrap()
}

#[test]
fn bad_flags_and_files_exit_with_64_and_say_which() {
    let folder = Folder::new("usage");
    std::fs::write(folder.0.join("short.csv"), "id,currency\nP1,USD\n").unwrap();
    std::fs::write(
        folder.0.join("ok.csv"),
        "id,currency,amount,source_account,destination_account\nP1,USD,1,A,B\n",
    )
    .unwrap();
    std::fs::write(
        folder.0.join("no_id.csv"),
        "id,currency,amount,source_account,destination_account\n,USD,1,A,B\n",
    )
    .unwrap();
    let rows = [
        ("gen", "--out"),
        ("gen --out x.csv --rows 0", "--rows"),
        ("gen --out x.csv --accounts 2", "--accounts"),
        ("gen --out x.csv --fx-share 1.1", "--fx-share"),
        ("gen --out x.csv --hot middle", "--hot"),
        ("gen --out x.csv --id-prefix a.b", "--id-prefix"),
        ("gen --out /proc/none/x.csv", "/proc/none"),
        ("seed", "--accounts"),
        ("seed --accounts a.csv --from-csv b.csv", "--from-csv"),
        ("seed --accounts missing.csv", "missing.csv"),
        ("seed --accounts ok.csv", "opening_balance"),
        ("replay", "--csv"),
        ("replay --csv missing.csv", "missing.csv"),
        ("replay --csv short.csv", "amount"),
        ("replay --csv no_id.csv", "line 2: the id is empty"),
        ("replay --csv ok.csv --rate 0", "--rate"),
        ("replay --csv ok.csv --threshold settle_p99<250", "settle_p99<250"),
        ("replay --csv ok.csv --target 127.0.0.1:80", "--target"),
        ("replay --csv ok.csv --json /proc/none/x.json", "/proc/none"),
        ("replay --csv ok.csv --batch 0", "--batch"),
        ("replay --csv ok.csv --batch 501", "--batch"),
        ("bench --payments 1", "--payments"),
        ("bench --soak 0", "--soak"),
        ("bench --root missing", "missing"),
        ("verify --set gateway.nonsense=1", "nonsense"),
        ("nonsense", "nonsense"),
    ];
    for (line, named) in rows {
        let output = loadtest(&folder.0, line);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{line}: {complaint}");
        assert!(complaint.contains(named), "{line}: {complaint}");
    }
}

#[test]
fn an_absent_system_exits_with_69() {
    let folder = Folder::new("absent");
    std::fs::write(
        folder.0.join("ok.csv"),
        "id,currency,amount,source_account,destination_account\nP1,USD,1,A,B\n",
    )
    .unwrap();
    std::fs::write(folder.0.join("accounts.csv"), "id,currency,opening_balance\nA,USD,1\n").unwrap();
    let rows = [
        ("seed --accounts accounts.csv", "no gateway answers at http://127.0.0.1:1"),
        ("seed --from-csv ok.csv", "no gateway answers"),
        ("replay --csv ok.csv", "no gateway answers"),
        ("replay --csv ok.csv --batch 500", "no gateway answers"),
        (
            "replay --csv ok.csv --target http://127.0.0.1:2 --target http://127.0.0.1:3",
            "http://127.0.0.1:2, http://127.0.0.1:3",
        ),
        ("verify", "the ledger cannot be read"),
    ];
    for (line, named) in rows {
        let output = loadtest(&folder.0, line);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{line}: {complaint}");
        assert!(complaint.contains(named), "{line}: {complaint}");
    }
}

#[test]
fn gen_writes_both_files() {
    let folder = Folder::new("gen");
    let output = loadtest(&folder.0, "gen --rows 100 --accounts 10 --seed 7 --out data/dummy.csv");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap().lines().count();
    assert_eq!((lines("data/dummy.csv"), lines("data/dummy.csv.accounts.csv")), (101, 11));
}

#[test]
fn help_exits_with_0() {
    let folder = Folder::new("help");
    for line in
        ["--help", "gen --help", "seed --help", "replay --help", "verify --help", "bench --help", "--version"]
    {
        assert_eq!(loadtest(&folder.0, line).status.code(), Some(0), "{line}");
    }
}
