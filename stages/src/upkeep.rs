//! Upkeep of a stage's input stream: its lag on the metrics, and what has long been acknowledged trimmed away.

use runtime::broker::{Broker, BrokerError};
use runtime::config::PipelineConfig;
use runtime::drain::Drain;
use runtime::telemetry::StageMetrics;
use std::time::Duration;
use wire::Stream;

/// Follows one stream until the drain begins.
pub(crate) async fn follow(broker: Broker, stream: Stream, pipeline: PipelineConfig, metrics: StageMetrics, drain: Drain) {
    let every = Duration::from_millis(pipeline.trim_every_ms);
    let mut trimmed_to = 0;
    while !drain.has_begun() {
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = turn(&broker, stream, pipeline.keep_messages, &metrics, &mut trimmed_to).await {
            tracing::debug!(%stream, %error, "upkeep waits for the broker");
        }
    }
}

async fn turn(broker: &Broker, stream: Stream, keep: u64, metrics: &StageMetrics, trimmed_to: &mut u64) -> Result<(), BrokerError> {
    let Some(progress) = broker.progress(stream).await? else {
        return Ok(());
    };
    metrics.lag(progress.pending + progress.in_hand);
    // The intake is the janitor's to purge.
    if !stream.is_derived() {
        return Ok(());
    }
    let below = (progress.floor + 1).saturating_sub(keep);
    // A stream that was declared again may count from an earlier time, if the clock stepped back.
    *trimmed_to = (*trimmed_to).min(below);
    // A purge per handful of messages would cost more than their memory.
    if below >= *trimmed_to + (keep / 4).max(1) {
        broker.purge_below(stream, below).await?;
        *trimmed_to = below;
    }
    Ok(())
}
