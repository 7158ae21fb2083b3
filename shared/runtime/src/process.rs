//! What every main does: logs, signals, one thing to run, an exit code that says how it went.

use crate::config::{EXIT_CONFIG, LogConfig};
use crate::drain::Drain;
use crate::telemetry;
use std::any::Any;
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

/// The most of a panic's message that is told.
const PANIC_MESSAGE_MAX: usize = 200;

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let message = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("without a message").chars().take(PANIC_MESSAGE_MAX).collect()
}

/// An error with the causes behind it, for a log line or a dead letter. Some errors say their cause
/// themselves: it is not said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Nested {
        #[error("away")]
        Plain(#[source] Box<Nested>),
        #[error("told: {0}")]
        Telling(#[source] Box<Nested>),
        #[error("refused")]
        Last,
    }

    #[test]
    fn each_cause_is_said_once() {
        let (plain, telling) =
            (|cause| Nested::Plain(Box::new(cause)), |cause| Nested::Telling(Box::new(cause)));
        let rows = [
            (Nested::Last, "refused"),
            (plain(Nested::Last), "away: refused"),
            (telling(Nested::Last), "told: refused"),
            (plain(telling(Nested::Last)), "away: told: refused"),
            (telling(plain(Nested::Last)), "told: away: refused"),
        ];
        for (error, text) in rows {
            assert_eq!(chain(&error), text);
        }
    }
}
