//! `GET /payments/{id}/events`: what happens to a payment, as it happens, until it has ended.
//!
//! Every event has the number of its hop as its id. Whoever asks again says which was the last one, and is told
//! what comes after it: nothing twice, whatever a broker that restarts makes the reads say meanwhile.

use super::routes::Routes;
use crate::listeners::ListenerPlace;
use crate::payments::no_such_payment;
use crate::view::PaymentView;
use crate::watch::Watch;
use domain::{PaymentId, Timestamp};
use hyper::HeaderMap;
use runtime::http::{
    Answer, EventSender, Lagging, RequestContext, about, bare, event, event_stream, not_found, problem,
};
use wire::{Caller, Hop, Problem};

const LAST_EVENT_ID: &str = "last-event-id";

/// Browsers ask again where a stream has ended, and this is the answer that stops them.
const NO_MORE: u16 = 204;

/// Tells what happens to a payment.
pub(super) async fn listen(
    context: &RequestContext,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    routes: &Routes,
) -> Result<Answer, Problem> {
    let Ok(id) = PaymentId::parse(id) else {
        return Ok(not_found());
    };
    let key = caller.payment(id);
    // A crowd that there is no room for costs the ledger nothing: the place comes before the read.
    let place = routes.listeners.enter()?;
    let Some(view) = routes.payments.present(&key).await? else {
        return Ok(problem(no_such_payment()));
    };
    let mut told = Told { number: last_number(headers, &view), dead_since: None };
    if told.is_over() {
        return Ok(bare(NO_MORE));
    }
    let (mut answer, sender) = event_stream(&context.connection, &routes.drain);
    about(&mut answer, context, view.id(), None);
    let sent = told.tell(&view, &sender);
    if sent.is_ok() && !told.is_over() {
        tokio::spawn(follow(told, routes.payments.watch(&key), sender, place));
    }
    Ok(answer)
}

/// Tells until the payment has ended, or nobody listens any more.
async fn follow(mut told: Told, mut watch: Watch, sender: EventSender, _place: ListenerPlace) {
    loop {
        let seen = tokio::select! {
            biased;
            () = sender.closed() => return,
            seen = watch.next() => seen,
        };
        // Without a follower the stream ends before the payment, and the client asks again.
        let Some(view) = seen else { return };
        if told.tell(&view, &sender).is_err() || told.is_over() {
            return;
        }
    }
}

/// The number of the last event that the client was told; the first one's predecessor where it says none that
/// there can have been.
fn last_number(headers: &HeaderMap, view: &PaymentView) -> u64 {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let number = only.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let last = if view.is_final() { Hop::Finished.number() } else { Hop::Rejected.number() };
    if number <= last { number } else { 0 }
}

/// What a listener was told already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    /// The number of the last hop.
    number: u64,
    /// That the payment is dead, since when.
    dead_since: Option<Timestamp>,
}

impl Told {
    /// Whether the end was told.
    fn is_over(self) -> bool {
        self.number >= Hop::Finished.number()
    }

    /// Tells what of a view was not told yet.
    fn tell(&mut self, view: &PaymentView, sender: &EventSender) -> Result<(), Lagging> {
        let events = self.events(view);
        if events.is_empty() { Ok(()) } else { sender.send(events.into()) }
    }

    /// The events of a view that were not told yet, encoded.
    fn events(&mut self, view: &PaymentView) -> String {
        let mut text = String::new();
        for happened in view.events_after(self.number) {
            if happened.number.is_none() {
                if self.dead_since == Some(happened.at) {
                    continue;
                }
                self.dead_since = Some(happened.at);
            }
            self.number = happened.number.unwrap_or(self.number);
            let id = happened.number.map(|number| number.to_string());
            // It has nothing that JSON has not.
            text += &event(id.as_deref(), &serde_json::to_string(&happened).unwrap_or_default());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{at, facts, reserved};
    use domain::PaymentRecord;
    use domain::facts::{RecordState, Rejection};
    use domain::{Refusal, StageName};
    use hyper::header::HeaderValue;

    fn record(state: RecordState) -> PaymentView {
        PaymentView::of_record(&PaymentRecord { facts: facts(), state, trace: None })
    }

    fn views() -> [PaymentView; 4] {
        let rejection = Rejection {
            stage: StageName::Risk,
            reason: Refusal::InsufficientFunds,
            rules: Vec::new(),
            at: at(2),
        };
        [
            PaymentView::pending(&facts().payment).at(Hop::Accepted, at(1)),
            record(RecordState::Reserved(reserved())),
            record(RecordState::Captured { reserved: reserved(), finished_at: at(5) }),
            record(RecordState::Failed {
                screening: None,
                quote: None,
                reserved_at: None,
                rejection,
                finished_at: at(5),
            }),
        ]
    }

    /// Each event in short.
    fn short(text: &str) -> String {
        let events = text.split("\n\n").filter(|event| !event.is_empty()).map(|event| {
            let (id, data) = event.split_once("data: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["id"], "P");
            let words =
                ["stage", "status", "reason"].map(|name| data[name].as_str().unwrap_or("").to_owned());
            format!("{}{}", id.trim_start_matches("id: ").replace('\n', " "), words.join(" ").trim())
        });
        events.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_hop_is_told_once_and_the_end_last() {
        let [accepted, held, captured, failed] = views();
        let dead = |since| held.clone().dead(at(since));
        let first = "1 accepted PENDING";
        let further = "2 screened PENDING, 3 quoted PENDING, 4 reserved PENDING";
        // What was told before, and what each view adds.
        let rows: [(u64, &[(&PaymentView, &str)]); 6] = [
            (0, &[(&accepted, first), (&held, further), (&held, ""), (&captured, "6 finished CAPTURED")]),
            (
                0,
                &[
                    (&held, &format!("{first}, {further}")),
                    (&accepted, ""),
                    (&captured, "6 finished CAPTURED"),
                ],
            ),
            (1, &[(&accepted, ""), (&captured, &format!("{further}, 6 finished CAPTURED"))]),
            (0, &[(&failed, "1 accepted PENDING, 6 finished FAILED insufficient_funds")]),
            (5, &[(&held, ""), (&captured, "6 finished CAPTURED"), (&held, ""), (&captured, "")]),
            (
                4,
                &[
                    (&dead(6), "dead PENDING"),
                    (&dead(6), ""),
                    (&held, ""),
                    (&dead(7), "dead PENDING"),
                    (&captured, "6 finished CAPTURED"),
                ],
            ),
        ];
        for (number, seen) in rows {
            let mut told = Told { number, dead_since: None };
            for (view, expected) in seen {
                assert_eq!(short(&told.events(view)), *expected, "after {told:?}");
                assert_eq!(told.is_over(), told.number == 6);
            }
        }
    }

    #[test]
    fn a_listener_goes_on_after_what_it_was_told() {
        let [accepted, _, captured, _] = views();
        // The header; where that goes on in a payment on its way, and in one that has ended.
        let rows: [(&[&str], (u64, u64)); 9] = [
            (&[], (0, 0)),
            (&["1"], (1, 1)),
            (&["4"], (4, 4)),
            (&["6"], (0, 6)),
            (&["7"], (0, 0)),
            (&["-1"], (0, 0)),
            (&["99999999999999999999"], (0, 0)),
            (&["four"], (0, 0)),
            (&["4", "4"], (0, 0)),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(LAST_EVENT_ID, HeaderValue::from_static(value));
            }
            let numbers = (last_number(&headers, &accepted), last_number(&headers, &captured));
            assert_eq!(numbers, expected, "{values:?}");
        }
    }
}
