//! A receiver of spans for one test, on a thread and a runtime of its own: a test's paused clock does not
//! disturb it, and several tests may share it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::in_background;
use crate::Error;
use crate::port::{PortLease, loopback};
use crate::traces::{Receiver, Span};

/// An exporter waits some seconds for a batch to fill, and tests share the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that wait to be collected.
const WAITING_MAX: usize = 4;

/// A receiver of spans, gone with its handle.
#[derive(Debug)]
pub struct TestCollector {
    endpoint: String,
    collected: Arc<Collected>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _lease: PortLease,
}

#[derive(Debug, Default)]
struct Collected {
    spans: Mutex<Vec<Span>>,
    more: Condvar,
}

impl TestCollector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        in_background(Self::open).await
    }

    fn open() -> Result<Self, Error> {
        let lease = PortLease::take()?;
        let address = loopback(lease.port);
        let failed = |source| Error::Listen { port: address.port(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let receiver = runtime.block_on(Receiver::bind(lease.port)).map_err(failed)?;
        let collected = Arc::new(Collected::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let into = collected.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let (sender, spans) = mpsc::channel(WAITING_MAX);
                let stopped = async { drop(stopped.await) };
                tokio::join!(receiver.run(sender, stopped), into.collect(spans));
            });
        });
        let endpoint = format!("http://{address}");
        Ok(Self { endpoint, collected, stop: Some(stop), thread: Some(thread), _lease: lease })
    }

    /// For `telemetry.otlp_endpoint`: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What has come so far, in the order of coming.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.collected.spans().clone()
    }

    /// Waits until what has come so far is enough, and returns it.
    ///
    /// # Panics
    /// When that takes a minute; the message holds the names of the spans that came.
    #[expect(clippy::panic, reason = "a test that misses spans has failed")]
    pub async fn until(&self, mut is_enough: impl FnMut(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if is_enough(&spans) {
                return spans;
            }
            let (collected, known) = (self.collected.clone(), spans.len());
            if !in_background(move || Ok(collected.await_more(known, deadline))).await {
                let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
                panic!("the spans that were awaited did not come; these did: {names:?}");
            }
        }
    }
}

impl Collected {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn collect(&self, mut spans: mpsc::Receiver<Vec<Span>>) {
        while let Some(come) = spans.recv().await {
            self.spans().extend(come);
            self.more.notify_all();
        }
    }

    /// Whether there are more than so many before the deadline.
    fn await_more(&self, known: usize, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.more.wait_timeout_while(self.spans(), patience, |spans| spans.len() <= known);
        waited.unwrap_or_else(PoisonError::into_inner).0.len() > known
    }
}

impl Drop for TestCollector {
    fn drop(&mut self) {
        // The thread waits for this to be gone.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to answer with.
            let _ = thread.join();
        }
    }
}
