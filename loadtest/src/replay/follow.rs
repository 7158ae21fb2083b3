//! Hears of ends as they are published. What is heard is when, never whether: the ledger has the last word.

use super::board::Board;
use crate::error::LoadtestError;
use config::NatsConfig;
use runtime::broker::{Broker, BrokerError, Subscription};
use std::sync::Arc;
use std::time::Duration;
use wire::message::PaymentFinished;
use wire::{Hop, Subject, envelope};

/// A broker that is there has answered by now.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes to every payment's end. The broker's connection lives as long as the handle.
pub(crate) async fn subscribe(config: &NatsConfig) -> Result<(Broker, Subscription), LoadtestError> {
    let connecting = async {
        let broker = Broker::connect(config, "loadtest", None).await?;
        broker.connected().await;
        let subscription = broker.subscribe(Subject::everywhere(Hop::Finished).as_str()).await?;
        Ok((broker, subscription))
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let connected = connected.unwrap_or_else(|elapsed| Err(BrokerError::Unavailable(elapsed.to_string())));
    connected.map_err(|source| LoadtestError::NoBroker { url: config.url.clone(), source: Box::new(source) })
}

/// Notes each end on the board until the subscription ends.
pub(crate) async fn follow(mut subscription: Subscription, board: Arc<Board>) {
    while let Some(payload) = subscription.next().await {
        if let Ok(finished) = envelope::decode::<PaymentFinished>(&payload) {
            board.heard(&finished);
        }
    }
}
