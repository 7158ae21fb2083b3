//! A Prometheus for one test.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Guarded, in_background, make_run_folder};
use crate::port::{PortLease, loopback};
use crate::process::ProcessIdentity;
use crate::prometheus::{self, PrometheusOptions, PrometheusServer};

/// Twelve scrapes, or an evaluation of rules that are evaluated once a minute, on a machine that does other
/// things too.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A Prometheus with nothing in it but what it scrapes itself.
#[derive(Debug, Clone)]
pub struct TestPrometheus {
    address: SocketAddr,
    guarded: Guarded<PrometheusServer>,
}

impl TestPrometheus {
    /// Starts one with this `prometheus.yml`, as `signals::prometheus::configuration` writes it.
    ///
    /// # Panics
    /// When it cannot be started, or does not understand its configuration.
    pub async fn start(configuration: &str) -> Self {
        let configuration = configuration.to_owned();
        in_background(move || {
            let lease = PortLease::take()?;
            let folder = make_run_folder()?;
            let log_file = folder.join("prometheus.log");
            let options =
                PrometheusOptions { port: lease.port, folder: folder.join("data"), log_file, configuration };
            let address = loopback(lease.port);
            let guarded = Guarded::start(PrometheusServer::new(options), &folder, vec![lease])?;
            Ok(Self { address, guarded })
        })
        .await
    }

    /// For `telemetry.prometheus_url`: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The series of an expression now, as the API's `result` has them: each with `metric` and `value`.
    ///
    /// # Panics
    /// When the expression is wrong, or nobody answers.
    pub async fn query(&self, expression: &str) -> Value {
        let expression: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("query", expression).finish();
        self.ask(format!("/api/v1/query?{expression}"), "result").await
    }

    /// Asks again and again until the series of an expression are as awaited, and returns them.
    ///
    /// # Panics
    /// When that takes a minute and a half; the message holds what they were last.
    #[expect(clippy::panic, reason = "a test that does not see its figures has failed")]
    pub async fn until(&self, expression: &str, mut is_enough: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.query(expression).await;
            if is_enough(&result) {
                return result;
            }
            if Instant::now() >= deadline {
                panic!("{expression} did not become what was awaited; it is {result}");
            }
            in_background(|| {
                thread::sleep(POLL_INTERVAL);
                Ok(())
            })
            .await;
        }
    }

    /// What it scrapes: each with `labels`, `health` and `lastError`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn targets(&self) -> Value {
        self.ask("/api/v1/targets?state=active".to_owned(), "activeTargets").await
    }

    /// Alerts that are pending or firing: each with `labels`, `annotations` and `state`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn alerts(&self) -> Value {
        self.ask("/api/v1/alerts".to_owned(), "alerts").await
    }

    /// Ends it with SIGKILL, as a crash.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(&self) {
        self.guarded.kill().await;
    }

    /// Starts it again on the same port and data; one that still runs is stopped before.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.guarded.restart().await;
    }

    /// Its process, to look at or to signal; none while it is down.
    pub async fn process(&self) -> Option<ProcessIdentity> {
        self.guarded.process().await
    }

    #[expect(clippy::panic, reason = "a test that gets no answer has failed")]
    async fn ask(&self, path: String, member: &str) -> Value {
        let address = self.address;
        let asked = path.clone();
        let data = in_background(move || Ok(prometheus::ask(address, &asked))).await;
        let answer = data.and_then(|mut data| {
            data.get_mut(member).map(Value::take).ok_or_else(|| format!("no `{member}` in {data}"))
        });
        answer.unwrap_or_else(|problem| panic!("Prometheus, asked for {path}: {problem}"))
    }
}
