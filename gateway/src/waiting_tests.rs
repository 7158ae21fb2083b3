use super::*;
use crate::payments::tests::payments;
use crate::status::tests::{at, facts, line, message, reserved};
use domain::PaymentRecord;
use domain::facts::RecordState;
use runtime::broker::Outgoing;
use tokio::time::Instant;
use wire::{Code, Hop, Subject};

const LONGEST: Duration = Duration::from_secs(10);

const ACCEPTED: &str = "PENDING: accepted: accepted";
const SCREENED: &str = "PENDING: screened: accepted screened";
const CAPTURED: &str = "CAPTURED: finished: accepted screened quoted reserved finished";

/// What happens while someone waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    Nothing,
    Screened,
    Captured,
    Drain,
    /// The ledger is silent from the beginning on and never speaks again.
    Outage,
    /// The ledger is silent for a while, and then has it captured.
    ShortOutage,
}

type OnMemory = Payments<runtime::broker::MemoryStreams, crate::memory_ledger::MemoryLedger>;

async fn publish(payments: &OnMemory, hop: Hop) {
    let subject = Subject::of(hop, 0, &facts().payment.key()).into_string();
    let message = Outgoing::new(subject, message(hop).encode().unwrap());
    payments.status.streams.publish(&message).await.unwrap();
}

fn capture(payments: &OnMemory) {
    let state = RecordState::Captured { reserved: reserved(), finished_at: at(5) };
    payments.status.ledger.record(PaymentRecord { facts: facts(), state, trace: None });
}

async fn happens(payments: &OnMemory, happening: Happening) {
    // The first look is over, and the wait goes on; time is paused.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    match happening {
        Happening::Nothing => {}
        Happening::Screened => publish(payments, Hop::Screened).await,
        Happening::Captured => capture(payments),
        Happening::Drain => payments.drain.begin(),
        Happening::Outage => payments.status.ledger.fall_silent(),
        Happening::ShortOutage => {
            payments.status.ledger.fall_silent();
            // Long enough for reads to fail.
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            payments.status.ledger.speak();
            capture(payments);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_there_is_something_to_tell() {
    use Happening::{Captured, Drain, Nothing, Outage, Screened, ShortOutage};
    let stage = |view: &PaymentView| line(view) != ACCEPTED;
    let end = |_: &PaymentView| false;
    type AskedFor = fn(&PaymentView) -> bool;
    // What happens after two and a half seconds, what is asked for; the answer, and after how many whole
    // seconds.
    let rows: [(Happening, AskedFor, Result<&str, Code>, u64); 9] = [
        (Nothing, end, Ok(ACCEPTED), 10),
        (Screened, end, Ok(SCREENED), 10),
        (Screened, stage, Ok(SCREENED), 2),
        (Captured, end, Ok(CAPTURED), 3),
        (Captured, stage, Ok(CAPTURED), 3),
        (Nothing, stage, Ok(ACCEPTED), 10),
        (Drain, end, Ok(ACCEPTED), 2),
        (Outage, end, Err(Code::Unavailable), 10),
        (ShortOutage, end, Ok(CAPTURED), 5),
    ];
    for (happening, asked_for, expected, seconds) in rows {
        let (payments, started) = (payments(8).await, Instant::now());
        payments.status.streams.set_now(at(1));
        publish(&payments, Hop::Accepted).await;
        let asking = async {
            let answer =
                payments.status_when(&Caller::default(), facts().payment.id, LONGEST, asked_for).await;
            (answer, started.elapsed())
        };
        let ((answer, took), ()) = tokio::join!(asking, happens(&payments, happening));
        let answer = answer.map(|view| line(&view.unwrap())).map_err(|problem| problem.code);
        assert_eq!(answer, expected.map(str::to_owned), "{happening:?}");
        assert_eq!(took.as_secs(), seconds, "{happening:?}");
        assert!(payments.listeners.enter_to_wait().is_ok(), "the place is free again");
        while payments.watches.followed() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_without_a_reason_or_a_place() {
    let (payments, started, caller) = (payments(8).await, Instant::now(), Caller::default());
    let ask = |longest| payments.status_when(&caller, facts().payment.id, longest, |_| false);
    let answer = |found: Result<Option<PaymentView>, Problem>| {
        found.map(|view| view.as_ref().map(line)).map_err(|problem| problem.code)
    };
    let known = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(answer(ask(LONGEST).await), Ok(None), "there is none");
    payments.status.streams.set_now(at(1));
    publish(&payments, Hop::Accepted).await;
    assert_eq!(answer(ask(Duration::ZERO).await), known(ACCEPTED));
    {
        let mut first = std::pin::pin!(ask(LONGEST));
        while payments.watches.followed() == 0 {
            assert!(futures::poll!(&mut first).is_pending());
        }
        // All of the other places are free: who waits has one of those who wait.
        let places: Vec<_> = std::iter::from_fn(|| payments.admission.enter().ok()).collect();
        assert_eq!(places.len(), 8);
        drop(places);
        assert_eq!(answer(ask(LONGEST).await), Err(Code::Overloaded));
        assert_eq!(answer(ask(Duration::ZERO).await), known(ACCEPTED));
        capture(&payments);
        assert_eq!(answer(ask(LONGEST).await), Err(Code::Overloaded), "before anything is read");
        assert_eq!(answer(ask(Duration::ZERO).await), known(CAPTURED));
    }
    // Whoever left has left his place.
    assert!(payments.listeners.enter_to_wait().is_ok());
    assert_eq!(started.elapsed(), Duration::ZERO);
}
