//! What every main does: logs, signals, parts that run until the drain, an exit code that says how it went.

use crate::config::{EXIT_CONFIG, LogConfig, ProcessConfig};
use crate::drain::Drain;
use crate::telemetry;
use std::any::Any;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;
use tokio::task::JoinSet;

/// Runs the main of a process on threads of its own. So few that they do not take the cores from the servers
/// which they wait for: on two cores one thread settles a sixth more payments a second than two, since a thread
/// that has nothing to do looks for work before it sleeps, and is woken for each.
pub fn main(process: &ProcessConfig, work: impl Future<Output = ExitCode>) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match process.worker_threads {
        0 => (cores / 2).max(1),
        threads => usize::from(threads),
    };
    match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            crate::config::complain(&error);
            ExitCode::FAILURE
        }
    }
}

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
        Ok(drain) => carried_out(work(drain.clone()).await, &drain),
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

/// The end of the work, as the exit code tells it: work that ended in good order because a part of it panicked
/// is a failure all the same.
fn carried_out<E: std::error::Error>(ended: Result<(), E>, drain: &Drain) -> Result<(), String> {
    ended.map_err(|error| chain(&error))?;
    drain.failure().map_or(Ok(()), |reason| Err(reason.to_owned()))
}

/// Parts that do not end after one of them has panicked are waited for so long: nobody has sent a signal, and
/// nobody will send a second one.
const AFTER_A_PANIC: Duration = Duration::from_secs(30);

/// Waits until every part of a process has ended. One that panics ends the others too, within a while.
pub async fn all_ended(mut parts: JoinSet<()>, drain: &Drain) {
    let deadline = async {
        drain.failed().await;
        tokio::time::sleep(AFTER_A_PANIC).await;
    };
    let mut deadline = std::pin::pin!(deadline);
    loop {
        let ended = tokio::select! {
            biased;
            ended = parts.join_next() => ended,
            () = &mut deadline => {
                tracing::error!(parts = parts.len(), "parts that do not end are cut off");
                return;
            }
        };
        match ended {
            None => return,
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                tracing::error!(%failure, "a part panicked: the process ends, to be started again whole");
                drain.fail(format!("a part of the process panicked: {failure}"));
            }
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
    use futures::FutureExt;
    use futures::future::BoxFuture;

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

    /// The parts of a process, and whether it ends as a success.
    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_ends_the_process_as_a_failure() {
        let until_drained: fn(Drain) -> BoxFuture<'static, ()> =
            |drain| async move { drain.begun().await }.boxed();
        let panics: fn(Drain) -> BoxFuture<'static, ()> = |_| async { panic!("a test") }.boxed();
        let never_ends: fn(Drain) -> BoxFuture<'static, ()> = |_| std::future::pending().boxed();
        let signal: fn(Drain) -> BoxFuture<'static, ()> = |drain| async move { drain.begin() }.boxed();
        let panics_while_draining: fn(Drain) -> BoxFuture<'static, ()> = |drain| {
            async move {
                drain.begun().await;
                panic!("a test")
            }
            .boxed()
        };
        let rows = [
            ("a signal", vec![until_drained, signal], true),
            ("a panic", vec![until_drained, panics], false),
            ("a panic beside a part that hangs", vec![never_ends, panics], false),
            ("a panic after a signal", vec![signal, panics_while_draining, until_drained], false),
            ("a panic after a signal, and a hang", vec![signal, panics_while_draining, never_ends], false),
        ];
        for (about, parts, is_success) in rows {
            let (drain, mut tasks) = (Drain::default(), JoinSet::new());
            for part in parts {
                tasks.spawn(part(drain.clone()));
            }
            all_ended(tasks, &drain).await;
            assert!(drain.has_begun(), "{about}");
            let outcome = carried_out(Ok::<(), Nested>(()), &drain);
            assert_eq!(outcome.is_ok(), is_success, "{about}: {outcome:?}");
        }
        let outcome = carried_out(Err(Nested::Last), &Drain::default());
        assert_eq!(outcome, Err("refused".to_owned()), "work that fails is a failure without any panic");
    }
}
