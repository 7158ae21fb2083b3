//! A request that is repeated under its id until its answer is final.

use super::{Connection, Judgement};
use bytes::Bytes;
use hyper::Uri;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause after a broken connection; it doubles with each in a row.
const BROKEN_PAUSE_MIN: Duration = Duration::from_millis(25);
const BROKEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The pauses after broken connections.
#[derive(Debug)]
pub(super) struct BrokenPause(Duration);

impl Default for BrokenPause {
    fn default() -> BrokenPause {
        BrokenPause(BROKEN_PAUSE_MIN)
    }
}

impl BrokenPause {
    /// The pause after one more.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(BROKEN_PAUSE_MAX);
        pause
    }

    /// One was answered.
    pub(super) fn end(&mut self) {
        *self = BrokenPause::default();
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is done.
    Done {
        /// By an earlier request of the same id.
        replayed: bool,
        /// Whether that earlier request may have been one of this very call.
        unclear: bool,
    },
    /// It will not be done.
    Refused {
        /// The problem's stable code.
        code: String,
    },
    /// Time was up before there was a final answer.
    GaveUp {
        /// Whether it may have been done all the same.
        unclear: bool,
    },
}

/// Posts `body` again and again until the answer is final or the next attempt would come after `deadline`,
/// which may move. A pause that the gateway asks for holds the connection back: that is how it slows its
/// clients down. Counts the attempts after the first in `retries`.
pub(crate) async fn insist(
    connection: &mut Connection,
    path: &Uri,
    body: &Bytes,
    deadline: impl Fn() -> Instant,
    retries: &mut u64,
) -> Ending {
    let mut unclear = false;
    let mut broken_pause = BrokenPause::default();
    loop {
        let pause = match connection.post(path, body.clone()).await {
            Ok(answer) => match answer.judge() {
                Judgement::Done { replayed } => return Ending::Done { replayed, unclear },
                Judgement::Refused { code } => return Ending::Refused { code },
                Judgement::TryAgain { pause, unclear: this_one } => {
                    unclear |= this_one;
                    broken_pause.end();
                    pause
                }
            },
            Err(broken) => {
                unclear |= broken.is_unclear();
                broken_pause.next()
            }
        };
        if Instant::now() + pause >= deadline() {
            return Ending::GaveUp { unclear };
        }
        sleep(pause).await;
        *retries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gateway, Script};
    use super::*;

    #[tokio::test]
    async fn requests_end_with_what_is_known_of_them() {
        use Script::{Answer, Cut};
        let overloaded = || Answer(503, "Retry-After: 0\r\n", r#"{"code":"overloaded"}"#);
        let unknown = || Answer(503, "Retry-After: 0\r\n", r#"{"code":"acceptance_unknown"}"#);
        let taken = || Answer(202, "", "{}");
        let replayed = || Answer(202, "Idempotency-Replayed: true\r\n", "{}");
        let done = |replayed, unclear| Ending::Done { replayed, unclear };
        let rows = [
            (vec![taken()], done(false, false), 0),
            (vec![overloaded(), overloaded(), taken()], done(false, false), 2),
            (vec![Cut, taken()], done(false, true), 1),
            (vec![Cut, replayed()], done(true, true), 1),
            (vec![unknown(), replayed()], done(true, true), 1),
            (vec![replayed()], done(true, false), 0),
            (
                vec![overloaded(), Answer(422, "", r#"{"code":"same_account"}"#)],
                Ending::Refused { code: "same_account".into() },
                1,
            ),
            (
                vec![overloaded(), Answer(503, "Retry-After: 60\r\n", r#"{"code":"overloaded"}"#)],
                Ending::GaveUp { unclear: false },
                1,
            ),
            (
                vec![Cut, Answer(503, "Retry-After: 60\r\n", r#"{"code":"overloaded"}"#)],
                Ending::GaveUp { unclear: true },
                1,
            ),
        ];
        for (script, expected, expected_retries) in rows {
            let case = format!("{script:?}");
            let gateway = Gateway::start(script).await;
            let mut connection = Connection::new(&gateway.targets, 0);
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut retries = 0;
            let ending = insist(
                &mut connection,
                &Uri::from_static("/payments"),
                &Bytes::from_static(b"{}"),
                || deadline,
                &mut retries,
            )
            .await;
            assert_eq!((ending, retries), (expected, expected_retries), "{case}");
        }
    }

    #[tokio::test]
    async fn a_dead_target_is_left_for_the_next() {
        let gateway = Gateway::start(vec![Script::Answer(202, "", "{}")]).await;
        let dead = "http://127.0.0.1:1".parse().unwrap();
        let targets = vec![dead, gateway.targets.get(0).clone()].into();
        let mut connection = Connection::new(&targets, 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        let ending = insist(
            &mut connection,
            &Uri::from_static("/payments"),
            &Bytes::from_static(b"{}"),
            || deadline,
            &mut 0,
        )
        .await;
        assert_eq!(ending, Ending::Done { replayed: false, unclear: false });
        assert!(
            Connection::new(&vec!["http://127.0.0.1:1".parse().unwrap()].into(), 0).open().await.is_err()
        );
    }
}
