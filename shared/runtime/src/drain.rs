//! The signal to stop: finish what is in hand, take nothing new.

use tokio_util::sync::CancellationToken;

/// Told to every task; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A drain that begins with SIGTERM or SIGINT.
    pub fn on_signals() -> std::io::Result<Drain> {
        use tokio::signal::unix::{SignalKind, signal};
        let drain = Drain::default();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let begin = drain.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("draining");
            begin.begin();
        });
        Ok(drain)
    }

    /// Begins the drain.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
