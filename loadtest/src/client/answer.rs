//! What a gateway's answer means for who sent the request.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use wire::Code;

/// The pause after an answer that asks for one without saying how long.
const PAUSE_DEFAULT: Duration = Duration::from_millis(500);

/// `Retry-After: 0` and mistakes in it must not make a busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Whether it says that the same request had been taken before.
    pub(crate) replayed: bool,
    /// How long to wait before asking again, if it says so.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// What to do about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is done.
    Done {
        /// By an earlier request of the same id.
        replayed: bool,
    },
    /// It will not be done.
    Refused {
        /// The problem's stable code.
        code: String,
    },
    /// The same request may succeed after a pause.
    TryAgain {
        /// How long to pause.
        pause: Duration,
        /// Whether this request may have been carried out all the same.
        unclear: bool,
    },
}

impl Answer {
    /// What to do about it, for a request that may be repeated under its id.
    pub(crate) fn judge(&self) -> Judgement {
        judge(self.status, self.replayed, self.pause(), || self.code())
    }

    /// How long to wait if the same is to be asked again.
    pub(crate) fn pause(&self) -> Duration {
        self.retry_after.unwrap_or(PAUSE_DEFAULT).max(PAUSE_MIN)
    }

    /// The problem's code, if the body is one.
    fn code(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Problem {
            code: String,
        }
        serde_json::from_slice::<Problem>(&self.body).ok().map(|problem| problem.code)
    }
}

/// What to do about a request that was answered so, and that may be repeated under its id.
pub(super) fn judge(
    status: StatusCode,
    replayed: bool,
    pause: Duration,
    code: impl FnOnce() -> Option<String>,
) -> Judgement {
    match status {
        status if status.is_success() => Judgement::Done { replayed },
        StatusCode::TOO_MANY_REQUESTS => Judgement::TryAgain { pause, unclear: false },
        StatusCode::SERVICE_UNAVAILABLE => {
            // One without our code is not ours: a proxy's, say, which knows nothing of what became of the
            // request.
            let unclear = code().is_none_or(|code| code == Code::AcceptanceUnknown.as_str());
            Judgement::TryAgain { pause, unclear }
        }
        StatusCode::REQUEST_TIMEOUT => Judgement::TryAgain { pause, unclear: false },
        status if status.is_server_error() => Judgement::TryAgain { pause, unclear: true },
        status => Judgement::Refused { code: code().unwrap_or_else(|| format!("http_{}", status.as_u16())) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_status_and_code() {
        let problem = |code: &str| format!(r#"{{"type":"x","code":"{code}","title":"x"}}"#);
        let again = |milliseconds, unclear| Judgement::TryAgain {
            pause: Duration::from_millis(milliseconds),
            unclear,
        };
        let refused = |code: &str| Judgement::Refused { code: code.to_owned() };
        let rows = [
            (202, false, None, "{}".to_owned(), Judgement::Done { replayed: false }),
            (202, true, Some(1), "{}".to_owned(), Judgement::Done { replayed: true }),
            (200, true, None, String::new(), Judgement::Done { replayed: true }),
            (201, false, None, String::new(), Judgement::Done { replayed: false }),
            (422, false, None, problem("same_account"), refused("same_account")),
            (400, false, None, problem("missing_field"), refused("missing_field")),
            (404, false, None, "<html>".to_owned(), refused("http_404")),
            (429, false, Some(2), problem("rate_limited"), again(2_000, false)),
            (503, false, Some(1), problem("overloaded"), again(1_000, false)),
            (503, false, Some(0), problem("unavailable"), again(10, false)),
            (503, false, None, problem("acceptance_unknown"), again(500, true)),
            (503, false, None, "<html>".to_owned(), again(500, true)),
            (500, false, None, problem("internal"), again(500, true)),
            (502, false, None, String::new(), again(500, true)),
            (408, false, None, problem("request_timeout"), again(500, false)),
        ];
        for (status, replayed, seconds, body, expected) in rows {
            let case = format!("{status} {body}");
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                replayed,
                retry_after: seconds.map(Duration::from_secs),
                body: body.into(),
            };
            assert_eq!(answer.judge(), expected, "{case}");
        }
    }
}
