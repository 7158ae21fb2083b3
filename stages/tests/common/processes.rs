//! Our programs, each in a process of its own.

use super::System;
use super::client::Client;
use super::until;
use devstack::{ProcessIdentity, Signal};
use runtime::config::{self, Flags};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use wire::Role;

/// Where the process of the gateway finds its settings, a line each.
const GATEWAY_SETTINGS: &str = "TEST_GATEWAY_SETTINGS";

/// A process with its output in a file, ended when dropped.
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// `stages` with these roles, or `all`.
    pub fn stages(roles: &str, settings: &[String]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stages"));
        command.arg(roles).args(settings.iter().map(|setting| format!("--set={setting}")));
        Process::start(command, roles)
    }

    /// The gateway. Its program belongs to another package: the test's own plays it, with [`play_the_gateway`]
    /// in a test `plays_the_gateway`.
    pub fn gateway(settings: &[String]) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "plays_the_gateway", "--nocapture"]);
        command.env(GATEWAY_SETTINGS, settings.join("\n"));
        Process::start(command, "gateway")
    }

    fn start(mut command: Command, name: &str) -> Process {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let output = folder.join(format!("{name}-{}.log", std::process::id()));
        let file = File::options().create(true).append(true).open(&output).unwrap();
        // Whatever else the environment says of OpenTelemetry, the configuration holds.
        command.envs([
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ]);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Process { child: command.spawn().unwrap(), output }
    }

    /// Ends it in good order; all that it has said.
    pub fn stop(&mut self) -> String {
        ProcessIdentity::of(self.child.id()).expect("the process runs").signal(Signal::Terminate).unwrap();
        assert!(self.child.wait().unwrap().success());
        std::fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.output);
    }
}

/// Plays the gateway, in the process that another test has started for it.
pub fn play_the_gateway() {
    let Ok(settings) = std::env::var(GATEWAY_SETTINGS) else { return };
    let overrides = settings.lines().map(str::to_owned).collect();
    let config = config::load(&Flags { config: None, overrides }).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = config.log.clone();
    let ended = runtime.block_on(runtime::process::run(&log, |drain| gateway::gateway::run(config, drain)));
    assert_eq!(ended, ExitCode::SUCCESS);
}

/// What makes a process one of this system's, with further settings after it.
pub fn settings(system: &System, further: &[String]) -> Vec<String> {
    let config = &system.config;
    let mut settings: Vec<String> = super::QUICK.iter().map(|setting| (*setting).to_owned()).collect();
    settings.extend([
        format!("nats.url={}", config.nats.url),
        format!("postgres.url={}", config.postgres.url),
        format!("gateway.ports={:?}", config.gateway.ports),
    ]);
    let port = |role: &Role| format!("admin.{role}={}", config.listeners(*role).1[0]);
    settings.extend(Role::STAGES.iter().map(port));
    settings.extend_from_slice(further);
    settings
}

/// Waits until the role's port says that it is ready.
pub async fn ready(system: &System, role: Role) {
    let client = Client::new(system.config.listeners(role).1[0]);
    until("a role is ready", || async {
        client.get("/readyz").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
}
