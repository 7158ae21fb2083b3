//! Whether what requests need is there. Asking costs a server something, so an answer holds for a moment,
//! however many ask.

use runtime::broker::Broker;
use runtime::http::Check;
use runtime::process::chain;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::Role;

/// How long an answer holds.
const FRESH: Duration = Duration::from_secs(1);

/// Whether both servers that a role needs are there: the broker by its connections, the ledger by a ping. The
/// ledger is asked once now, so that the log says why it is away before anyone probes.
pub(crate) fn server_checks(role: Role, broker: Broker, ledger: Store) -> Vec<(&'static str, Check)> {
    let nats: Check = Arc::new(move || {
        let is_connected = broker.is_connected();
        Box::pin(async move { is_connected })
    });
    let was_there = Arc::new(AtomicBool::new(true));
    let postgres = held_for_a_moment(move || ping(role, ledger.clone(), was_there.clone()));
    drop(postgres());
    vec![("nats", nats), ("postgres", postgres)]
}

/// Asks the ledger for a sign of life, and logs when the answer changes.
async fn ping(role: Role, ledger: Store, was_there: Arc<AtomicBool>) -> bool {
    let answer = ledger.ping().await;
    match (&answer, was_there.swap(answer.is_ok(), Ordering::Relaxed)) {
        (Err(error), true) => tracing::warn!(%role, error = chain(error), "the ledger is away"),
        (Ok(()), false) => tracing::info!(%role, "the ledger is back"),
        (Ok(()), true) | (Err(_), false) => {}
    }
    answer.is_ok()
}

/// A check that asks once a second at most, and never again before the last answer is there.
fn held_for_a_moment<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Check
where
    F: Future<Output = bool> + Send + 'static,
{
    let last: Mutex<Option<Asked>> = Mutex::new(None);
    Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match last.take() {
            Some(asked) if asked.is_current() => asked,
            _ => Asked::now(ask()),
        };
        let mut answer = current.answer.clone();
        *last = Some(current);
        // A question whose task has ended without an answer is answered with no.
        Box::pin(
            async move { answer.wait_for(Option::is_some).await.is_ok_and(|answer| *answer == Some(true)) },
        )
    })
}

/// A question that is on its way, or was.
struct Asked {
    at: Instant,
    answer: watch::Receiver<Option<bool>>,
}

impl Asked {
    /// Asks in a task of its own: whoever asked first may go away, and the others still wait for the answer.
    fn now(asking: impl Future<Output = bool> + Send + 'static) -> Asked {
        let (told, answer) = watch::channel(None);
        tokio::spawn(async move { told.send_replace(Some(asking.await)) });
        Asked { at: Instant::now(), answer }
    }

    fn is_current(&self) -> bool {
        let is_under_way = self.answer.borrow().is_none() && self.answer.has_changed().is_ok();
        is_under_way || self.at.elapsed() < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    /// A check that counts how often it really asks, and answers when it is let.
    fn counted(answer: bool) -> (Check, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (asked, let_go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (asked.clone(), let_go.clone());
        let check = held_for_a_moment(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                answer
            }
        });
        (check, asked, let_go)
    }

    #[tokio::test(start_paused = true)]
    async fn many_ask_and_one_question_goes_out_a_second() {
        for expected in [true, false] {
            let (check, asked, let_go) = counted(expected);
            // Whoever asks first does not stay for the answer.
            assert_eq!(check().now_or_never(), None);
            let waiting: Vec<_> = (0..100).map(|_| tokio::spawn(check())).collect();
            // Long unanswered: still the one question.
            tokio::time::advance(FRESH * 10).await;
            assert_eq!(check().now_or_never(), None);
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            let_go.add_permits(1);
            assert!(join_all(waiting).await.into_iter().all(|answer| answer.unwrap() == expected));
            // That answer was asked for long ago; the next one holds for a second.
            let_go.add_permits(1);
            assert_eq!(check().await, expected);
            tokio::time::advance(FRESH / 2).await;
            assert_eq!((check().await, asked.load(Ordering::Relaxed)), (expected, 2));
            let_go.add_permits(1);
            tokio::time::advance(FRESH).await;
            assert_eq!((check().await, asked.load(Ordering::Relaxed)), (expected, 3));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_ends_without_an_answer_is_asked_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let check = held_for_a_moment(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number > 0, "the first question breaks");
                true
            }
        });
        assert!(!check().await);
        tokio::time::advance(FRESH).await;
        assert!(check().await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
