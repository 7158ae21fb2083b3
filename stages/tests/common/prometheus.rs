//! A Prometheus that looks at a system's ports.

use super::System;
use devstack::testing::TestPrometheus;
use signals::prometheus::{Scrape, configuration};
use wire::Role;

/// A Prometheus that scrapes every role of the system each second, and evaluates the committed rules.
pub async fn prometheus(system: &System) -> TestPrometheus {
    let scrapes = Role::ALL.map(|role| {
        let port = system.config.listeners(role).1[0];
        Scrape::new(role.as_str(), &format!("127.0.0.1:{port}"))
    });
    let rules = devstack::find_root().unwrap().join("observability/rules");
    let files = ["recording.yml", "alerts.yml"].map(|file| rules.join(file).display().to_string());
    let text = configuration(&scrapes, &files.each_ref().map(String::as_str));
    TestPrometheus::start(&text.replace(": 5s", ": 1s").replace(": 4s", ": 1s")).await
}
