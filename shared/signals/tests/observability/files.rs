//! What is written from the tables.

use crate::{folder, names, sorted};
use config::{Config, StackConfig};
use signals::prometheus::{Scrape, configuration};
use signals::{dashboards, grafana, paper, rules};
use wire::Role;

/// Prometheus itself, on the port that its package and ours give it.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// The roles on their default ports. The gateway's second port shows the same figures.
fn prometheus_file() -> String {
    let config = Config::on(StackConfig::shifted(0));
    let role = |role: Role| {
        let (_, ports) = config.listeners(role);
        Scrape::new(role.as_str(), &format!("127.0.0.1:{}", ports[0]))
    };
    let scrapes: Vec<Scrape> =
        Role::ALL.into_iter().map(role).chain([Scrape::new("prometheus", PROMETHEUS)]).collect();
    let written = configuration(&scrapes, &["rules/recording.yml", "rules/alerts.yml"]);
    format!("# Written from shared/signals: GOLDEN_WRITE=1 cargo test -p signals\n{written}")
}

/// The README with its tables written anew.
fn readme() -> String {
    let mut text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for (name, table) in
        [("metrics", paper::metrics()), ("panels", paper::panels()), ("alerts", paper::alerts())]
    {
        let [begin, end] = ["begin", "end"].map(|place| format!("<!-- {name}: {place} -->\n"));
        let from = text.find(&begin).unwrap_or_else(|| panic!("README.md lacks {begin}")) + begin.len();
        let to = text.find(&end).unwrap_or_else(|| panic!("README.md lacks {end}"));
        text.replace_range(from..to, &table);
    }
    text
}

/// `GOLDEN_WRITE=1 cargo test -p signals` writes the files anew after an intended change.
#[test]
fn files_are_written_as_committed() {
    let mut files = vec![
        ("prometheus.yml".to_owned(), prometheus_file()),
        ("rules/recording.yml".to_owned(), rules::recording_file()),
        ("rules/alerts.yml".to_owned(), rules::alert_file()),
        ("README.md".to_owned(), readme()),
    ];
    for dashboard in dashboards::all() {
        files.push((format!("grafana/dashboards/{}.json", dashboard.uid), grafana::file(&dashboard)));
    }
    for (path, written) in files {
        let file = folder().join(&path);
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            std::fs::write(&file, &written).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(written == committed, "{path} differs: GOLDEN_WRITE=1 cargo test -p signals writes it anew");
    }
}

#[test]
fn each_dashboard_has_its_file_and_each_file_its_dashboard() {
    let dashboards = dashboards::all();
    assert_eq!(names("grafana/dashboards"), sorted(dashboards.iter().map(|dashboard| dashboard.uid)));
}
