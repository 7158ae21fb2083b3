//! Whether Grafana is there.

use runtime::http::{HttpClient, public_url};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long what was found out is taken for true.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Of its answer nothing but the status counts.
const ANSWER_BYTES_MAX: usize = 4 << 10;

pub(super) struct Grafana {
    /// As clients are shown it.
    url: String,
    /// None where it is spoken to by TLS, which is for browsers.
    client: Option<HttpClient>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Grafana {
    /// The one at this URL, if it is one.
    pub(super) fn at(url: &str) -> Option<Grafana> {
        let client = url.starts_with("http://").then(|| HttpClient::new(url));
        Some(Grafana { url: public_url(url)?, client, last: Mutex::default() })
    }

    /// Where it is, if it answers. Those who ask at once wait for one answer.
    pub(super) async fn url(&self) -> Option<&str> {
        let Some(client) = &self.client else { return Some(&self.url) };
        let mut last = self.last.lock().await;
        let known = last.filter(|(asked_at, _)| asked_at.elapsed() < REMEMBERED);
        let is_there = match known {
            Some((_, is_there)) => is_there,
            None => {
                let heard = timeout(PATIENCE, client.get("/api/health", ANSWER_BYTES_MAX)).await;
                let is_there = matches!(heard, Ok(Ok(heard)) if heard.status == 200);
                *last = Some((Instant::now(), is_there));
                is_there
            }
        };
        is_there.then_some(self.url.as_str())
    }
}
