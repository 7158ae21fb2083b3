//! Asking every role for its figures, a round each second.

use super::listeners::Watching;
use bytes::Bytes;
use runtime::broker::{Broker, Subscription};
use runtime::clock;
use runtime::http::event;
use runtime::process::chain;
use signals::live::Live;
use std::time::Duration;
use tokio::time::Instant;
use wire::{RoleFigures, Subject};

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(1);

/// How long after its question a round tells what it knows: the slowest of many answers takes less.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long subscribing may take of a round.
const SUBSCRIBING: Duration = Duration::from_millis(300);

/// Answers that a round reads; the rest is dropped unread. Players of roles are fewer, and answer five times a second
/// at most.
const ANSWERS_MAX: usize = 1_024;

/// The largest answer that is read: some thousand series.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What rounds know; forgotten when nobody looks any more.
pub(super) struct Rounds {
    broker: Broker,
    /// Every answer, also those to other gateways.
    answers: Option<Subscription>,
    live: Live,
    began: Instant,
}

impl Rounds {
    pub(super) fn new(broker: Broker) -> Rounds {
        Rounds { broker, answers: None, live: Live::default(), began: Instant::now() }
    }

    /// Goes on until nobody looks.
    pub(super) async fn run(mut self, watching: &Watching) {
        while !watching.is_empty() {
            let round = Instant::now();
            let mut left = ANSWERS_MAX;
            self.subscribe().await;
            if let Err(error) = self.broker.tell(&Subject::figures_wanted(), Bytes::new()).await {
                tracing::debug!(error = chain(&error), "roles cannot be asked for their figures");
            }
            self.hear_until(round + PATIENCE, &mut left).await;
            if let Some(event) = self.event() {
                watching.tell(&event);
            }
            self.hear_until(round + EVERY, &mut left).await;
        }
    }

    /// A subscription outlasts outages; one is made where the broker is there for the first time.
    async fn subscribe(&mut self) {
        if self.answers.is_some() || !self.broker.is_connected() {
            return;
        }
        let subject = Subject::all_figures();
        match tokio::time::timeout(SUBSCRIBING, self.broker.subscribe(subject.as_str())).await {
            Ok(Ok(answers)) => self.answers = Some(answers),
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "figures cannot be heard"),
            Err(_) => tracing::debug!("figures cannot be heard yet"),
        }
    }

    /// Takes answers as they come, so that none piles up, and reads so many of them.
    async fn hear_until(&mut self, until: Instant, left: &mut usize) {
        let over = tokio::time::sleep_until(until);
        tokio::pin!(over);
        while let Some(answers) = &mut self.answers {
            let answer = tokio::select! {
                biased;
                () = &mut over => return,
                answer = answers.next() => answer,
            };
            let Some(answer) = answer else {
                self.answers = None;
                break;
            };
            if *left == 0 || answer.len() > ANSWER_BYTES_MAX {
                continue;
            }
            *left -= 1;
            // What cannot be read is of another release, or of nobody we know.
            if let Ok(figures) = serde_json::from_slice::<RoleFigures>(&answer) {
                self.live.heard(self.began.elapsed(), &figures);
            }
        }
        over.await;
    }

    fn event(&mut self) -> Option<Bytes> {
        let report = self.live.report(self.began.elapsed(), clock::now(), self.broker.is_connected());
        let data = serde_json::to_string(&report).ok()?;
        Some(Bytes::from(event(None, &data)))
    }
}
