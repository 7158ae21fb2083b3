//! The seam between the harness and a broker. Two implementations: JetStream, and memory for tests.

use crate::broker::{BrokerError, Outgoing};
use bytes::Bytes;
use domain::Timestamp;
use std::future::Future;
use std::time::Duration;
use wire::Stream;
use wire::header::Headers;

/// A message as it was delivered to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<R> {
    /// The subject that it was stored under.
    pub subject: String,
    /// The message, encoded.
    pub payload: Bytes,
    /// Its sequence in the stream.
    pub seq: u64,
    /// When the stream stored it.
    pub stored_at: Timestamp,
    /// What travels beside it.
    pub headers: Headers,
    /// How many times it has been delivered, this one included.
    pub attempt: u64,
    /// What acknowledges it.
    pub receipt: R,
}

/// A batch that is not known to be stored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublished {
    /// Why not.
    pub error: BrokerError,
    /// The places of those of its messages that are stored, in order.
    pub stored: Vec<usize>,
}

impl From<BrokerError> for Unpublished {
    /// Nothing of it is known to be stored.
    fn from(error: BrokerError) -> Unpublished {
        Unpublished { error, stored: Vec::new() }
    }
}

/// A stage's input stream and its way out.
pub trait Transport: Send + Sync + 'static {
    /// What acknowledges a delivery.
    type Receipt: Clone + Send + Sync + 'static;

    /// The input stream.
    fn stream(&self) -> Stream;

    /// Waits for a delivery and takes what else is ready, up to `max`. An error means that nothing more will
    /// come until [`Transport::reopen`] succeeds.
    fn take(
        &mut self,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Delivery<Self::Receipt>>, BrokerError>> + Send;

    /// Lets go of deliveries that were fetched ahead, so that they do not count up while nothing is
    /// processed.
    fn close(&mut self);

    /// A delivery that nothing is heard of for so long comes again.
    fn ack_wait(&self) -> Duration;

    /// Declares what is missing and starts to take deliveries again.
    fn reopen(&mut self) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Declares streams that a publish found missing.
    fn declare(&self) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Stores the messages of a batch in one stream, or says which of them it has stored and why not all.
    fn publish(&self, batch: &[Outgoing]) -> impl Future<Output = Result<(), Unpublished>> + Send;

    /// Removes from a derived stream what its stage has acknowledged, as far as it fills the stream.
    fn make_room(&self, stream: Stream) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Has each delivery come again after its time.
    fn postpone(
        &self,
        receipts: &[(Self::Receipt, Duration)],
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Acknowledges deliveries for good.
    fn acknowledge(&self, receipts: &[Self::Receipt])
    -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Says that deliveries are still being worked on, and with them those that were fetched ahead.
    fn keep(&self, receipts: &[Self::Receipt]) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// The end: has these deliveries, and those that were fetched ahead, come again at once, to whoever else is
    /// there.
    fn give_back(
        &mut self,
        receipts: &[Self::Receipt],
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;
}
