//! The rate book, watched live from its key-value bucket.

use domain::fx::{BookRate, RateBook, SourceFigures};
use domain::{Currency, Refusal, Timestamp};
use futures::StreamExt;
use runtime::broker::{Broker, BrokerError, BucketChange};
use runtime::drain::Drain;
use std::collections::HashSet;
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

/// The rates known now.
pub(crate) struct RateBooks {
    state: RwLock<State>,
    age_seconds_max: i64,
}

#[derive(Default)]
struct State {
    book: RateBook,
    /// Seeded keys that the watch has not shown yet; while there are some, a missing rate proves nothing.
    unseen: Option<HashSet<String>>,
}

impl RateBooks {
    /// An empty book, not yet loaded. Rates older than `age_seconds_max` are stale.
    pub(crate) fn new(age_seconds_max: i64) -> RateBooks {
        RateBooks { state: RwLock::default(), age_seconds_max }
    }

    /// Whether the bucket's content has been read.
    pub(crate) fn is_loaded(&self) -> bool {
        self.read().unseen.as_ref().is_some_and(HashSet::is_empty)
    }

    /// The rate from one currency to another.
    pub(crate) fn rate(&self, from: Currency, to: Currency, now: Timestamp) -> Result<BookRate, Refusal> {
        self.read().book.rate(from, to, now, self.age_seconds_max)
    }

    /// What is known of each source.
    pub(crate) fn figures(&self, now: Timestamp) -> Vec<SourceFigures> {
        self.read().book.figures(now)
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
        self.write().unseen.get_or_insert_with(|| seed.into_iter().map(|(key, _)| key).collect());
        let mut changes = std::pin::pin!(broker.watch_bucket(rates::BUCKET).await?);
        while let Some(change) = changes.next().await {
            self.apply(&change?);
        }
        Ok(())
    }

    fn apply(&self, change: &BucketChange) {
        let mut state = self.write();
        if let Some(unseen) = state.unseen.as_mut() {
            unseen.remove(&change.key);
        }
        let read = rates::pair(&change.key).and_then(|pair| {
            Ok((pair, change.value.as_ref().map(|value| rates::decode(value, change.at)).transpose()?))
        });
        match read {
            Ok(((base, quote), Some(quotation))) => state.book.insert(base, quote, quotation),
            Ok(((base, quote), None)) => state.book.remove(base, quote),
            // A mistyped rate must not replace a good one, nor be taken for none.
            Err(error) => tracing::error!(key = change.key, %error, "an entry of the rate bucket is ignored"),
        }
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
        books.write().unseen = Some(HashSet::new());
        for (key, value) in entries {
            books.apply(&BucketChange {
                key: (*key).to_owned(),
                value: Some((*value).to_owned().into()),
                at,
            });
        }
        books
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_day_file_is_a_rate() {
        let entries = seed();
        assert_eq!(entries.len(), SEED.lines().count() - 2);
        let books = RateBooks::new(1);
        for (key, value) in entries {
            books.apply(&BucketChange { key, value: Some(value.into()), at: Timestamp::default() });
        }
        let (usd, idr) = (Currency::parse("USD").unwrap(), Currency::parse("IDR").unwrap());
        let far = Timestamp::parse("2999-01-01T00:00:00Z").unwrap();
        let rate = books.rate(usd, idr, far).unwrap();
        assert_eq!(rate.rate.to_major_string(usd, idr), "18148.2008593");
        books.apply(&BucketChange { key: "EUR.IDR".into(), value: Some("nonsense".into()), at: far });
        assert_eq!(books.rate(usd, idr, far), Ok(rate));
        books.apply(&BucketChange { key: "EUR.IDR".into(), value: None, at: far });
        assert_eq!(books.rate(usd, idr, far), Err(Refusal::FxRateUnavailable));
    }
}
