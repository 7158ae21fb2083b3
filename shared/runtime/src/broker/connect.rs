//! The two connections of a process to the broker, and whether they stand.

use super::BrokerError;
use super::ready::ready;
use crate::config::NatsConfig;
use crate::telemetry::PublishMetrics;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, connection::State};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use url::Url;
use wire::Subject;

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 4222;

/// Between two looks whether there is a connection.
const CONNECTED_EVERY: Duration = Duration::from_millis(10);

/// The connection whose reconnects are counted.
const CONSUMING: &str = "consuming";

/// Both connections to the broker; clones share them.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) publishing: jetstream::Context,
    pub(super) reading: jetstream::Context,
    pub(super) timeout: Duration,
    addresses: Arc<str>,
    reconnects: watch::Receiver<u64>,
    /// The streams whose settings this role has seen to, and those of their consumers.
    pub(super) seen_to: Arc<Mutex<HashSet<wire::Stream>>>,
    pub(super) metrics: Option<PublishMetrics>,
}

/// Messages of a core subscription. They are hints: core subscribers see the messages of a batch before its
/// commit, and nobody tells them of what they miss. Of those that wait here the client keeps a bounded number,
/// and drops further ones.
pub struct Subscription(BoxStream<'static, Bytes>);

impl Subscription {
    /// One that tells what the stream does.
    pub(super) fn of(payloads: impl Stream<Item = Bytes> + Send + 'static) -> Subscription {
        Subscription(payloads.boxed())
    }

    /// The payload of the next message; nothing once the subscription has ended.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.next().await
    }

    /// Forgets the messages that are there already; whether the subscription goes on.
    pub fn forget_present(&mut self) -> bool {
        while let Some(next) = ready(&mut self.0) {
            if next.is_none() {
                return false;
            }
        }
        true
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Subscription")
    }
}

impl Broker {
    /// Connects, now or as soon as the broker is there: an absent broker is an outage to be waited for, not
    /// an error. `name` is shown in the broker's list of connections; what is published is recorded in
    /// `metrics`, if there are any.
    pub async fn connect(
        config: &NatsConfig,
        name: &str,
        metrics: Option<PublishMetrics>,
    ) -> Result<Broker, BrokerError> {
        let (changed, reconnects) = watch::channel(0_u64);
        let timeout = Duration::from_millis(config.timeout_ms);
        let addresses: Vec<&str> = config.url.split(',').collect();
        let shown: Arc<str> =
            addresses.iter().map(|address| place(address)).collect::<Vec<_>>().join(",").into();
        let is_told = Arc::new(AtomicBool::new(false));
        let options = |part: &str| {
            let (changed, name, shown, is_told) =
                (changed.clone(), format!("{name} {part}"), shown.clone(), is_told.clone());
            let is_counted = part == CONSUMING;
            ConnectOptions::new()
                .name(&name)
                .retry_on_initial_connect()
                .request_timeout(Some(timeout))
                .ping_interval(Duration::from_secs(10))
                .event_callback(move |event| {
                    if is_counted && matches!(event, Event::Connected) {
                        changed.send_modify(|count| *count += 1);
                    }
                    tell(&name, &event, &shown, &is_told);
                    std::future::ready(())
                })
        };
        let publishing =
            options("publishing").connect(addresses.clone()).await.map_err(BrokerError::unavailable)?;
        let consuming = options(CONSUMING).connect(addresses).await.map_err(BrokerError::unavailable)?;
        let context = |client: Client| ContextBuilder::new().timeout(timeout).build(client);
        Ok(Broker {
            publishing: context(publishing),
            reading: context(consuming),
            timeout,
            addresses: shown,
            reconnects,
            seen_to: Arc::default(),
            metrics,
        })
    }

    /// Whether both connections are up.
    pub fn is_connected(&self) -> bool {
        [&self.publishing, &self.reading]
            .iter()
            .all(|context| context.client().connection_state() == State::Connected)
    }

    /// Waits until both connections are up.
    pub async fn connected(&self) {
        while !self.is_connected() {
            // The client announces one of the two alone.
            tokio::time::sleep(CONNECTED_EVERY).await;
        }
    }

    /// Counts the connections made; a change means that memory streams may have vanished.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.clone()
    }

    /// Subscribes to a subject pattern outside of any stream. The subscription outlasts the connection; what is
    /// published while there is none is missed.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscription, BrokerError> {
        self.require_connection()?;
        let client = self.reading.client();
        let subscribing = async {
            let subscriber = client.subscribe(subject.to_owned()).await.map_err(BrokerError::unavailable)?;
            client.flush().await.map_err(BrokerError::unavailable)?;
            Ok(Subscription::of(subscriber.map(|message| message.payload)))
        };
        // Where the connection is lost meanwhile, the client waits for another one.
        tokio::time::timeout(self.timeout, subscribing).await.map_err(BrokerError::unavailable)?
    }

    /// Tells those who listen now, outside of any stream; whether anyone does is not known.
    pub async fn tell(&self, subject: &Subject, payload: Bytes) -> Result<(), BrokerError> {
        self.require_connection()?;
        let client = self.reading.client();
        let telling = client.publish(subject.as_str().to_owned(), payload);
        match tokio::time::timeout(self.timeout, telling).await {
            Ok(told) => told.map_err(BrokerError::unavailable),
            Err(elapsed) => Err(BrokerError::unavailable(elapsed)),
        }
    }

    /// Fails at once when there is no connection, before anything is sent that might be delivered later.
    pub(super) fn require_connection(&self) -> Result<(), BrokerError> {
        if self.is_connected() {
            Ok(())
        } else {
            Err(BrokerError::Unavailable(format!("not connected to {}", self.addresses)))
        }
    }
}

/// Says once that a connection is gone or cannot be made, and why, and once that there is one again.
fn tell(connection: &str, event: &Event, addresses: &str, is_told: &AtomicBool) {
    match event {
        Event::Disconnected | Event::ClientError(_) if !is_told.swap(true, Ordering::Relaxed) => {
            tracing::warn!(connection, broker = addresses, %event, "the broker is away");
        }
        Event::Connected if is_told.swap(false, Ordering::Relaxed) => {
            tracing::info!(connection, broker = addresses, "the broker is back");
        }
        _ => tracing::debug!(connection, broker = addresses, %event, "broker connection"),
    }
}

/// Host and port of an address. What stands before them is a secret, and may have been taken for them where
/// it was not escaped.
fn place(address: &str) -> String {
    match Url::parse(address) {
        Ok(url) if !url.path().contains('@') && url.fragment().is_none() => {
            format!("{}:{}", url.host_str().unwrap_or(""), url.port().unwrap_or(DEFAULT_PORT))
        }
        Ok(_) | Err(_) => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let rows = [
            ("nats://127.0.0.1:14222", "127.0.0.1:14222"),
            ("tls://user:SECRET@broker", "broker:4222"),
            ("nats://SECRET@[::1]:4333", "[::1]:4333"),
            ("nats://SEC/RET@h", "***"),
            ("nats://h#SECRET", "***"),
        ];
        for (address, shown) in rows {
            assert_eq!(place(address), shown);
        }
    }
}
