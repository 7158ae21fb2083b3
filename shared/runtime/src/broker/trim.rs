//! Trimming derived streams: what a stage has acknowledged stays for people to look at, as far as there is
//! room.

use super::{Bounds, Broker, BrokerError, Progress, Streams};
use crate::config::PipelineConfig;
use wire::Stream;

impl Broker {
    /// Removes what the stream's stage has acknowledged, but for the last few; all of it when the stream
    /// holds more than half of its bytes. So a stream is never full of acknowledged messages, however large
    /// they are. Answers with the progress that it went by; nothing when stream or consumer is missing, or
    /// the stream is not derived.
    pub async fn trim(
        &self,
        stream: Stream,
        pipeline: &PipelineConfig,
    ) -> Result<Option<Progress>, BrokerError> {
        trim(self, stream, pipeline).await
    }
}

/// [`Broker::trim`], on any streams.
pub(super) async fn trim<S: Streams>(
    streams: &S,
    stream: Stream,
    pipeline: &PipelineConfig,
) -> Result<Option<Progress>, BrokerError> {
    // The intake is the janitor's to purge, and what was buried is somebody's to work off.
    if !stream.is_derived() {
        return Ok(None);
    }
    let Some(progress) = streams.progress(stream).await? else {
        return Ok(None);
    };
    if let Some(bounds) = streams.bounds(stream).await?
        && let Some(below) = trim_below(progress.floor, &bounds, pipeline.keep_messages)
    {
        streams.purge_below(stream, below).await?;
    }
    Ok(Some(progress))
}

/// The sequence below which a stream is to be purged, if that is worth a purge. `floor` is the last
/// acknowledged sequence. It goes by the stream's own bounds, which another release may have given it.
fn trim_below(floor: u64, bounds: &Bounds, keep: u64) -> Option<u64> {
    let acknowledged = (floor + 1).saturating_sub(bounds.first);
    if acknowledged == 0 {
        return None;
    }
    if bounds.bytes_max.is_some_and(|max| bounds.bytes > max / 2) {
        return Some(floor + 1);
    }
    // A purge per handful of messages would cost more than their memory; with the handful it is half of the
    // stream at most.
    let keep = bounds.messages_max.map_or(keep, |max| keep.min(max * 2 / 5));
    (acknowledged >= (keep + keep / 4).max(1)).then(|| floor + 1 - keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_messages_stay_within_their_number_and_half_of_the_bytes() {
        let stream = |first, bytes| Bounds {
            first,
            last: 0,
            messages: 0,
            bytes,
            messages_max: Some(10_000),
            bytes_max: Some(1_000_000),
        };
        // Floor, first, bytes, and below what is purged.
        let rows = [
            (0, 1, 0, None),
            (999, 1_000, 900_000, None),
            (1_123, 1_000, 500_000, None),
            (1_124, 1_000, 500_000, Some(1_025)),
            (1_000, 1_000, 500_001, Some(1_001)),
            (5_000, 1_000, 900_000, Some(5_001)),
        ];
        for (floor, first, bytes, expected) in rows {
            assert_eq!(trim_below(floor, &stream(first, bytes), 100), expected, "{floor} {first} {bytes}");
        }
    }

    /// Whatever is configured: beside what may stay acknowledged there is room for half of what the stream
    /// holds.
    #[test]
    fn what_stays_leaves_room_in_every_stream() {
        for (messages_max, keep) in
            [(1_024, 512), (1_024, 1_000_000), (32, 4), (2, 1), (65_536, 5_000), (65_536, 0)]
        {
            let stream = Bounds {
                first: 1,
                last: 0,
                messages: 0,
                bytes: 0,
                messages_max: Some(messages_max),
                bytes_max: None,
            };
            let stays = (0..=messages_max).filter(|floor| trim_below(*floor, &stream, keep).is_none()).max();
            assert!(stays.unwrap_or(0) <= messages_max / 2, "{stays:?} of {messages_max} with {keep}");
            for floor in 1..=messages_max {
                let left = trim_below(floor, &stream, keep).map(|below| floor + 1 - below);
                assert!(
                    left.is_none_or(|left| left <= messages_max / 2),
                    "{left:?} of {messages_max} with {keep}"
                );
            }
        }
    }
}
