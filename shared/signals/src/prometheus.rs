//! What Prometheus is told to read.

use std::fmt::Write;

/// Between two scrapes. Figures change no faster than the janitor reads them.
pub const INTERVAL_SECONDS: u32 = 5;
/// Below the interval: a port that hangs must not make its own scrapes overlap.
const TIMEOUT_SECONDS: u32 = 4;
/// Samples of one answer. Our ports have fewer than 2,000, node-exporter about as many; what shows more is
/// not read at all, so that a label gone wrong cannot fill the disk.
const SAMPLES_MAX: u32 = 10_000;

/// Who is scraped under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrape {
    /// The label `job` of its series: a role, or the name of a server.
    pub job: String,
    /// Host and port of each of its instances.
    pub targets: Vec<String>,
}

impl Scrape {
    /// One with a single instance.
    pub fn new(job: &str, target: &str) -> Scrape {
        Scrape { job: job.to_owned(), targets: vec![target.to_owned()] }
    }
}

/// The text of a `prometheus.yml`. Paths of rule files count from that file's folder.
pub fn configuration(scrapes: &[Scrape], rule_files: &[&str]) -> String {
    let mut text = format!(
        "global:\n  scrape_interval: {INTERVAL_SECONDS}s\n  scrape_timeout: {TIMEOUT_SECONDS}s\n  \
         evaluation_interval: {INTERVAL_SECONDS}s\n\nrule_files: {}\n\nscrape_configs:\n",
        list(rule_files.iter().copied()),
    );
    for scrape in scrapes {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  - job_name: {}\n    sample_limit: {SAMPLES_MAX}\n    static_configs:\n      - targets: {}\n",
            quoted(&scrape.job),
            list(scrape.targets.iter().map(String::as_str)),
        );
    }
    text
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let quoted: Vec<String> = texts.map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

/// As YAML reads it whatever is in it: its double-quoted form takes every escape of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_jobs_targets_and_rules() {
        let two = Scrape { job: "fx".to_owned(), targets: vec!["a:1".to_owned(), "b:2".to_owned()] };
        let text = configuration(&[Scrape::new("risk", "127.0.0.1:8084"), two], &["rules/a \"b\".yml"]);
        let expected = "global:\n  scrape_interval: 5s\n  scrape_timeout: 4s\n  evaluation_interval: 5s\n\n\
                        rule_files: [\"rules/a \\\"b\\\".yml\"]\n\n\
                        scrape_configs:\n  - job_name: \"risk\"\n    sample_limit: 10000\n    static_configs:\n      \
                        - targets: [\"127.0.0.1:8084\"]\n  - job_name: \"fx\"\n    sample_limit: 10000\n    \
                        static_configs:\n      - targets: [\"a:1\", \"b:2\"]\n";
        assert_eq!(text, expected);
        assert!(configuration(&[], &[]).contains("rule_files: []"));
    }
}
