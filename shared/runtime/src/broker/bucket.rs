//! A key-value bucket: filled with what it never had, and watched live.

use super::{Broker, BrokerError};
use async_nats::jetstream::kv;
use bytes::Bytes;
use domain::Timestamp;
use futures::stream::{self, Stream as Sequence, StreamExt};

/// A change of one key of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketChange {
    /// The key, e.g. `EUR.USD`.
    pub key: String,
    /// Its new value; nothing when it was deleted.
    pub value: Option<Bytes>,
    /// When the server stored the change.
    pub at: Timestamp,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketEvent {
    /// What a key has, or what becomes of it.
    Changed(BucketChange),
    /// All that the bucket held when the watch began has been told.
    Complete,
}

impl Broker {
    /// Makes the bucket if it is missing and puts in those pairs that it has never had.
    pub async fn seed_bucket(
        &self,
        name: &str,
        description: &str,
        pairs: &[(String, Vec<u8>)],
    ) -> Result<(), BrokerError> {
        self.require_connection()?;
        let bucket = self.made_bucket(name, description).await?;
        for (key, value) in pairs {
            if bucket.entry(key.as_str()).await.map_err(BrokerError::unavailable)?.is_some() {
                continue;
            }
            match bucket.create(key.as_str(), Bytes::from(value.clone())).await {
                Ok(_) => {}
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(BrokerError::unavailable(error)),
            }
        }
        Ok(())
    }

    /// The bucket's present content and its end, followed by its changes, until the watch breaks.
    pub async fn watch_bucket(
        &self,
        name: &str,
    ) -> Result<impl Sequence<Item = Result<BucketEvent, BrokerError>> + use<>, BrokerError> {
        self.require_connection()?;
        let bucket = self.reading.get_key_value(name).await.map_err(BrokerError::unavailable)?;
        let watch = bucket.watch_with_history(">").await.map_err(BrokerError::unavailable)?;
        // No entry says that there is none.
        let is_empty = bucket.status().await.map_err(BrokerError::unavailable)?.values() == 0;
        let mut is_complete = is_empty;
        let told = watch.flat_map(move |entry| {
            let completes = !is_complete && entry.as_ref().is_ok_and(|entry| entry.seen_current);
            is_complete |= completes;
            let change = entry.map_err(BrokerError::unavailable).map(|entry| {
                let value = (entry.operation == kv::Operation::Put).then_some(entry.value);
                BucketEvent::Changed(BucketChange {
                    key: entry.key,
                    value,
                    at: Timestamp::from(entry.created),
                })
            });
            stream::iter([Some(change), completes.then_some(Ok(BucketEvent::Complete))].into_iter().flatten())
        });
        Ok(stream::iter(is_empty.then_some(Ok(BucketEvent::Complete))).chain(told))
    }

    async fn made_bucket(&self, name: &str, description: &str) -> Result<kv::Store, BrokerError> {
        let config = kv::Config {
            bucket: name.to_owned(),
            description: description.to_owned(),
            history: 1,
            ..Default::default()
        };
        match self.reading.get_key_value(name).await {
            Ok(bucket) => Ok(bucket),
            Err(_) => self.reading.create_key_value(config).await.map_err(BrokerError::unavailable),
        }
    }
}
