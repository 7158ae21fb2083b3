//! Telling a role's figures to whoever asks: seldom enough that nobody who asks costs the role anything, however
//! often and however many they are.

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use runtime::broker::{Broker, BrokerError, Subscription};
use runtime::drain::Drain;
use runtime::process::chain;
use runtime::telemetry::Metrics;
use std::time::Duration;
use tokio::time::Instant;
use wire::Subject;

/// Between two answers. Whoever asks meanwhile is answered with the next one, all with the same.
const EVERY: Duration = Duration::from_millis(200);

/// Between two attempts to be asked.
const RETRY: Duration = Duration::from_millis(500);

/// Tells the figures of one player of a role to those who ask for them, until the drain begins.
pub(crate) async fn tell(broker: Broker, metrics: Metrics, drain: Drain) {
    let instance = runtime::ids::fresh();
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return,
            told = while_asked(&broker, &metrics, &instance) => if let Err(error) = told {
                tracing::debug!(role = %metrics.role(), error = chain(&error), "figures cannot be asked for yet");
            },
        }
        if !drain.sleep(RETRY).await {
            return;
        }
    }
}

async fn while_asked(broker: &Broker, metrics: &Metrics, instance: &str) -> Result<(), BrokerError> {
    let subject = Subject::figures_of(metrics.role());
    let mut due = Due::of(questions(broker.subscribe(Subject::figures_wanted().as_str()).await?));
    while due.next().await.is_some() {
        let Ok(figures) = serde_json::to_vec(&metrics.figures(instance)) else { continue };
        if let Err(error) = broker.tell(&subject, figures.into()).await {
            tracing::debug!(role = %metrics.role(), error = chain(&error), "figures cannot be told");
        }
    }
    Ok(())
}

fn questions(asked: Subscription) -> BoxStream<'static, Bytes> {
    let next = |mut asked: Subscription| async move { asked.next().await.map(|question| (question, asked)) };
    stream::unfold(asked, next).boxed()
}

/// When answers are due. Questions are taken as they come, so that none of them piles up.
struct Due<Q> {
    asked: Q,
    next_at: Instant,
}

impl<Q: Stream + Unpin> Due<Q> {
    fn of(asked: Q) -> Due<Q> {
        Due { asked, next_at: Instant::now() }
    }

    /// Waits for a question, and then until it may be answered; nothing once nobody can ask any more.
    async fn next(&mut self) -> Option<()> {
        self.asked.next().await?;
        let pause = tokio::time::sleep_until(self.next_at);
        let meanwhile = async { while self.asked.next().await.is_some() {} };
        tokio::select! {
            biased;
            () = pause => {}
            () = meanwhile => return None,
        }
        self.next_at = Instant::now() + EVERY;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// Asks every so often, so many times; how often that is answered, with a moment after it for the last.
    async fn answers(every: Duration, count: u32) -> u32 {
        let (ask, mut questions) = mpsc::channel::<()>(1_024);
        let mut due = Due::of(stream::poll_fn(move |context| questions.poll_recv(context)));
        let answering = async {
            let mut answered = 0;
            while due.next().await.is_some() {
                answered += 1;
            }
            answered
        };
        let asking = async move {
            for _ in 0..count {
                ask.send(()).await.unwrap();
                // What is tested is time; it is paused.
                tokio::time::sleep(every).await;
            }
            // As above.
            tokio::time::sleep(EVERY * 2).await;
        };
        tokio::join!(answering, asking).0
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_there_are_five_answers_a_second_at_most() {
        let rows = [
            // One gateway, and several.
            (Duration::from_secs(1), 10, 10..=10),
            (Duration::from_millis(250), 20, 20..=20),
            (Duration::from_millis(100), 50, 25..=27),
            // Someone who means harm, for two seconds.
            (Duration::from_millis(1), 2_000, 10..=13),
            (Duration::ZERO, 4_000, 1..=2),
        ];
        for (every, count, expected) in rows {
            let answered = answers(every, count).await;
            assert!(expected.contains(&answered), "{count} questions, one in {every:?}: {answered}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_and_nothing_is_gathered() {
        assert_eq!(answers(EVERY, 0).await, 0);
    }
}
