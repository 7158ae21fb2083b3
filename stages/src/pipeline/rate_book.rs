//! The rate book, watched live from its key-value bucket.

use domain::fx::{BookRate, RateBook, SourceFigures};
use domain::{Currency, Refusal, Timestamp};
use futures::StreamExt;
use runtime::broker::{Broker, BrokerError, BucketChange, BucketEvent};
use runtime::drain::Drain;
use std::sync::RwLock;
use std::time::Duration;
use wire::rates;

/// The European Central Bank's reference rates of one day, committed so that a fresh machine has rates at
/// all.
const SEED: &str = include_str!("../../rates/ecb-2026-10-30.csv");
/// When that day's rates were published, about 16:00 in Frankfurt.
const SEED_AS_OF: &str = "2026-10-30T15:00:00Z";

/// The pause before a broken watch is begun again.
const RETRY: Duration = Duration::from_millis(500);

/// The content of the bucket comes without a pause; when nothing comes for so long it is asked for anew.
const CONTENT_PATIENCE: Duration = Duration::from_secs(5);

/// The rates known now.
pub(crate) struct RateBooks {
    state: RwLock<State>,
    age_seconds_max: i64,
}

#[derive(Default)]
struct State {
    book: RateBook,
    /// What a watch that has just begun has told of the bucket so far: it takes the place of the book when it
    /// is whole. So a pair that was removed while nobody watched is gone then.
    coming: Option<RateBook>,
    /// The bucket was read whole at least once; before that a missing rate proves nothing.
    is_loaded: bool,
}

impl State {
    fn tell(&mut self, event: BucketEvent) {
        match event {
            BucketEvent::Changed(change) => self.change(&change),
            BucketEvent::Complete => {
                self.is_loaded = true;
                if let Some(whole) = self.coming.take() {
                    self.book = whole;
                }
            }
        }
    }

    fn change(&mut self, change: &BucketChange) {
        let Ok((base, quote)) = rates::pair(&change.key) else {
            tracing::error!(key = change.key, "an entry of the rate bucket is ignored: its key is no pair");
            return;
        };
        let known = self.book.quotation(base, quote).cloned();
        let book = self.coming.as_mut().unwrap_or(&mut self.book);
        match change.value.as_ref().map(|value| rates::decode(value, change.at)).transpose() {
            Ok(Some(quotation)) => book.insert(base, quote, quotation),
            Ok(None) => book.remove(base, quote),
            // A mistyped rate must not replace a good one, nor be taken for none.
            Err(error) => {
                tracing::error!(key = change.key, %error, "an entry of the rate bucket is ignored");
                if let Some(known) = known
                    && book.quotation(base, quote).is_none()
                {
                    book.insert(base, quote, known);
                }
            }
        }
    }
}

impl RateBooks {
    /// An empty book, not yet loaded. Rates older than `age_seconds_max` are stale.
    pub(crate) fn new(age_seconds_max: i64) -> RateBooks {
        RateBooks { state: RwLock::default(), age_seconds_max }
    }

    /// Whether the bucket's content has been read, all of it.
    pub(crate) fn is_loaded(&self) -> bool {
        self.read().is_loaded
    }

    /// The rate from one currency to another.
    pub(crate) fn rate(&self, from: Currency, to: Currency, now: Timestamp) -> Result<BookRate, Refusal> {
        self.read().book.rate(from, to, now, self.age_seconds_max)
    }

    /// What is known of each source.
    pub(crate) fn figures(&self, now: Timestamp) -> Vec<SourceFigures> {
        self.read().book.figures(now)
    }

    /// Takes in what a watch of the bucket tells.
    pub(crate) fn tell(&self, event: BucketEvent) {
        self.write().tell(event);
    }

    /// Seeds the bucket and follows it until the drain begins.
    pub(crate) async fn follow(&self, broker: &Broker, drain: &Drain) {
        loop {
            let outcome = tokio::select! {
                biased;
                () = drain.begun() => return,
                outcome = self.watch(broker) => outcome,
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "the rates cannot be watched");
            }
            if !drain.sleep(RETRY).await {
                return;
            }
        }
    }

    async fn watch(&self, broker: &Broker) -> Result<(), BrokerError> {
        let seed = seed();
        broker.seed_bucket(rates::BUCKET, rates::BUCKET_DESCRIPTION, &seed).await?;
        let mut events = std::pin::pin!(broker.watch_bucket(rates::BUCKET).await?);
        self.write().coming = Some(RateBook::default());
        while self.read().coming.is_some() {
            let next = tokio::time::timeout(CONTENT_PATIENCE, events.next()).await;
            let next =
                next.map_err(|_| BrokerError::Unavailable("the bucket was not told whole".to_owned()))?;
            let Some(event) = next else { return Ok(()) };
            self.tell(event?);
        }
        while let Some(event) = events.next().await {
            self.tell(event?);
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The committed rates as entries of the bucket.
fn seed() -> Vec<(String, Vec<u8>)> {
    let as_of = Timestamp::parse(SEED_AS_OF).unwrap_or_default();
    let rows =
        SEED.lines().filter(|line| !line.starts_with('#')).skip(1).filter_map(|line| line.split_once(','));
    rows.filter_map(|(code, rate)| {
        let quote = Currency::parse(code).ok()?;
        Some((rates::key(Currency::EUR, quote), rates::encode_seed(rate, as_of).ok()?))
    })
    .collect()
}

#[cfg(test)]
impl RateBooks {
    /// A loaded book with these rates, all of one instant.
    pub(crate) fn of(entries: &[(&str, &str)], at: Timestamp, age_seconds_max: i64) -> RateBooks {
        let books = RateBooks::new(age_seconds_max);
        for (key, value) in entries {
            books.tell(changed(key, Some(value), at));
        }
        books.tell(BucketEvent::Complete);
        books
    }
}

#[cfg(test)]
fn changed(key: &str, value: Option<&str>, at: Timestamp) -> BucketEvent {
    let value = value.map(|value| value.to_owned().into());
    BucketEvent::Changed(BucketChange { key: key.to_owned(), value, at })
}

#[cfg(test)]
#[path = "rate_book_tests.rs"]
mod tests;
