//! Following streams: what happens in several of them, some of it each time, at a cost that traffic does not
//! raise.
//!
//! Each stream has an ordered consumer: it ends with its reader, acknowledges nothing, begins at what is new, and
//! a gap in its sequence ends it. It is not the library's own, which pulls ahead of its reader, and replays what
//! it missed when it is made again: here the server sends what was asked for and nothing more, and a reader that
//! is behind lets go, rests and begins at what is new then. What it did not take is sampled away.

use super::{Broker, BrokerError, Stored, headers};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use domain::Timestamp;
use futures::stream;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use wire::Stream;

/// How the names of its consumers begin, for whoever lists them.
const NAME: &str = "follower-";

/// The server removes a consumer that nobody has asked for so long; ours are asked several times a second, or
/// removed by whoever ends.
const INACTIVE: Duration = Duration::from_secs(5);

/// Streams that are asked at a time: a pipeline of many shards must not have hundreds of requests on their way.
const AT_A_TIME: usize = 16;

/// Takes that a stream is left out of when it was too fast. With five takes a second it is looked into about once
/// a second, which is as often as a consumer is made for it.
const REST: u32 = 4;

/// A stream that cannot be followed is left out of one take, then of two, and so on up to so many.
const REST_AFTER_FAILURE_MAX: u32 = 16;

/// Follows some streams; one reader. End it with [`Follower::close`], or the server does after a while.
#[derive(Debug)]
pub struct Follower {
    broker: Broker,
    sources: Vec<Source>,
    /// Messages that are taken of a stream at a time.
    taken_max: usize,
}

/// One stream, and how it is read.
#[derive(Debug)]
struct Source {
    stream: Stream,
    /// The message itself is not asked for: subject and headers say enough.
    headers_only: bool,
    consumer: Option<Consumer<pull::Config>>,
    /// Messages that the consumer has delivered.
    delivered: u64,
    /// Takes that it is still left out of.
    rests: u32,
    failures: u32,
}

/// What a consumer had.
struct Taken {
    messages: Vec<Stored>,
    /// The consumer's sequence of the last.
    delivered: u64,
    /// Messages that are left for the next time.
    pending: u64,
}

impl Follower {
    /// Follows these streams, each with whether its headers are enough, from the first take on.
    pub fn new(broker: Broker, streams: Vec<(Stream, bool)>, taken_max: usize) -> Follower {
        let source = |(stream, headers_only)| Source {
            stream,
            headers_only,
            consumer: None,
            delivered: 0,
            rests: 0,
            failures: 0,
        };
        Follower { broker, sources: streams.into_iter().map(source).collect(), taken_max }
    }

    /// What is new in each stream, of each in its order. Streams that cannot be read have nothing; they are tried
    /// again by themselves.
    pub async fn take(&mut self) -> Vec<(Stream, Stored)> {
        let (broker, max) = (&self.broker, self.taken_max);
        // In a list, as the compiler does not find futures made on the way to be `Send`.
        let taken: Vec<_> = self.sources.iter_mut().map(|source| source.take(broker, max).boxed()).collect();
        let taken: Vec<Vec<(Stream, Stored)>> =
            stream::iter(taken).buffer_unordered(AT_A_TIME).collect().await;
        taken.into_iter().flatten().collect()
    }

    /// Whether every stream is followed but for those that rest because they are too fast.
    pub fn is_complete(&self) -> bool {
        self.sources
            .iter()
            .all(|source| source.failures == 0 && (source.consumer.is_some() || source.rests > 0))
    }

    /// Removes its consumers.
    pub async fn close(self) {
        let Follower { broker, sources, .. } = self;
        let mut closing = Vec::new();
        for Source { stream, consumer, .. } in sources {
            closing.extend(consumer.map(|consumer| broker.leave(stream, consumer).boxed()));
        }
        stream::iter(closing).buffer_unordered(AT_A_TIME).collect::<()>().await;
    }
}

impl Source {
    async fn take(&mut self, broker: &Broker, max: usize) -> Vec<(Stream, Stored)> {
        if self.rests > 0 {
            self.rests -= 1;
            return Vec::new();
        }
        match self.try_take(broker, max).await {
            Ok(messages) => {
                self.failures = 0;
                messages.into_iter().map(|message| (self.stream, message)).collect()
            }
            Err(error) => {
                tracing::debug!(stream = %self.stream, %error, "a stream cannot be followed");
                self.failures = self.failures.saturating_add(1);
                self.rests =
                    1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX).min(REST_AFTER_FAILURE_MAX);
                if let Some(consumer) = self.consumer.take() {
                    broker.leave(self.stream, consumer).await;
                }
                Vec::new()
            }
        }
    }

    async fn try_take(&mut self, broker: &Broker, max: usize) -> Result<Vec<Stored>, BrokerError> {
        let Some(consumer) = &self.consumer else {
            let consumer = broker.reader(self.stream, DeliverPolicy::New, self.headers_only).await?;
            (self.consumer, self.delivered) = (Some(consumer), 0);
            return Ok(Vec::new());
        };
        let taken = broker.fetch(consumer, max, self.delivered).await?;
        self.delivered = taken.delivered;
        if taken.pending > max as u64
            && let Some(consumer) = self.consumer.take()
        {
            self.rests = REST;
            broker.leave(self.stream, consumer).await;
        }
        Ok(taken.messages)
    }
}

impl Broker {
    /// The newest messages that a stream keeps, the oldest first. A missing derived stream keeps none.
    pub async fn newest(&self, stream: Stream, max: usize) -> Result<Vec<Stored>, BrokerError> {
        let Some(bounds) = self.bounds(stream).await? else {
            return if stream.is_derived() { Ok(Vec::new()) } else { Err(BrokerError::Missing) };
        };
        if bounds.messages == 0 || max == 0 {
            return Ok(Vec::new());
        }
        let start = bounds.last.saturating_sub(max as u64 - 1).max(bounds.first).max(1);
        let policy = DeliverPolicy::ByStartSequence { start_sequence: start };
        let consumer = self.reader(stream, policy, false).await?;
        let taken = self.fetch(&consumer, max, 0).await;
        self.leave(stream, consumer).await;
        Ok(taken?.messages)
    }

    /// An ordered consumer of a stream.
    async fn reader(
        &self,
        stream: Stream,
        deliver_policy: DeliverPolicy,
        headers_only: bool,
    ) -> Result<Consumer<pull::Config>, BrokerError> {
        self.require_connection()?;
        let config = pull::Config {
            name: Some(format!("{NAME}{}", crate::ids::fresh())),
            deliver_policy,
            headers_only,
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..Default::default()
        };
        self.reading.create_consumer_on_stream(config, stream.name()).await.map_err(BrokerError::unavailable)
    }

    /// What the consumer has, up to `max`; `delivered` is its own sequence of the last message before.
    async fn fetch(
        &self,
        consumer: &Consumer<pull::Config>,
        max: usize,
        delivered: u64,
    ) -> Result<Taken, BrokerError> {
        self.require_connection()?;
        let fetching = async {
            let request = consumer.fetch().max_messages(max);
            let mut batch = request.messages().await.map_err(BrokerError::unavailable)?;
            let mut taken = Taken { messages: Vec::new(), delivered, pending: 0 };
            while let Some(message) = batch.next().await {
                let message = message.map_err(BrokerError::unavailable)?;
                let info = message.info().map_err(BrokerError::unavailable)?;
                if info.consumer_sequence != taken.delivered + 1 {
                    return Err(BrokerError::Unavailable("a gap in what a consumer delivers".to_owned()));
                }
                (taken.delivered, taken.pending) = (info.consumer_sequence, info.pending);
                taken.messages.push(Stored {
                    seq: info.stream_sequence,
                    stored_at: Timestamp::from(info.published),
                    headers: headers::read(message.headers.as_ref()),
                    subject: message.subject.to_string(),
                    payload: message.payload.clone(),
                });
            }
            Ok(taken)
        };
        tokio::time::timeout(self.timeout, fetching).await.map_err(BrokerError::unavailable)?
    }

    /// Removes a consumer. Where that fails the server does it, after a while.
    async fn leave(&self, stream: Stream, consumer: Consumer<pull::Config>) {
        if self.require_connection().is_err() {
            return;
        }
        let name = consumer.cached_info().name.clone();
        if let Err(error) = self.reading.delete_consumer_from_stream(name, stream.name()).await {
            tracing::debug!(%stream, %error, "a consumer was not removed");
        }
    }
}
