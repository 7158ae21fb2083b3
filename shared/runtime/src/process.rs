//! What every main does: logs, signals, one thing to run, an exit code that says how it went.

use crate::config::{EXIT_CONFIG, LogConfig};
use crate::drain::Drain;
use crate::telemetry;
use std::future::Future;
use std::process::ExitCode;

/// Starts the logs and waits for signals, then runs `work` to its end.
pub async fn run<F, E>(log: &LogConfig, work: impl FnOnce(Drain) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    if let Err(error) = telemetry::start_logs(log) {
        crate::config::complain(&error);
        return ExitCode::from(u8::try_from(EXIT_CONFIG).unwrap_or(1));
    }
    let outcome = match Drain::on_signals() {
        Ok(drain) => work(drain).await.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// An error with the causes behind it, for a log line or a dead letter.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
