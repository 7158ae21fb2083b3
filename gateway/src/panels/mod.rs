//! The panels of the dashboards, answered from Prometheus.
//!
//! Only panels of the table are asked for, over ranges of a closed set: nobody writes a question of his own.
//! However many ask, Prometheus hears each question once in two seconds, and four at once at most.

mod description;
mod grafana;
mod question;

use bytes::Bytes;
use description::described;
use grafana::Grafana;
pub(crate) use question::Range;
use question::{ANSWER_BYTES_MAX, Span, answered, path, series};
use runtime::config::TelemetryConfig;
use runtime::http::HttpClient;
use signals::dashboards;
use signals::panel::{Dashboard, Panel, Query};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::time::{Instant, timeout};
use wire::{Code, Problem};

/// How long a panel is waited for: once for whoever asks the same already, and once for Prometheus.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer is given to others, who then see figures that are not older than a scrape.
const FRESH: Duration = Duration::from_secs(2);

/// Questions that Prometheus works on at once: its own bound is 20, and it is there for its rules first.
const QUESTIONS_MAX: usize = 4;

/// Requests that wait for a panel at once. A page shows some 80, and a browser asks for six at a time.
const WAITING_MAX: usize = 128;

/// Which panel, and over which range.
type Key = (&'static str, Range);

/// An answer and when it was had.
type Answered = (Instant, Result<Bytes, Problem>);

/// Answers for panels.
pub(crate) struct Panels {
    dashboards: Vec<Dashboard>,
    prometheus: Option<HttpClient>,
    grafana: Option<Grafana>,
    /// One for each thing that can be asked: whoever has it asks Prometheus, the others wait for his answer.
    turns: HashMap<Key, Turn<()>>,
    /// Those that are fresh; each new one sweeps the others out.
    answers: Mutex<HashMap<Key, Answered>>,
    questions: Semaphore,
    waiting: Semaphore,
}

impl Panels {
    /// As they are configured.
    pub(crate) fn new(config: &TelemetryConfig) -> Panels {
        let dashboards = dashboards::all();
        let keys = dashboards
            .iter()
            .flat_map(Dashboard::panels)
            .flat_map(|panel| Range::ALL.into_iter().map(|range| (panel.id, range)));
        let url = &config.prometheus_url;
        Panels {
            turns: keys.map(|key| (key, Turn::default())).collect(),
            prometheus: (!url.is_empty()).then(|| HttpClient::new(url)),
            grafana: Grafana::at(&config.grafana_url),
            answers: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            waiting: Semaphore::new(WAITING_MAX),
            dashboards,
        }
    }

    /// Which panels there are, and where Grafana shows them too, if it answers.
    pub(crate) async fn list(&self) -> Result<serde_json::Value, Problem> {
        self.prometheus()?;
        let grafana = match &self.grafana {
            Some(grafana) => grafana.url().await,
            None => None,
        };
        Ok(described(&self.dashboards, grafana))
    }

    /// What a panel shows, in JSON.
    pub(crate) async fn show(self: &Arc<Self>, id: &str, range: Range) -> Result<Bytes, Problem> {
        self.prometheus()?;
        let key = (self.panel(id)?.id, range);
        if let Some(answer) = self.fresh(&key) {
            return answer;
        }
        // Who asked may leave before the answer; what Prometheus was asked is kept for whoever asks next.
        let panels = Arc::clone(self);
        let asking = tokio::spawn(async move { panels.answer(key).await });
        asking.await.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the panel met a bug of ours")))
    }

    /// What is found out anew, by one for all who ask for the same.
    async fn answer(&self, key: Key) -> Result<Bytes, Problem> {
        let (prometheus, panel) = (self.prometheus()?, self.panel(key.0)?);
        let full = |_| Problem::new(Code::Overloaded, "more requests wait for panels than the gateway lets");
        let _place = self.waiting.try_acquire().map_err(full)?;
        let turn = self.turns.get(&key).ok_or_else(no_such_panel)?;
        let _turn = timeout(PATIENCE, turn.lock()).await.map_err(|_| silent("others wait for it too"))?;
        if let Some(answer) = self.fresh(&key) {
            return answer;
        }
        let asked = timeout(PATIENCE, self.ask(prometheus, panel, key.1)).await;
        let answer = asked.unwrap_or_else(|_| Err(silent("it took too long")));
        self.keep(key, answer.clone());
        answer
    }

    fn panel(&self, id: &str) -> Result<&Panel, Problem> {
        let mut panels = self.dashboards.iter().flat_map(Dashboard::panels);
        panels.find(|panel| panel.id == id).ok_or_else(no_such_panel)
    }

    fn prometheus(&self) -> Result<&HttpClient, Problem> {
        let nowhere =
            || Problem::new(Code::NotFound, "there are no panels here: telemetry.prometheus_url is not set");
        self.prometheus.as_ref().ok_or_else(nowhere)
    }

    fn fresh(&self, key: &Key) -> Option<Result<Bytes, Problem>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (had_at, answer) = answers.get(key)?;
        (had_at.elapsed() < FRESH).then(|| answer.clone())
    }

    fn keep(&self, key: Key, answer: Result<Bytes, Problem>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (had_at, _)| had_at.elapsed() < FRESH);
        answers.insert(key, (Instant::now(), answer));
    }

    /// All that a panel asks, at once.
    async fn ask(&self, prometheus: &HttpClient, panel: &Panel, range: Range) -> Result<Bytes, Problem> {
        let span = Span::until(runtime::clock::now(), range);
        let asked = panel.queries.iter().map(|query| self.ask_one(prometheus, query, &span));
        let mut found = Vec::new();
        for series in futures::future::try_join_all(asked).await? {
            found.extend(series);
        }
        answered(panel, &span, found)
    }

    async fn ask_one(
        &self,
        prometheus: &HttpClient,
        query: &Query,
        span: &Span,
    ) -> Result<Vec<question::Series>, Problem> {
        // It is never closed.
        let _place = self.questions.acquire().await.map_err(|_| silent("the gateway ends"))?;
        let heard = prometheus.get(&path(query, span), ANSWER_BYTES_MAX).await;
        let heard = heard.map_err(|error| silent(&error.to_string()))?;
        let body = heard.body.filter(|_| heard.status == 200);
        let body = body.ok_or_else(|| wrong(&format!("status {}", heard.status)))?;
        series(query, span, &body).map_err(|error| wrong(&error.to_string()))
    }
}

fn no_such_panel() -> Problem {
    Problem::new(Code::NotFound, "there is no such panel: /panels lists them")
}

fn silent(cause: &str) -> Problem {
    Problem::new(Code::Unavailable, "Prometheus does not answer").because(cause)
}

fn wrong(cause: &str) -> Problem {
    Problem::new(Code::Unavailable, "Prometheus answers something else than figures").because(cause)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
