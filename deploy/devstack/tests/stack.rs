//! The `devstack` program with a stack of its own: the two servers, which need no other program of the
//! workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use devstack::{ProcessIdentity, Signal};

const PROGRAM: &str = env!("CARGO_BIN_EXE_devstack");
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Bad configuration or command line.
const EXIT_USAGE: i32 = 64;

#[test]
fn a_stack_comes_back_after_a_crash_and_goes_without_a_trace() {
    let stack = TestStack::new();
    let first = stack.processes_after(&["up", "postgres", "nats"]);
    let url = devstack::database_url(stack.ports[0], "postgres");
    devstack::query(&url, "CREATE TABLE kept AS SELECT 42 AS value").unwrap();
    assert_eq!(stack.processes_after(&["up", "nats", "postgres"]), first, "what runs is left alone");

    for process in &first {
        process.signal(Signal::Kill).unwrap();
        assert!(process.wait_gone(std::time::Duration::from_secs(5)));
    }
    assert_eq!(stack.run(&["ps"], &[]).1.matches("crashed").count(), 2);
    let second = stack.processes_after(&["up", "postgres", "nats"]);
    assert!(second.iter().all(|process| !first.contains(process)));
    assert_eq!(devstack::query(&url, "SELECT value FROM kept").unwrap(), "42");
    let durable = "SELECT string_agg(current_setting(name), ' ') FROM unnest(array['fsync','synchronous_commit','full_page_writes']) name";
    assert_eq!(devstack::query(&url, durable).unwrap(), "on on on");

    let (_, refusal) = stack.run(&["clean"], &[]);
    assert!(refusal.contains("make down"), "{refusal}");
    let data = std::fs::read_to_string(stack.root.join(".kilat/postgres.path")).unwrap();
    for _ in 0..2 {
        assert_eq!(stack.run(&["down"], &[]), (Some(0), String::new()));
    }
    assert!(second.iter().all(|process| !process.is_alive()));
    assert_eq!(stack.run(&["clean"], &[]).0, Some(0));
    assert!(!Path::new(data.trim()).exists());
}

#[test]
fn what_is_wrong_is_named() {
    let stack = TestStack::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let usage = Some(EXIT_USAGE);
    let rows = [
        ("up nats", ("KILAT_STACK__NATS_PORT", taken.as_str()), Some(1), "(stack.nats_port)"),
        ("up postgres", ("KILAT_STACK__POSTGRES_PORT", &taken), Some(1), "KILAT_STACK__PORT_OFFSET"),
        ("up", ("KILAT_STACK__NONSENSE", "1"), usage, "NONSENSE"),
        ("restart", ("KILAT_STACK__PORT_OFFSET", "many"), usage, "many"),
        ("up everything", ("LANG", "C"), usage, "everything"),
        ("up --config nowhere.toml", ("LANG", "C"), usage, "nowhere.toml"),
    ];
    for (arguments, variable, status, named) in rows {
        let (found, text) = stack.run(&arguments.split(' ').collect::<Vec<_>>(), &[variable]);
        assert_eq!(found, status, "{arguments}: {text}");
        assert!(text.contains(named), "{arguments}: {text}");
    }
}

/// A checkout with nothing in it, and a shell that takes the stack down when its pipe closes: at the drop, or
/// when this process is killed.
struct TestStack {
    root: PathBuf,
    /// Of Postgres, nats-server, and its monitoring pages.
    ports: [u16; 3],
    cleaner: Child,
    pipe: Option<ChildStdin>,
}

impl TestStack {
    fn new() -> Self {
        let listeners = [0; 3].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        let root = std::env::temp_dir().join(format!("kilat-stack-{}-{}", std::process::id(), ports[0]));
        std::fs::create_dir_all(&root).unwrap();
        let root = root.canonicalize().unwrap();
        let script =
            r#"while read -r _; do :; done; "$0" --root "$1" down; "$0" --root "$1" clean; rm -rf -- "$1""#;
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", script, PROGRAM])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut cleaner = command.spawn().unwrap();
        let pipe = cleaner.stdin.take();
        Self { root, ports, cleaner, pipe }
    }

    /// The exit status, and all that was written.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let [postgres, nats, monitor] = self.ports.map(|port| port.to_string());
        let path = format!("{CHECKOUT}/.kilat/bin:{}", std::env::var("PATH").unwrap());
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(&self.root).args(arguments).env("PATH", path);
        command.env("KILAT_STACK__POSTGRES_PORT", postgres).env("KILAT_STACK__NATS_PORT", nats);
        command.env("KILAT_STACK__NATS_MONITOR_PORT", monitor).envs(variables.iter().copied());
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }

    /// Runs a command that must leave both servers ready.
    fn processes_after(&self, arguments: &[&str]) -> Vec<ProcessIdentity> {
        let (status, text) = self.run(arguments, &[]);
        assert_eq!(status, Some(0), "{text}");
        assert_eq!(text.matches(" ready\n").count(), 2, "{text}");
        let pids = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
        pids.filter_map(ProcessIdentity::of).collect()
    }
}

impl Drop for TestStack {
    fn drop(&mut self) {
        self.pipe = None;
        // It fails only when it was waited for before.
        let _ = self.cleaner.wait();
    }
}
