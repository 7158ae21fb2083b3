//! Log lines to standard output, and which of them are written.

use super::TelemetryError;
use crate::config::{LogConfig, LogFormat};
use std::sync::OnceLock;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// A process has one subscriber of log lines, and this is its filter.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging to standard output. A line that cannot be written is lost and nothing more: complaining
/// about it on standard error, whose reader may have gone too, would panic in whoever logs.
pub fn start_logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let (filter, handle) = reload::Layer::new(read(&config.filter)?);
    let lines = fmt::layer().with_target(false).log_internal_errors(false);
    let filtered = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Text => filtered.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => filtered.with(lines.json()).try_init(),
    };
    // A second start in one process (tests) keeps the first.
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Which lines are written, as a filter; nothing before logging has begun.
pub(crate) fn log_filter() -> Option<String> {
    FILTER.get()?.with_current(EnvFilter::to_string).ok()
}

/// Changes which lines are written, at once and until the process ends. Said by the old filter and by the new
/// one, so that no change goes unseen unless both are silent.
pub(crate) fn set_log_filter(filter: &str) -> Result<(), TelemetryError> {
    let (old, new) = (log_filter().unwrap_or_default(), filter);
    let filter = read(filter)?;
    let failed = |reason: &str| TelemetryError::Filter(reason.to_owned());
    let handle = FILTER.get().ok_or_else(|| failed("this process writes no log lines"))?;
    tracing::warn!(old, new, "the log filter is being changed");
    handle.reload(filter).map_err(|error| failed(&error.to_string()))?;
    tracing::warn!(old, new, "the log filter was changed");
    Ok(())
}

fn read(filter: &str) -> Result<EnvFilter, TelemetryError> {
    // Whoever may set the filter may not have every line matched against a pattern of his.
    EnvFilter::builder()
        .with_regex(false)
        .parse(filter)
        .map_err(|error| TelemetryError::Filter(error.to_string()))
}
