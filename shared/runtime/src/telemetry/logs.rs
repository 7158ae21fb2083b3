//! Log lines to standard output.

use super::TelemetryError;
use crate::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard output. A line that cannot be written is lost and nothing more: complaining
/// about it on standard error, whose reader may have gone too, would panic in whoever logs.
pub fn start_logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(&config.filter).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
    // A second start in one process (tests) keeps the first.
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}
