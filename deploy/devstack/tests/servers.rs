//! The test servers themselves: they keep data over a crash, and leave nothing behind, however their owner
//! ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use devstack::testing::{TestCollector, TestNats, TestPostgres, TestPrometheus};
use devstack::{ProcessIdentity, Signal};
use signals::prometheus::{Scrape, configuration};

/// How a server goes down between two looks at its data.
#[derive(Debug, Clone, Copy)]
enum Interruption {
    Crash,
    Stop,
    StillRunning,
}

const INTERRUPTIONS: [Interruption; 3] =
    [Interruption::Crash, Interruption::Stop, Interruption::StillRunning];

#[tokio::test]
async fn nats_keeps_its_streams() {
    let nats = TestNats::start().await;
    let created =
        nats_request(nats.url(), "$JS.API.STREAM.CREATE.KEPT", r#"{"name":"KEPT","subjects":["kept"]}"#);
    assert!(created.contains(r#""storage":"file""#), "{created}");
    for (step, interruption) in INTERRUPTIONS.into_iter().enumerate() {
        let acknowledged = nats_request(nats.url(), "kept", "payload");
        assert!(acknowledged.contains(&format!(r#""seq":{}"#, step + 1)), "{interruption:?}: {acknowledged}");
        match interruption {
            Interruption::Crash => nats.kill().await,
            Interruption::Stop => nats.stop().await,
            Interruption::StillRunning => {}
        }
        nats.restart().await;
    }
    assert_eq!(devstack::http_status(devstack::loopback(port_of(nats.monitor_url())), "/healthz"), Some(200));
}

#[tokio::test]
async fn postgres_keeps_its_rows() {
    // Every build knows what `on` is, and none what the other is.
    let postgres = TestPostgres::start_with(|options| {
        let options = options.setting("max_connections", "17");
        options.wish("wal_compression", "on").wish("wal_compression", "tight")
    })
    .await;
    postgres.query("postgres", "CREATE TABLE kept (step int)").await;
    for (step, interruption) in INTERRUPTIONS.into_iter().enumerate() {
        postgres.query("postgres", &format!("INSERT INTO kept VALUES ({step})")).await;
        match interruption {
            Interruption::Crash => postgres.kill().await,
            Interruption::Stop => postgres.stop().await,
            Interruption::StillRunning => {}
        }
        postgres.restart().await;
        let count = postgres.query("postgres", "SELECT count(*) FROM kept").await;
        assert_eq!(count, (step + 1).to_string(), "{interruption:?}");
    }
    let rows = [
        ("max_connections", "17"),
        ("wal_compression", "pglz"),
        ("fsync", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("port", ""),
    ];
    for (name, expected) in rows {
        let value = postgres.query("postgres", &format!("SHOW {name}")).await;
        assert!(
            if expected.is_empty() { postgres.url("x").contains(&value) } else { value == expected },
            "{name} {value}"
        );
    }
}

#[tokio::test]
async fn prometheus_answers_what_it_scrapes() {
    let scraped = TestPrometheus::start(&configuration(&[], &[])).await;
    let target = scraped.url().replace("http://", "");
    let rules = std::env::temp_dir().join(format!("kilat-rules-{}.yml", std::process::id()));
    let rule = "groups: [{name: a, rules: [{alert: Fires, expr: 'up == 1'}]}]";
    std::fs::write(&rules, rule).unwrap();
    let text = configuration(&[Scrape::new("first", &target)], &[&rules.to_string_lossy()]);
    let prometheus = TestPrometheus::start(&text).await;
    let is_up = |result: &serde_json::Value| result[0]["value"][1] == "1";
    let series = prometheus.until(r#"up{job="first"}"#, is_up).await;
    assert_eq!(series[0]["metric"]["instance"], *target);
    assert_eq!(prometheus.targets().await[0]["health"], "up");
    prometheus.until("ALERTS", is_up).await;
    assert_eq!(prometheus.alerts().await[0]["labels"]["alertname"], "Fires");
    prometheus.kill().await;
    prometheus.restart().await;
    assert_eq!(prometheus.query("vector(7)").await[0]["value"][1], "7");
    std::fs::remove_file(rules).unwrap();
}

#[tokio::test]
async fn databases_of_the_shared_server_are_separate() {
    let (first, second) = tokio::join!(database_with_table(), database_with_table());
    assert_ne!(first, second);
}

async fn database_with_table() -> String {
    let postgres = TestPostgres::shared().await;
    let url = postgres.fresh_database().await;
    let database = url.rsplit('/').next().unwrap_or_default();
    assert_eq!(
        postgres.query(database, "CREATE TABLE same_name (); SELECT current_user").await,
        devstack::OWNER
    );
    url
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let (nats, postgres) = tokio::join!(TestNats::start(), TestPostgres::start());
    let nothing = configuration(&[], &[]);
    let (prometheus, collector) = tokio::join!(TestPrometheus::start(&nothing), TestCollector::start());
    let processes = [nats.process().await, postgres.process().await, prometheus.process().await];
    let traces = processes.map(Trace::of);
    let received = devstack::loopback(port_of(collector.endpoint()));
    assert!(!devstack::is_free(received));
    drop((nats, postgres, prometheus, collector));
    for trace in traces {
        trace.assert_gone(Duration::ZERO);
    }
    // A process that another test forks meanwhile holds the socket until it runs its own program.
    until(Duration::from_secs(10), || devstack::is_free(received));
    assert!(devstack::is_free(received), "something listens on {received}");
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    let owner = tokio::spawn(async {
        let nats = TestNats::start().await;
        std::panic::panic_any(Trace::of(nats.process().await));
    });
    let panic = owner.await.unwrap_err().into_panic();
    panic.downcast::<Trace>().unwrap().assert_gone(Duration::ZERO);
}

#[tokio::test]
async fn a_killed_test_process_leaves_nothing() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "owner_that_is_killed", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids = lines.filter_map(|line| line.strip_prefix("server ")?.parse().ok());
    let traces: Vec<Trace> = pids.take(3).map(|pid| Trace::of(ProcessIdentity::of(pid))).collect();
    assert_eq!(traces.len(), 3);
    ProcessIdentity::of(owner.id()).unwrap().signal(Signal::Kill).unwrap();
    owner.wait().unwrap();
    for trace in traces {
        trace.assert_gone(Duration::from_secs(10));
    }
}

#[tokio::test]
#[ignore = "the test above runs it in a process of its own, and kills that"]
async fn owner_that_is_killed() {
    let (nats, postgres) = tokio::join!(TestNats::start(), TestPostgres::start());
    let shared = TestPostgres::shared().await;
    let processes = [nats.process().await, postgres.process().await, shared.process().await];
    let text: String =
        processes.iter().flatten().map(|process| format!("server {}\n", process.pid)).collect();
    // The line of the test harness is not ended yet.
    std::io::stdout().write_all(format!("\n{text}").as_bytes()).unwrap();
    std::future::pending::<()>().await;
}

/// A server and its folder, to look for later.
struct Trace {
    process: ProcessIdentity,
    folder: PathBuf,
}

impl Trace {
    fn of(process: Option<ProcessIdentity>) -> Self {
        let process = process.expect("the server runs");
        let data = std::fs::read_link(format!("/proc/{}/cwd", process.pid))
            .expect("the server works in its data folder");
        Self {
            process,
            folder: data
                .parent()
                .map(Path::to_owned)
                .expect("the data folder lies in the folder of the test"),
        }
    }

    fn assert_gone(&self, patience: Duration) {
        until(patience, || !self.process.is_alive() && !self.folder.exists());
        assert!(!self.process.is_alive(), "process {} still runs", self.process.pid);
        assert!(!self.folder.exists(), "{} is still there", self.folder.display());
    }
}

/// Waits until it holds, or patience ends.
fn until(patience: Duration, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() && Instant::now() < deadline {
        // Polled: the end of what other processes hold announces itself to nobody here.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request and its reply over the wire protocol; this crate knows no client library.
fn nats_request(url: &str, subject: &str, payload: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port_of(url))).unwrap();
    let length = payload.len();
    let text = format!("CONNECT {{}}\r\nSUB reply 1\r\nPUB {subject} reply {length}\r\n{payload}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("MSG ") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the server closed the connection");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
    let mut reply = vec![0; line.trim().rsplit(' ').next().unwrap().parse().unwrap()];
    reader.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL ends with a port")
}
