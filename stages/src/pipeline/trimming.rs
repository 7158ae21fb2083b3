//! A stage's input stream beside its stage: its lag on the metrics, and what has long been acknowledged
//! trimmed away.

use runtime::broker::Broker;
use runtime::config::PipelineConfig;
use runtime::drain::Drain;
use runtime::telemetry::StageMetrics;
use std::time::Duration;
use wire::Stream;

/// Follows one stream until the drain begins.
pub(crate) async fn follow(
    broker: Broker,
    stream: Stream,
    pipeline: PipelineConfig,
    metrics: StageMetrics,
    drain: Drain,
) {
    let every = Duration::from_millis(pipeline.trim_every_ms);
    while drain.sleep(every).await {
        let trimmed = if stream.is_derived() {
            broker.trim(stream, &pipeline).await
        } else {
            broker.progress(stream).await
        };
        match trimmed {
            Ok(Some(progress)) => metrics.lag(progress.pending + progress.in_hand),
            Ok(None) => {}
            Err(error) => tracing::debug!(%stream, %error, "trimming waits for the broker"),
        }
    }
}
