//! The signal to stop: finish what is in hand, take nothing new.

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was not let finish.
const EXIT_CUT_OFF: i32 = 1;

/// Told to every task; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    /// Why the process has failed, if it has.
    failure: Arc<OnceLock<String>>,
    failed: CancellationToken,
}

impl Drain {
    /// A drain that begins with SIGTERM or SIGINT. The second of them ends the process at once, whatever
    /// hangs: a thread of its own waits for both, and does nothing else that could make it wait.
    pub fn on_signals() -> std::io::Result<Drain> {
        let drain = Drain::default();
        let begin = drain.clone();
        let (installed, is_installed) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let outcome =
                tokio::runtime::Builder::new_current_thread().enable_io().build().and_then(|runtime| {
                    let signals = runtime.block_on(async {
                        Ok::<_, std::io::Error>((
                            signal(SignalKind::terminate())?,
                            signal(SignalKind::interrupt())?,
                        ))
                    })?;
                    Ok((runtime, signals))
                });
            match outcome {
                // Nobody listens when the process has ended meanwhile.
                Err(error) => drop(installed.send(Err(error))),
                Ok((runtime, signals)) => {
                    let _ = installed.send(Ok(()));
                    runtime.block_on(obey(signals, &begin));
                }
            }
        })?;
        is_installed.recv().map_err(std::io::Error::other)??;
        let told = drain.clone();
        // From here, not from the thread: a log that nobody reads may make its writer wait.
        tokio::spawn(async move {
            told.begun().await;
            tracing::info!("draining; a second signal ends the process at once");
        });
        Ok(drain)
    }

    /// Begins the drain.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Begins it because a part of the process has failed: the process must end, to be started again whole, and
    /// its exit code says so. The first reason stays.
    pub fn fail(&self, reason: String) {
        // A second failure is a consequence, as far as anyone knows.
        let _ = self.failure.set(reason);
        self.failed.cancel();
        self.begin();
    }

    /// Waits until the process has failed.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Why the process has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Sleeps for so long, but not past the beginning of the drain; whether it slept to the end.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.begun() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// The first signal begins the drain, the second is the end.
async fn obey((mut terminate, mut interrupt): (Signal, Signal), drain: &Drain) {
    for is_first in [true, false] {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if is_first {
            drain.begin();
        }
    }
    std::process::exit(EXIT_CUT_OFF);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sleeps(drain: &Drain, seconds: u64) -> bool {
        // What is tested; its time is paused.
        drain.sleep(Duration::from_secs(seconds)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_with_its_time_or_with_the_beginning_of_the_drain() {
        let (drain, started) = (Drain::default(), tokio::time::Instant::now());
        assert!(sleeps(&drain, 1).await);
        let begins = async {
            sleeps(&drain, 2).await;
            drain.begin();
        };
        assert!(!tokio::join!(sleeps(&drain, 10), begins).0);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert!(!sleeps(&drain, 0).await, "and none begins after it");
    }
}
