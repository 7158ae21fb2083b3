//! Many requests in one: sent again, without those that have their answer, until each has.

use super::answer::{Judgement, judge};
use super::connection::{Broken, Connection};
use super::insist::{BrokenPause, Ending};
use bytes::Bytes;
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One of the requests that are sent together.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The body that it would be sent with alone.
    pub(crate) body: Bytes,
    /// Whether an attempt may have been carried out whose answer did not come.
    unclear: bool,
}

impl Item {
    /// A request that was not sent yet.
    pub(crate) fn new(body: Bytes) -> Item {
        Item { body, unclear: false }
    }

    fn ended(&self, judgement: Judgement) -> Option<Ending> {
        match judgement {
            Judgement::Done { replayed } => Some(Ending::Done { replayed, unclear: self.unclear }),
            Judgement::Refused { code } => Some(Ending::Refused { code }),
            Judgement::TryAgain { .. } => None,
        }
    }
}

/// Posts the items together again and again, each until its answer is final or the next attempt would come
/// after `deadline`, which may move. How each ends is told with its place and the number of its attempts after
/// the first.
pub(crate) async fn insist_on_all(
    connection: &mut Connection,
    path: &Uri,
    items: Vec<Item>,
    deadline: impl Fn() -> Instant,
    mut ended: impl FnMut(usize, Ending, u64),
) {
    let mut open: Vec<(usize, Item)> = items.into_iter().enumerate().collect();
    let (mut retries, mut broken_pause) = (0, BrokenPause::default());
    loop {
        let (judgements, pause) = attempt(connection, path, &open, &mut broken_pause).await;
        let mut judgements = judgements.into_iter();
        open.retain_mut(|(place, item)| {
            let Some(judgement) = judgements.next() else { return true };
            if let Judgement::TryAgain { unclear: true, .. } = judgement {
                item.unclear = true;
            }
            let ending = item.ended(judgement);
            ending.map(|ending| ended(*place, ending, retries)).is_none()
        });
        if open.is_empty() {
            return;
        }
        if Instant::now() + pause >= deadline() {
            return open.iter().for_each(|(place, item)| {
                ended(*place, Ending::GaveUp { unclear: item.unclear }, retries);
            });
        }
        sleep(pause).await;
        retries += 1;
    }
}

/// One request with all of them: what to do about each, and how long to pause if something is left.
async fn attempt(
    connection: &mut Connection,
    path: &Uri,
    open: &[(usize, Item)],
    broken_pause: &mut BrokenPause,
) -> (Vec<Judgement>, Duration) {
    let answer = match connection.post(path, body(open)).await {
        Ok(answer) => answer,
        Err(broken) => return (all(open, again(&broken)), broken_pause.next()),
    };
    broken_pause.end();
    let pause = answer.pause();
    if answer.status != StatusCode::OK {
        return (all(open, answer.judge()), pause);
    }
    match results(&answer.body).filter(|results| results.len() == open.len()) {
        Some(results) => (results.iter().map(|result| result.judge(pause)).collect(), pause),
        // Whatever this is, it does not say what became of them.
        None => (all(open, Judgement::TryAgain { pause, unclear: true }), pause),
    }
}

fn all(open: &[(usize, Item)], judgement: Judgement) -> Vec<Judgement> {
    vec![judgement; open.len()]
}

fn again(broken: &Broken) -> Judgement {
    Judgement::TryAgain { pause: Duration::ZERO, unclear: broken.is_unclear() }
}

fn body(open: &[(usize, Item)]) -> Bytes {
    const HEAD: &[u8] = b"{\"payments\":[";
    let size = HEAD.len() + 2 + open.iter().map(|(_, item)| item.body.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(size);
    body.extend_from_slice(HEAD);
    for (place, (_, item)) in open.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.body);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// What is said of one of many requests.
#[derive(Deserialize)]
struct ItemResult<'b> {
    /// A problem's is an HTTP status; that of a payment is a word.
    #[serde(borrow)]
    status: &'b RawValue,
    #[serde(borrow, default)]
    code: Option<Cow<'b, str>>,
    #[serde(default)]
    idempotency_replayed: bool,
}

fn results(body: &[u8]) -> Option<Vec<ItemResult<'_>>> {
    #[derive(Deserialize)]
    struct Results<'b> {
        #[serde(borrow)]
        results: Vec<ItemResult<'b>>,
    }
    serde_json::from_slice::<Results<'_>>(body).ok().map(|body| body.results)
}

impl ItemResult<'_> {
    fn judge(&self, pause: Duration) -> Judgement {
        let status = self.status.get().parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
        let status = status.unwrap_or(StatusCode::ACCEPTED);
        judge(status, self.idempotency_replayed, pause, || self.code.as_deref().map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gateway, Script};
    use super::*;

    const TAKEN: &str = r#"{"id":"P","status":"PENDING"}"#;
    const REPLAYED: &str = r#"{"id":"P","status":"CAPTURED","idempotency_replayed":true}"#;
    const REFUSED: &str = r#"{"status":422,"code":"same_account"}"#;
    const OVERLOADED: &str = r#"{"status":503,"code":"overloaded"}"#;
    const UNKNOWN: &str = r#"{"status":503,"code":"acceptance_unknown"}"#;

    fn answer(results: &[&str]) -> Script {
        let body = format!("{{\"results\":[{}]}}", results.join(","));
        Script::Answer(200, "Retry-After: 0\r\n", body.leak())
    }

    fn done(replayed: bool, unclear: bool) -> Ending {
        Ending::Done { replayed, unclear }
    }

    fn refused(code: &str) -> Ending {
        Ending::Refused { code: code.to_owned() }
    }

    /// What the requests had in them, and how each of three items ended, with how many repetitions.
    async fn outcome(script: Vec<Script>) -> (Vec<usize>, Vec<(Ending, u64)>) {
        let gateway = Gateway::start(script).await;
        let mut connection = Connection::new(&gateway.targets, 0);
        let items = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"];
        let items: Vec<Item> = items.map(|body| Item::new(Bytes::from_static(body.as_bytes()))).into();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut endings = vec![None; items.len()];
        let path = Uri::from_static("/payments/batch");
        insist_on_all(
            &mut connection,
            &path,
            items,
            || deadline,
            |place, ending, retries| {
                assert_eq!(endings[place].replace((ending, retries)), None, "{place} ends once");
            },
        )
        .await;
        let sizes = gateway.requests().iter().map(|request| request.matches("\"id\"").count()).collect();
        (sizes, endings.into_iter().map(Option::unwrap).collect())
    }

    #[tokio::test]
    async fn each_item_is_sent_until_it_is_answered() {
        let problem = |status, code: &str| {
            Script::Answer(status, "Retry-After: 0\r\n", format!("{{\"code\":\"{code}\"}}").leak())
        };
        let late = Script::Answer(503, "Retry-After: 60\r\n", r#"{"code":"overloaded"}"#);
        let rows = [
            (
                vec![answer(&[TAKEN, REPLAYED, REFUSED])],
                vec![3],
                vec![(done(false, false), 0), (done(true, false), 0), (refused("same_account"), 0)],
            ),
            (
                vec![answer(&[OVERLOADED, TAKEN, UNKNOWN]), answer(&[TAKEN, REPLAYED])],
                vec![3, 2],
                vec![(done(false, false), 1), (done(false, false), 0), (done(true, true), 1)],
            ),
            (
                vec![Script::Cut, answer(&[TAKEN, OVERLOADED, TAKEN]), answer(&[REPLAYED])],
                vec![3, 3, 1],
                vec![(done(false, true), 1), (done(true, true), 2), (done(false, true), 1)],
            ),
            (
                vec![problem(503, "overloaded"), answer(&[TAKEN, TAKEN, TAKEN])],
                vec![3, 3],
                vec![(done(false, false), 1), (done(false, false), 1), (done(false, false), 1)],
            ),
            (
                vec![problem(413, "body_too_large")],
                vec![3],
                vec![
                    (refused("body_too_large"), 0),
                    (refused("body_too_large"), 0),
                    (refused("body_too_large"), 0),
                ],
            ),
            (
                vec![answer(&[TAKEN, OVERLOADED]), answer(&[REPLAYED, REPLAYED, REPLAYED])],
                vec![3, 3],
                vec![(done(true, true), 1), (done(true, true), 1), (done(true, true), 1)],
            ),
            (
                vec![answer(&[TAKEN, UNKNOWN, OVERLOADED]), late],
                vec![3, 2],
                vec![
                    (done(false, false), 0),
                    (Ending::GaveUp { unclear: true }, 1),
                    (Ending::GaveUp { unclear: false }, 1),
                ],
            ),
        ];
        for (script, sizes, expected) in rows {
            let case = format!("{script:?}");
            assert_eq!(outcome(script).await, (sizes, expected), "{case}");
        }
    }
}
