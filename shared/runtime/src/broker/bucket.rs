//! The key-value bucket of exchange rates, watched live.

use super::{Broker, BrokerError};
use async_nats::jetstream::kv;
use bytes::Bytes;
use domain::Timestamp;
use futures::{Stream as Sequence, StreamExt};
use wire::rates::BUCKET;

/// A change of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateChange {
    /// The key, e.g. `EUR.USD`.
    pub key: String,
    /// Its new value; nothing when it was deleted.
    pub value: Option<Bytes>,
    /// When.
    pub at: Timestamp,
}

impl Broker {
    /// Makes the bucket if it is missing and puts in those pairs that it has never had.
    pub async fn seed_rates(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), BrokerError> {
        self.require_connection()?;
        let store = self.rate_bucket().await?;
        for (key, value) in pairs {
            if store.entry(key.as_str()).await.map_err(BrokerError::unavailable)?.is_some() {
                continue;
            }
            match store.create(key.as_str(), Bytes::from(value.clone())).await {
                Ok(_) => {}
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(BrokerError::unavailable(error)),
            }
        }
        Ok(())
    }

    /// The bucket's present content followed by its changes, until the watch breaks.
    pub async fn watch_rates(&self) -> Result<impl Sequence<Item = Result<RateChange, BrokerError>> + use<>, BrokerError> {
        self.require_connection()?;
        let watch = self.rate_bucket().await?.watch_with_history(">").await.map_err(BrokerError::unavailable)?;
        Ok(watch.map(|entry| {
            let entry = entry.map_err(BrokerError::unavailable)?;
            let value = (entry.operation == kv::Operation::Put).then_some(entry.value);
            Ok(RateChange { key: entry.key, value, at: Timestamp::from(entry.created) })
        }))
    }

    async fn rate_bucket(&self) -> Result<kv::Store, BrokerError> {
        let config = kv::Config {
            bucket: BUCKET.to_owned(),
            description: "exchange rates, e.g. EUR.USD = 1.0823".to_owned(),
            history: 1,
            ..Default::default()
        };
        match self.reading.get_key_value(BUCKET).await {
            Ok(store) => Ok(store),
            Err(_) => self.reading.create_key_value(config).await.map_err(BrokerError::unavailable),
        }
    }
}
