//! The page as a browser sees it, on a whole system: paying, following, dashboards, and what is shown of a
//! stage that was killed. Without a browser on this machine there is nothing to see: the test says so and
//! passes, but with `KILAT_DEEP`, where it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::print_stderr, reason = "what the browser does, and why it cannot, is told")]

mod common;

use common::processes::{self, Process, settings};
use common::prometheus::prometheus;
use common::{Part, System, payment};
use devstack::testing::TestPrometheus;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use wire::Role;

/// The browser's own deadline, in the usual form and in the long one.
const DEADLINE: [Duration; 2] = [Duration::from_secs(240), Duration::from_secs(600)];

/// So much later it is ended from here: by its own deadline it tells more.
const GRACE: Duration = Duration::from_secs(30);

/// Payments a second of the long form.
const LOAD_PER_SECOND: u64 = 1_000;
/// A load that the feed tells of whole: five events each, and the feed tells some 45 a second.
const LOAD_TOLD_WHOLE: u64 = 5;

const ACCOUNTS: [(&str, &str, &str); 4] = [
    ("ACC_SRC_ABC", "USD", "90000000"),
    ("ACC_DST_DEF", "USD", "100"),
    ("ACC_DST_EUR", "EUR", "100"),
    ("ACC_POOR", "USD", "0"),
];

/// What drives the browser: its sources in the checkout, and npm's packages that they use.
const SOURCES: &str = "gateway/tests/browser";
const PACKAGES: [&str; 2] = ["playwright-core", "axe-core"];

/// As `install.sh` has it.
const NODE_MIN: u32 = 20;

/// What the browser runs on.
struct Tools {
    root: PathBuf,
    modules: PathBuf,
    chromium: PathBuf,
}

/// Whether it is what the packages ask for.
fn is_node_new(node: &Path) -> bool {
    let Ok(output) = std::process::Command::new(node).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let major = text.trim().trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= NODE_MIN)
}

fn tools() -> Result<Tools, &'static str> {
    let root = devstack::find_root().map_err(|_| "the checkout is not found")?;
    let modules = root.join(".kilat/browser");
    let node = devstack::find_program("node").ok_or("node is missing")?;
    if !is_node_new(&node) {
        return Err("node 20 or newer is needed");
    }
    let chromium = ["chromium", "chromium-browser", "google-chrome"].iter();
    let chromium = chromium.filter_map(|name| devstack::find_program(name)).next();
    let lock = |folder: &Path| std::fs::read(folder.join("package-lock.json")).ok();
    let is_same = lock(&modules).is_some_and(|there| lock(&root.join(SOURCES)) == Some(there));
    let are_there = PACKAGES.iter().all(|name| modules.join("node_modules").join(name).is_dir());
    if !is_same || !are_there {
        return Err("its packages are missing");
    }
    Ok(Tools { root, modules, chromium: chromium.ok_or("chromium is missing")? })
}

/// What the browser may stop and start.
struct Stack {
    system: System,
    further: Vec<String>,
    stages: BTreeMap<&'static str, Process>,
    gateway: Option<Part>,
    /// Ended with the rest.
    _prometheus: TestPrometheus,
}

impl Stack {
    async fn start() -> Stack {
        let quick = ["telemetry.observe_every_ms=200", "telemetry.audit_after_ms=1000"];
        let mut system = System::prepare(&quick).await;
        let prometheus = prometheus(&system).await;
        system.config.telemetry.prometheus_url = prometheus.url();
        let further: Vec<String> = quick.iter().map(|setting| (*setting).to_owned()).collect();
        let mut stack =
            Stack { system, further, stages: BTreeMap::new(), gateway: None, _prometheus: prometheus };
        for role in Role::STAGES {
            stack.start_role(*role).await;
        }
        stack.start_gateway().await;
        stack.system.open(&ACCOUNTS).await;
        stack
    }

    async fn start_role(&mut self, role: Role) {
        let process = Process::stages(role.as_str(), &settings(&self.system, &self.further));
        self.stages.insert(role.as_str(), process);
        processes::ready(&self.system, role).await;
    }

    async fn start_gateway(&mut self) {
        self.gateway = Some(self.system.launch_gateway(self.system.config.gateway.ports.clone()));
        processes::ready(&self.system, Role::Gateway).await;
    }

    /// What a line of the browser asks for: `stop fx`, `start gateway`.
    async fn act(&mut self, what: &str) {
        let (verb, name) = what.split_once(' ').unwrap();
        let role = *Role::ALL.iter().find(|role| role.as_str() == name).unwrap();
        match (verb, role) {
            ("stop", Role::Gateway) => self.gateway.take().unwrap().stop().await,
            ("start", Role::Gateway) => self.start_gateway().await,
            // Killed, as a crash does.
            ("stop", _) => drop(self.stages.remove(role.as_str()).unwrap()),
            ("start", _) => self.start_role(role).await,
            _ => panic!("the browser asks for {what:?}"),
        }
    }
}

/// Payments of every ending, in the background: panels need something to show.
fn load(stack: &Stack, per_second: u64, is_over: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let client = stack.system.client();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let client = Arc::new(client);
        for number in 0_u64.. {
            ticks.tick().await;
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let (source, destination) = match number % 10 {
                0 => ("ACC_POOR", "ACC_DST_DEF"),
                1 => ("ACC_SRC_ABC", "NOBODY"),
                2..5 => ("ACC_SRC_ABC", "ACC_DST_EUR"),
                _ => ("ACC_SRC_ABC", "ACC_DST_DEF"),
            };
            let (client, body) =
                (client.clone(), payment(&format!("L{number}"), source, destination, "USD", "1"));
            let headers = [("content-type", "application/json")];
            tokio::spawn(async move {
                // The browser has the gateway stopped once: what is not answered then is no matter.
                client.send("POST", "/payments", &headers, body.to_string().into_bytes()).await;
            });
        }
    })
}

fn browser(tools: &Tools, stack: &Stack, screenshots: Option<&Path>) -> Command {
    let mut command = Command::new("node");
    command
        .arg(tools.root.join(SOURCES).join("check.mjs"))
        .env("PAGE_URL", format!("http://127.0.0.1:{}/", stack.system.config.gateway.ports[0]))
        .env("PAGE_MODULES", &tools.modules)
        .env("PAGE_CHROMIUM", &tools.chromium)
        .env("PAGE_FAILURE", tools.root.join(".kilat/page-failure.png"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(folder) = screenshots {
        command.env("PAGE_SCREENSHOTS", folder).env("PAGE_IS_SAMPLED", "yes");
    }
    command
}

/// Runs the browser to its end and does what it asks for; whether it passed.
async fn run(mut command: Command, stack: &mut Stack) -> bool {
    let mut child = command.spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(output).lines();
    let mut has_passed = false;
    while let Some(line) = lines.next_line().await.unwrap() {
        eprintln!("page: {line}");
        has_passed |= line == "passed";
        if let Some(what) = line.strip_prefix("act ") {
            stack.act(what).await;
            input.write_all(b"done\n").await.unwrap();
        }
    }
    child.wait().await.unwrap().success() && has_passed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_money_move_and_stages_stop() {
    let is_deep = std::env::var_os("KILAT_DEEP").is_some();
    let tools = match tools() {
        Ok(tools) => tools,
        Err(reason) => {
            let told = format!("page: NOT CHECKED, {reason}: run `deploy/devstack/install.sh checks`\n");
            // Past the harness, which keeps what a test that passes prints to itself.
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            assert!(!is_deep, "{}", told.trim_end());
            return;
        }
    };
    let mut stack = Stack::start().await;
    let screenshots = is_deep.then(|| tools.root.join(".kilat/screenshots"));
    if let Some(folder) = &screenshots {
        std::fs::create_dir_all(folder).unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let loading = load(&stack, if is_deep { LOAD_PER_SECOND } else { LOAD_TOLD_WHOLE }, is_over.clone());
    let deadline = DEADLINE[usize::from(is_deep)];
    let mut command = browser(&tools, &stack, screenshots.as_deref());
    command.env("PAGE_DEADLINE_MS", deadline.as_millis().to_string());
    let ended = tokio::time::timeout(deadline + GRACE, run(command, &mut stack)).await;
    is_over.store(true, Ordering::Relaxed);
    loading.await.unwrap();
    assert!(ended.expect("the browser ends in time"), "what the browser saw is told above");
    stack.gateway.take().unwrap().stop().await;
}
