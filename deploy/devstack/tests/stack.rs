//! The `devstack` program with a stack of its own: the members that need no other program of the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod otlp;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use devstack::{ProcessIdentity, Signal};
use otlp::{PROTOBUF, answer, request};

const PROGRAM: &str = env!("CARGO_BIN_EXE_devstack");
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PORTS: [&str; 7] = [
    "postgres_port",
    "nats_port",
    "nats_monitor_port",
    "otlp_port",
    "prometheus_port",
    "node_exporter_port",
    "postgres_exporter_port",
];
/// Those of Debian's exporters are started where they are installed.
const MEMBERS: [&str; 6] = ["postgres", "nats", "traces", "node-exporter", "postgres-exporter", "prometheus"];
/// Bad configuration or command line.
const EXIT_USAGE: i32 = 64;

#[test]
fn a_stack_comes_back_after_a_crash_and_goes_without_a_trace() {
    let stack = TestStack::new();
    let first = stack.processes_after(&["up"], &MEMBERS);
    let url = devstack::database_url(stack.port("postgres_port"), "postgres");
    devstack::query(&url, "CREATE TABLE kept AS SELECT 42 AS value").unwrap();
    let mut any_order = MEMBERS;
    any_order.reverse();
    let rules = stack.root.join("observability/rules");
    std::fs::create_dir_all(&rules).unwrap();
    let rule = "groups: [{ name: kept, rules: [{ record: 'kilat:kept', expr: vector(1) }] }]";
    std::fs::write(rules.join("recording.yml"), rule).unwrap();
    assert_eq!(stack.processes_after(&["up"], &any_order), first, "what runs is left alone");
    let prometheus = format!("127.0.0.1:{}", stack.port("prometheus_port"));
    let loaded = answer(&prometheus, "GET /api/v1/rules HTTP/1.1", b"");
    assert!(loaded.contains("kilat:kept"), "{loaded}");
    std::fs::write(rules.join("alerts.yml"), "groups: many").unwrap();
    let (status, refusal) = stack.run(&["up"].iter().chain(&MEMBERS).copied().collect::<Vec<_>>(), &[]);
    assert!(status == Some(1) && refusal.contains("refuses its new configuration"), "{refusal}");
    std::fs::remove_file(rules.join("alerts.yml")).unwrap();

    let spans = request(1);
    let head = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\nContent-Length: {}", spans.len());
    let receiver = format!("127.0.0.1:{}", stack.port("otlp_port"));
    assert!(answer(&receiver, &head, &spans).starts_with("HTTP/1.1 200"));

    for process in &first {
        process.signal(Signal::Kill).unwrap();
        assert!(process.wait_gone(std::time::Duration::from_secs(5)));
    }
    assert_eq!(stack.run(&["ps"], &[]).1.matches("crashed").count(), first.len());
    let second = stack.processes_after(&["up"], &MEMBERS);
    assert!(second.iter().all(|process| !first.contains(process)));
    assert_eq!(devstack::query(&url, "SELECT value FROM kept").unwrap(), "42");
    let durable = "SELECT string_agg(current_setting(name), ' ') FROM unnest(array['fsync','synchronous_commit','full_page_writes']) name";
    assert_eq!(devstack::query(&url, durable).unwrap(), "on on on");
    for (arguments, status, said) in [
        (&["trace", "PAY-1"][..], Some(0), "payment PAY-1, trace 4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b: "),
        (&["trace", "PAY-1", "--json"], Some(0), "\"kilat.payment.id\":\"PAY-1\""),
        (&["trace"], Some(1), "no span of any payment that has ended"),
        (&["trace", "PAY-2"], Some(1), "-H 'traceparent: 00-"),
    ] {
        let (found, text) = stack.run(arguments, &[]);
        assert!(found == status && text.contains(said), "{arguments:?}: {text}");
    }

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
        ("up traces", ("KILAT_STACK__OTLP_PORT", &taken), Some(1), "(stack.otlp_port)"),
        ("up prometheus", ("KILAT_STACK__PROMETHEUS_PORT", &taken), Some(1), "(stack.prometheus_port)"),
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

/// Also one that is installed nowhere.
#[test]
fn the_stack_goes_without_an_optional_member_that_does_not_start() {
    let stack = TestStack::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let up = ["up", "node-exporter", "postgres-exporter", "prometheus"];
    let (status, text) = stack.run(&up, &[("KILAT_STACK__NODE_EXPORTER_PORT", taken.as_str())]);
    assert_eq!(status, Some(0), "{text}");
    let is_installed = devstack::find_program("prometheus-node-exporter").is_some();
    let left_out = text.lines().filter(|line| line.contains("going on without node-exporter"));
    assert_eq!(left_out.count(), usize::from(is_installed), "{text}");
    let configuration = std::fs::read_to_string(stack.root.join(".kilat/prometheus/prometheus.yml")).unwrap();
    assert!(
        configuration.contains("\"prometheus\"") && !configuration.contains("\"node\""),
        "{configuration}"
    );
}

/// A checkout with nothing in it, and a shell that takes the stack down when its pipe closes: at the drop, or
/// when this process is killed.
struct TestStack {
    root: PathBuf,
    ports: [u16; PORTS.len()],
    cleaner: Child,
    pipe: Option<ChildStdin>,
}

impl TestStack {
    fn new() -> Self {
        let listeners = [0; PORTS.len()].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        let root = std::env::temp_dir().join(format!("kilat-stack-[a]*-{}-{}", std::process::id(), ports[0]));
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
        let path = format!("{CHECKOUT}/.kilat/bin:{}", std::env::var("PATH").unwrap());
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(&self.root).args(arguments).env("PATH", path);
        for (key, port) in PORTS.iter().zip(self.ports) {
            command.env(format!("KILAT_STACK__{}", key.to_uppercase()), port.to_string());
        }
        command.envs(variables.iter().copied());
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }

    fn port(&self, key: &str) -> u16 {
        let found = PORTS.iter().position(|known| *known == key);
        self.ports[found.unwrap()]
    }

    /// Runs a command that must leave these members ready, as far as they are installed.
    fn processes_after(&self, command: &[&str], members: &[&str]) -> Vec<ProcessIdentity> {
        let (status, text) = self.run(&[command, members].concat(), &[]);
        assert_eq!(status, Some(0), "{text}");
        let is_as_asked = |line: &&str| line.contains(" ready") || line.contains(" not installed");
        let of_these = |line: &&str| members.contains(&line.split(' ').next().unwrap_or(""));
        assert_eq!(text.lines().filter(of_these).filter(is_as_asked).count(), members.len(), "{text}");
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
