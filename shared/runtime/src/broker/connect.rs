//! The two connections of a process to the broker, and whether they stand.

use super::BrokerError;
use crate::config::NatsConfig;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, connection::State};
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;
use tokio::sync::watch;

/// Both connections to the broker; clones share them.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) publishing: jetstream::Context,
    pub(super) reading: jetstream::Context,
    pub(super) timeout: Duration,
    reconnects: watch::Receiver<u64>,
}

/// Messages of a core subscription. They are hints: core subscribers see the messages of a batch before its commit.
#[derive(Debug)]
pub struct Subscription(async_nats::Subscriber);

impl Subscription {
    /// The payload of the next message; nothing once the subscription has ended.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.next().await.map(|message| message.payload)
    }
}

impl Broker {
    /// Connects, now or as soon as the broker is there: an absent broker is an outage to be waited for, not an error.
    /// `name` is shown in the broker's list of connections.
    pub async fn connect(config: &NatsConfig, name: &str) -> Result<Broker, BrokerError> {
        let (changed, reconnects) = watch::channel(0_u64);
        let timeout = Duration::from_millis(config.timeout_ms);
        let addresses: Vec<&str> = config.url.split(',').collect();
        let options = |role: &str| {
            ConnectOptions::new()
                .name(format!("{name} {role}"))
                .retry_on_initial_connect()
                .request_timeout(Some(timeout))
                .ping_interval(Duration::from_secs(10))
        };
        let publishing = options("publishing").connect(addresses.clone()).await.map_err(BrokerError::unavailable)?;
        let consuming = options("consuming").event_callback(move |event| {
            if matches!(event, Event::Connected) {
                changed.send_modify(|count| *count += 1);
            }
            async move { tracing::debug!(%event, "broker connection") }
        });
        let consuming = consuming.connect(addresses).await.map_err(BrokerError::unavailable)?;
        let context = |client: Client| ContextBuilder::new().timeout(timeout).build(client);
        Ok(Broker { publishing: context(publishing), reading: context(consuming), timeout, reconnects })
    }

    /// Whether both connections are up.
    pub fn is_connected(&self) -> bool {
        [&self.publishing, &self.reading].iter().all(|context| context.client().connection_state() == State::Connected)
    }

    /// Counts the connections made; a change means that memory streams may have vanished.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.clone()
    }

    /// Subscribes to a subject pattern outside of any stream.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscription, BrokerError> {
        let subscriber = self.reading.client().subscribe(subject.to_owned()).await.map_err(BrokerError::unavailable)?;
        self.reading.client().flush().await.map_err(BrokerError::unavailable)?;
        Ok(Subscription(subscriber))
    }

    /// Fails at once when there is no connection, before anything is sent that might be delivered later.
    pub(super) fn require_connection(&self) -> Result<(), BrokerError> {
        if self.is_connected() { Ok(()) } else { Err(BrokerError::Unavailable("not connected".to_owned())) }
    }
}
