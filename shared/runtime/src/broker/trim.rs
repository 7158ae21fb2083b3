//! Trimming derived streams: what a stage has acknowledged stays for people to look at, as far as there is room.

use super::{Broker, BrokerError, Progress};
use crate::config::PipelineConfig;
use wire::Stream;

impl Broker {
    /// Removes what the stream's stage has acknowledged, but for the last few; all of it when the stream holds more than half
    /// of its bytes. So a stream is never full of acknowledged messages, however large they are. Answers with the progress
    /// that it went by; nothing when stream or consumer is missing, or the stream is not derived.
    pub async fn trim(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<Option<Progress>, BrokerError> {
        // The intake is the janitor's to purge, and what was buried is somebody's to work off.
        if !stream.is_derived() {
            return Ok(None);
        }
        let Some(progress) = self.progress(stream).await? else {
            return Ok(None);
        };
        if let Some(bounds) = self.bounds(stream).await?
            && let Some(below) = trim_below(progress.floor, bounds.first, bounds.bytes, pipeline)
        {
            self.purge_below(stream, below).await?;
        }
        Ok(Some(progress))
    }
}

/// The sequence below which a stream is to be purged, if that is worth a purge. `floor` is the last acknowledged sequence,
/// `first` the first that is stored, `bytes` what all that is stored takes.
fn trim_below(floor: u64, first: u64, bytes: u64, pipeline: &PipelineConfig) -> Option<u64> {
    let (acknowledged, keep) = ((floor + 1).saturating_sub(first), pipeline.keep_messages);
    if acknowledged == 0 {
        return None;
    }
    if bytes > u64::try_from(pipeline.stream_bytes_max / 2).unwrap_or(0) {
        return Some(floor + 1);
    }
    // A purge per handful of messages would cost more than their memory.
    (acknowledged >= keep + (keep / 4).max(1)).then(|| floor + 1 - keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_messages_stay_within_their_number_and_half_of_the_bytes() {
        let pipeline = PipelineConfig { keep_messages: 100, stream_bytes_max: 1_000_000, ..PipelineConfig::default() };
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
            assert_eq!(trim_below(floor, first, bytes, &pipeline), expected, "{floor} {first} {bytes}");
        }
    }
}
