//! What watches the stack: Prometheus, and where they are installed Grafana and the exporters of Debian.

use std::fs;
use std::path::{Path, PathBuf};

use devstack::{Launch, ProcessIdentity, PrometheusOptions};
use signals::prometheus::{Scrape, configuration};
use wire::Role;

use crate::error::StackError;
use crate::member::{Member, listeners_of_role};
use crate::stack::{DATABASE, Stack};
use crate::state::Record;

/// Programs on PATH, as Debian names them.
pub(crate) const NODE_EXPORTER: &str = "prometheus-node-exporter";
pub(crate) const POSTGRES_EXPORTER: &str = "prometheus-postgres-exporter";

/// Where the packages of Grafana put what is no program.
const GRAFANA_HOME: &str = "/usr/share/grafana";

/// A Grafana of any age: older ones have a program for the server alone.
pub(crate) const GRAFANA: [&str; 2] = ["grafana", "grafana-server"];

/// The program of Grafana's server with its arguments. What packages put on PATH is a script around it, which
/// has its own opinion of folders.
pub(crate) fn grafana() -> Option<(PathBuf, &'static [&'static str])> {
    let find = |name: &str| {
        let packaged = Path::new(GRAFANA_HOME).join("bin").join(name);
        Some(packaged)
            .filter(|program| devstack::is_program(program))
            .or_else(|| devstack::find_program(name))
    };
    let [program, server] = GRAFANA;
    let found = find(program).map(|program| (program, &["server"][..]));
    found.or_else(|| find(server).map(|program| (program, &[][..])))
}

/// A path as Prometheus' patterns of files have it: each of their letters stands for any, so also for itself.
fn literal(path: &Path) -> String {
    path.to_string_lossy().replace(['*', '?', '[', '\\'], "?")
}

impl Stack {
    pub(crate) fn start_prometheus(&self) -> Result<ProcessIdentity, StackError> {
        Ok(devstack::start_prometheus(self.prometheus_options())?)
    }

    fn prometheus_options(&self) -> PrometheusOptions {
        PrometheusOptions {
            port: self.config.stack.prometheus_port,
            folder: self.state.prometheus_data(),
            log_file: self.state.log_file(Member::Prometheus.name()),
            configuration: self.prometheus_configuration(),
        }
    }

    /// What a member that runs already is told: rules may have changed, exporters may be new.
    pub(crate) fn refresh(&self, member: Member, record: &Record) -> Result<(), StackError> {
        if member == Member::Prometheus {
            devstack::reload_prometheus(record.process, &self.prometheus_options())?;
        }
        Ok(())
    }

    pub(crate) fn start_node_exporter(&self) -> Result<ProcessIdentity, StackError> {
        // Where no systemd runs, each scrape would log that it does not.
        let launch = self.exporter(Member::NodeExporter, NODE_EXPORTER)?.argument("--no-collector.systemd");
        Ok(launch.start()?.identity())
    }

    /// It sees what the application's role sees, and writes nothing.
    pub(crate) fn start_postgres_exporter(&self) -> Result<ProcessIdentity, StackError> {
        let address = devstack::loopback(self.config.stack.postgres_port);
        let database = format!(
            "postgresql://kilat_app@{address}/{DATABASE}?sslmode=disable&default_transaction_read_only=on"
        );
        let launch = self.exporter(Member::PostgresExporter, POSTGRES_EXPORTER)?;
        Ok(launch.variable("DATA_SOURCE_NAME", database).start()?.identity())
    }

    pub(crate) fn start_grafana(&self) -> Result<ProcessIdentity, StackError> {
        let not_there = || devstack::Error::NoProgram { program: "grafana".into() };
        let (program, arguments) = grafana().ok_or_else(not_there)?;
        let data = self.state.grafana_data();
        fs::create_dir_all(&data).map_err(devstack::Error::file("create", &data))?;
        let launch = Launch::new(&program, &data, &self.state.log_file(Member::Grafana.name()));
        let launch = arguments.iter().fold(launch, |launch, argument| launch.argument(argument));
        let launch = if Path::new(GRAFANA_HOME).is_dir() {
            launch.argument("--homepath").argument(GRAFANA_HOME)
        } else {
            launch
        };
        let files = self.root.join("observability/grafana");
        let launch = launch
            .argument("--config")
            .argument(files.join("grafana.ini"))
            .variable("KILAT_PROMETHEUS_URL", self.prometheus_url())
            .variable("KILAT_DASHBOARDS", files.join("dashboards"))
            .variable("GF_PATHS_PROVISIONING", files.join("provisioning"))
            .variable("GF_PATHS_DATA", data.join("data"))
            .variable("GF_PATHS_LOGS", data.join("log"))
            .variable("GF_PATHS_PLUGINS", data.join("plugins"))
            .variable("GF_SERVER_HTTP_ADDR", "127.0.0.1")
            .variable("GF_SERVER_HTTP_PORT", self.config.stack.grafana_port.to_string());
        Ok(launch.start()?.identity())
    }

    /// Where the services send spans and ask for figures, unless someone has written it otherwise.
    pub(crate) fn telemetry_arguments(&self) -> Vec<String> {
        let stack = &self.config.stack;
        let local = |port: u16| format!("http://{}", devstack::loopback(port));
        let grafana = Member::Grafana.is_installed().then(|| local(stack.grafana_port));
        let settings = [
            ("telemetry.otlp_endpoint", Some(local(stack.otlp_port))),
            ("telemetry.prometheus_url", Some(self.prometheus_url())),
            ("telemetry.grafana_url", grafana),
        ];
        let unwritten = settings.into_iter().filter(|(key, _)| !config::is_written(&self.flags, key));
        unwritten.filter_map(|(key, url)| Some(format!("--set={key}={}", url?))).collect()
    }

    fn prometheus_url(&self) -> String {
        format!("http://{}", devstack::loopback(self.config.stack.prometheus_port))
    }

    fn exporter(&self, member: Member, program: &str) -> Result<Launch, StackError> {
        let not_there = || devstack::Error::NoProgram { program: program.into() };
        let found = devstack::find_program(program).ok_or_else(not_there)?;
        let launch = Launch::new(&found, &self.state.run_folder(), &self.state.log_file(member.name()));
        let address = member.listeners(&self.config).into_iter().map(|listener| listener.address).next();
        Ok(address
            .into_iter()
            .fold(launch, |launch, address| launch.argument(format!("--web.listen-address={address}"))))
    }

    /// A role is scraped on its first port: the others show the same. An exporter is where it runs.
    fn prometheus_configuration(&self) -> String {
        let roles = Role::ALL.iter().filter_map(|role| {
            let listener = listeners_of_role(&self.config, *role).next()?;
            Some(Scrape::new(role.as_str(), &listener.address.to_string()))
        });
        let exporters = [("node", Member::NodeExporter), ("postgres", Member::PostgresExporter)];
        let running = exporters.into_iter().filter(|(_, member)| self.state.running(*member).is_some());
        let members = std::iter::once(("prometheus", Member::Prometheus)).chain(running);
        let members = members.flat_map(|(job, member)| {
            let listeners = member.listeners(&self.config).into_iter();
            listeners.map(move |listener| Scrape::new(job, &listener.address.to_string()))
        });
        let scrapes: Vec<Scrape> = roles.chain(members).collect();
        let rules = self.root.join("observability/rules");
        let files = ["recording.yml", "alerts.yml"].map(|file| literal(&rules.join(file)));
        configuration(&scrapes, &files.each_ref().map(String::as_str))
    }
}
