//! Reading the intake from a sequence on, how far a consumer has come, and purging.

use super::{Broker, BrokerError, Stored, headers};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use domain::Timestamp;
use futures::StreamExt;
use wire::Stream;

/// An accepted message without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedHead {
    /// The sequence of this copy in the intake.
    pub seq: u64,
    /// The subject, which names the payment.
    pub subject: String,
    /// When this copy was stored.
    pub stored_at: Timestamp,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
    /// How many times it was published again.
    pub redrives: u32,
}

/// How far a stream's consumer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every message up to this sequence is acknowledged.
    pub floor: u64,
    /// The last message that it was given; nothing when it was never given one, as a consumer that was just
    /// made.
    pub delivered: Option<u64>,
    /// Messages not yet delivered.
    pub pending: u64,
    /// Messages delivered and not yet acknowledged.
    pub in_hand: u64,
}

/// Where a reading of the intake begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With the first message stored at this instant or later.
    Instant(Timestamp),
    /// With this sequence.
    Sequence(u64),
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first sequence.
    pub first: u64,
    /// The last sequence, whether it is still stored or not.
    pub last: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// What they take, headers included.
    pub bytes: u64,
    /// So many messages at most, if there is a bound.
    pub messages_max: Option<u64>,
    /// So many bytes at most, if there is a bound.
    pub bytes_max: Option<u64>,
}

impl Broker {
    /// How far the consumer of a stream has come; nothing when the stream or the consumer is missing.
    pub async fn progress(&self, stream: Stream) -> Result<Option<Progress>, BrokerError> {
        Ok(self.consumer_info(stream).await?.map(|info| Progress::of(&info)))
    }

    /// What a stream holds; nothing when it is missing.
    pub async fn bounds(&self, stream: Stream) -> Result<Option<Bounds>, BrokerError> {
        self.require_connection()?;
        match self.reading.get_stream(stream.name()).await {
            Ok(handle) => {
                let (state, config) = (&handle.cached_info().state, &handle.cached_info().config);
                // The server says -1 where there is none.
                let bound = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0);
                Ok(Some(Bounds {
                    first: state.first_sequence,
                    last: state.last_sequence,
                    messages: state.messages,
                    bytes: state.bytes,
                    messages_max: bound(config.max_messages),
                    bytes_max: bound(config.max_bytes),
                }))
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(BrokerError::unavailable(error)),
            },
        }
    }

    /// Removes every message below `seq`.
    pub async fn purge_below(&self, stream: Stream, seq: u64) -> Result<u64, BrokerError> {
        self.require_connection()?;
        // The server takes a purge below 0 for one of everything.
        if seq == 0 {
            return Ok(0);
        }
        let handle =
            self.reading.get_stream_no_info(stream.name()).await.map_err(BrokerError::unavailable)?;
        Ok(handle.purge().sequence(seq).await.map_err(BrokerError::unavailable)?.purged)
    }

    /// The heads of the intake from `seq` on, up to `max` and to the last message stored when this was
    /// called.
    pub async fn accepted_heads(&self, seq: u64, max: usize) -> Result<Vec<AcceptedHead>, BrokerError> {
        let Some(Bounds { first, last, messages, .. }) = self.bounds(Stream::Accepted).await? else {
            return Err(BrokerError::Missing);
        };
        if messages == 0 || seq > last {
            return Ok(Vec::new());
        }
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: seq.max(first).max(1) };
        let mut heads = Vec::new();
        self.read_ordered(deliver_policy, true, last, |stored| {
            heads.push(AcceptedHead {
                seq: stored.seq,
                accepted_at: stored.accepted_at(),
                stored_at: stored.stored_at,
                subject: stored.subject,
                redrives: stored.headers.redrive.map_or(0, |redrive| redrive.times),
            });
            heads.len() < max
        })
        .await?;
        Ok(heads)
    }

    /// Shows the intake's messages in order, each once, up to the sequence `last` and to the last one stored
    /// when this was called. Keeps none of them: there may be millions.
    pub async fn accepted_since(
        &self,
        since: Since,
        last: u64,
        visit: &mut (dyn FnMut(Stored) + Send),
    ) -> Result<(), BrokerError> {
        let Some(Bounds { first, last: newest, messages, .. }) = self.bounds(Stream::Accepted).await? else {
            return Ok(());
        };
        let last = last.min(newest);
        let deliver_policy = match since {
            Since::Instant(instant) => DeliverPolicy::ByStartTime { start_time: instant.to_datetime() },
            Since::Sequence(seq) if seq > last => return Ok(()),
            Since::Sequence(seq) => DeliverPolicy::ByStartSequence { start_sequence: seq.max(1) },
        };
        if messages == 0 || last < first {
            return Ok(());
        }
        self.read_ordered(deliver_policy, false, last, |stored| {
            visit(stored);
            true
        })
        .await
    }

    /// Reads the intake in order until `visit` has had enough or the message `last` has passed.
    async fn read_ordered(
        &self,
        deliver_policy: DeliverPolicy,
        headers_only: bool,
        last: u64,
        mut visit: impl FnMut(Stored) -> bool,
    ) -> Result<(), BrokerError> {
        let config = pull::OrderedConfig { deliver_policy, headers_only, ..Default::default() };
        let consumer = self
            .reading
            .create_consumer_on_stream(config, Stream::Accepted.name())
            .await
            .map_err(BrokerError::unavailable)?;
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(BrokerError::unavailable)?;
        loop {
            let next = tokio::time::timeout(self.timeout, messages.next())
                .await
                .map_err(BrokerError::unavailable)?;
            let Some(message) = next.transpose().map_err(BrokerError::unavailable)? else {
                return Ok(());
            };
            let info = message.info().map_err(BrokerError::unavailable)?;
            let stored = Stored {
                subject: message.subject.to_string(),
                payload: message.payload.clone(),
                seq: info.stream_sequence,
                stored_at: Timestamp::from(info.published),
                headers: headers::read(message.headers.as_ref()),
            };
            let done = info.stream_sequence >= last || info.pending == 0;
            if info.stream_sequence > last || !visit(stored) || done {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
