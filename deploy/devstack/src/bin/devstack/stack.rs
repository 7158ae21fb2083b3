//! Starting and stopping. Each step looks first at what is there, so any command may be repeated, also after
//! a crash.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use config::{Config, Flags};
use devstack::{Launch, NatsOptions, PostgresOptions, ProcessIdentity};

use crate::accounts;
use crate::error::StackError;
use crate::member::Member;
use crate::monitoring;
use crate::state::{Record, StateFolder};
use crate::table;

/// The database of the private stack, as the default URLs of the configuration name it.
pub(crate) const DATABASE: &str = "kilat";
const TAIL_LINES: usize = 20;

/// For a machine with two cores that also runs everything else. Durability is as Postgres ships it, and said
/// so here because the benchmark reports it.
const POSTGRES_SETTINGS: [(&str, &str); 6] = [
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("max_connections", "100"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
];

/// After a checkpoint, the first change of each page writes the whole page to the log: most of the log while the
/// ledger grows, and a third of the server's CPU to write it as it stands. Without it a log is larger and no more.
const POSTGRES_WISHES: [(&str, &str); 1] = [("wal_compression", "lz4")];

/// The stack of one checkout, with the configuration that it is to have.
pub(crate) struct Stack {
    pub(crate) root: PathBuf,
    pub(crate) state: StateFolder,
    pub(crate) config: Config,
    pub(crate) flags: Flags,
}

impl Stack {
    pub(crate) fn new(root: &Path, config: Config, flags: Flags) -> Self {
        Self { root: root.to_owned(), state: StateFolder::of(root), config, flags }
    }

    /// Starts those of the members that do not run, in order; returns when each is ready. The stack goes
    /// without an optional one that does not start. Where the services run, the README's accounts are there.
    pub(crate) fn up(&self, members: &[Member]) -> Result<(), StackError> {
        let _lock = self.state.lock()?;
        for member in members.iter().filter(|member| member.is_installed()) {
            match self.ensure(*member) {
                Err(error @ StackError::OtherPorts { .. }) => return Err(error),
                Err(error) if member.is_optional() => {
                    stop(&self.state, *member)?;
                    table::print_left_out(*member, &error);
                }
                ensured => ensured?,
            }
        }
        if members.iter().any(|member| member.is_service()) {
            self.open_accounts();
        }
        Ok(())
    }

    /// Both services are needed for it.
    fn open_accounts(&self) {
        let [stages, gateway] = [Member::Stages, Member::Gateway].map(|member| self.state.running(member));
        let gateway = gateway.filter(|_| stages.is_some());
        let address = gateway.and_then(|record| record.addresses.first().copied());
        if let Some(Err(problem)) = address.map(accounts::open) {
            table::print_without_accounts(&problem);
        }
    }

    fn ensure(&self, member: Member) -> Result<(), StackError> {
        let addresses: Vec<SocketAddr> =
            member.listeners(&self.config).iter().map(|listener| listener.address).collect();
        match self.state.running(member) {
            Some(record) if record.addresses == addresses => self.refresh(member, &record)?,
            Some(record) => return Err(other_ports(member, &record.addresses, &addresses)),
            None => {
                clear_remains(&self.state, member)?;
                self.check_ports(member)?;
                let process = self.start(member)?;
                self.state.write(member, &Record { process, addresses })?;
            }
        }
        self.await_ready(member)
    }

    fn start(&self, member: Member) -> Result<ProcessIdentity, StackError> {
        match member {
            Member::Postgres => self.start_postgres(),
            Member::Nats => self.start_nats(),
            Member::Stages => {
                self.ensure_database()?;
                self.migrate()?;
                self.start_service(member, &["all"])
            }
            Member::Gateway => self.start_service(member, &[]),
            Member::Traces => self.start_receiver(),
            Member::NodeExporter => self.start_node_exporter(),
            Member::PostgresExporter => self.start_postgres_exporter(),
            Member::Prometheus => self.start_prometheus(),
            Member::Grafana => self.start_grafana(),
        }
    }

    /// The receiver of spans is this program itself.
    fn start_receiver(&self) -> Result<ProcessIdentity, StackError> {
        let (program, folder) = (std::env::current_exe()?, self.state.traces_data());
        fs::create_dir_all(&folder).map_err(devstack::Error::file("create", &folder))?;
        let launch = Launch::new(&program, &folder, &self.state.log_file(Member::Traces.name()));
        let launch = launch.argument("--root").argument(&self.root).argument("receive-traces");
        Ok(self.flag_arguments().into_iter().fold(launch, Launch::argument).start()?.identity())
    }

    fn start_postgres(&self) -> Result<ProcessIdentity, StackError> {
        devstack::own_folder(&self.state.postgres_base())?;
        self.state.note_postgres_data()?;
        let log_file = self.state.log_file(Member::Postgres.name());
        let options =
            PostgresOptions::new(self.config.stack.postgres_port, &self.state.postgres_data(), &log_file);
        let options =
            POSTGRES_SETTINGS.iter().fold(options, |options, (name, value)| options.setting(name, value));
        let options =
            POSTGRES_WISHES.iter().fold(options, |options, (name, value)| options.wish(name, value));
        Ok(devstack::start_postgres(options)?)
    }

    fn start_nats(&self) -> Result<ProcessIdentity, StackError> {
        let stack = &self.config.stack;
        let log_file = self.state.log_file(Member::Nats.name());
        let options =
            NatsOptions::new(stack.nats_port, stack.nats_monitor_port, &self.state.nats_data(), &log_file);
        Ok(devstack::start_nats(options)?)
    }

    fn start_service(&self, member: Member, arguments: &[&str]) -> Result<ProcessIdentity, StackError> {
        let launch = Launch::new(&sibling(member.name())?, &self.root, &self.state.log_file(member.name()));
        let launch = arguments.iter().fold(launch, |launch, argument| launch.argument(argument));
        let arguments = self.flag_arguments().into_iter().chain(self.telemetry_arguments());
        Ok(arguments.fold(launch, Launch::argument).start()?.identity())
    }

    fn ensure_database(&self) -> Result<(), StackError> {
        let port = self.config.stack.postgres_port;
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
        if devstack::query(&devstack::database_url(port, "postgres"), &exists)?.is_empty() {
            devstack::create_database(port, DATABASE)?;
        }
        Ok(())
    }

    /// Brings the schema up to date and makes the application's role; harmless when there is nothing to do.
    fn migrate(&self) -> Result<(), StackError> {
        let program = sibling("stages")?;
        let log_file = self.state.log_file("migrate");
        let log = File::create(&log_file).map_err(devstack::Error::file("write", &log_file))?;
        let errors = log.try_clone().map_err(devstack::Error::file("write", &log_file))?;
        let mut command = Command::new(&program);
        command.arg("migrate").args(self.flag_arguments()).current_dir(&self.root);
        let status = command.stdin(Stdio::null()).stdout(log).stderr(errors).status();
        let status = status.map_err(|source| devstack::Error::Spawn { program, source })?;
        if status.success() {
            return Ok(());
        }
        let tail = devstack::tail(&log_file, TAIL_LINES);
        Err(StackError::Migrations { status: status.to_string(), log: log_file, tail })
    }

    /// The services read the same configuration as this program.
    fn flag_arguments(&self) -> Vec<String> {
        let file = self.flags.config.iter().map(|file| format!("--config={}", file.display()));
        let overrides = self.flags.overrides.iter().map(|text| format!("--set={text}"));
        file.chain(overrides).collect()
    }

    fn check_ports(&self, member: Member) -> Result<(), StackError> {
        match member.listeners(&self.config).iter().find(|listener| !devstack::is_free(listener.address)) {
            None => Ok(()),
            Some(listener) => {
                Err(StackError::PortTaken { member, port: listener.address.port(), key: listener.key })
            }
        }
    }

    fn await_ready(&self, member: Member) -> Result<(), StackError> {
        let Some(record) = self.state.running(member) else { return Ok(()) };
        let log_file = self.state.log_file(member.name());
        let is_ready = || member.is_ready(&record.addresses);
        Ok(devstack::await_ready(
            member.name(),
            record.process,
            &log_file,
            member.start_patience(),
            is_ready,
        )?)
    }
}

/// Stops these members in reverse order; what does not run is no error.
pub(crate) fn down(state: &StateFolder, members: &[Member]) -> Result<(), StackError> {
    if !state.exists() {
        return Ok(());
    }
    let _lock = state.lock()?;
    members.iter().rev().try_for_each(|member| stop(state, *member))
}

fn stop(state: &StateFolder, member: Member) -> Result<(), StackError> {
    if let Some(record) = state.running(member) {
        record.process.stop(member.stop_signal(), member.stop_grace())?;
    }
    clear_remains(state, member)?;
    state.forget(member);
    Ok(())
}

/// Ends the backends of a postmaster that crashed, and servers whose record is lost.
fn clear_remains(state: &StateFolder, member: Member) -> Result<(), StackError> {
    let (folder, programs) = match member {
        Member::Postgres => (state.postgres_data(), &["postgres"][..]),
        Member::Nats => (state.nats_data(), &["nats-server"][..]),
        Member::Traces => (state.traces_data(), &["devstack"][..]),
        Member::NodeExporter => (state.run_folder(), &[monitoring::NODE_EXPORTER][..]),
        Member::PostgresExporter => (state.run_folder(), &[monitoring::POSTGRES_EXPORTER][..]),
        Member::Prometheus => (state.prometheus_data(), &["prometheus"][..]),
        Member::Grafana => (state.grafana_data(), &monitoring::GRAFANA[..]),
        // They work in the checkout, where others of their name may work too.
        Member::Stages | Member::Gateway => return Ok(()),
    };
    for program in programs {
        devstack::kill_all_in(&folder, program)?;
    }
    Ok(())
}

/// Removes everything that the stack has written.
pub(crate) fn clean(state: &StateFolder) -> Result<(), StackError> {
    if !state.exists() {
        return Ok(());
    }
    let _lock = state.lock()?;
    if let Some(member) = Member::ALL.into_iter().find(|member| state.running(*member).is_some()) {
        return Err(StackError::StillRunning(member));
    }
    for path in state.removable() {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(devstack::Error::File { action: "remove", path, source: error }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A program of the same build as this one.
fn sibling(name: &str) -> Result<PathBuf, StackError> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name(name);
    if program.is_file() { Ok(program) } else { Err(StackError::NoProgram(program)) }
}

fn other_ports(member: Member, running: &[SocketAddr], configured: &[SocketAddr]) -> StackError {
    let text =
        |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
    StackError::OtherPorts { member, running: text(running), configured: text(configured) }
}
