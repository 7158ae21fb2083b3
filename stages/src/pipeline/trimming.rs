//! A stage's input stream beside its stage: what has long been acknowledged is trimmed away.

use runtime::broker::Streams;
use runtime::config::PipelineConfig;
use runtime::drain::Drain;
use std::time::Duration;
use wire::Stream;

/// Follows one derived stream until the drain begins.
pub(crate) async fn follow<S: Streams>(
    streams: &S,
    stream: Stream,
    pipeline: &PipelineConfig,
    drain: &Drain,
) {
    let every = Duration::from_millis(pipeline.trim_every_ms);
    while drain.sleep(every).await {
        if let Err(error) = streams.trim(stream, pipeline).await {
            tracing::debug!(%stream, %error, "trimming waits for the broker");
        }
    }
}
