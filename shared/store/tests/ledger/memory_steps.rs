//! What befalls the steps of the ledger in memory: strikes, and callers that go away. Without Postgres; nothing
//! here takes time.

use crate::common::{
    account_key, at, converted, currency, deposit, insist, payment_key, recorded, refused, request, settled,
    settlements, status, usd,
};
use domain::Money;
use domain::fx::Rate;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::memory::{
    Call, Happening, MemoryLedger, MemoryOptions, OperationKind, Place, Removed, Step, Strike, Weather,
};
use store::{DepositOutcome, HoldRequest, JanitorLedger, StageLedger, StoreError};
use tokio::sync::Notify;

/// How often a batch is judged.
const ATTEMPTS_MAX: usize = 10;

/// Longer than any test.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3_600);

/// Makes this happen at a step, so many times; and tells when the step was reached.
#[derive(Default)]
pub(crate) struct Script {
    left: Mutex<Option<(Step, Happening, usize)>>,
    pub(crate) reached: Notify,
}

impl Script {
    pub(crate) fn at(call: Call, place: Place, happening: Happening, times: usize) -> Arc<Script> {
        Arc::new(Script {
            left: Mutex::new(Some((Step { call, place }, happening, times))),
            reached: Notify::new(),
        })
    }
}

impl Weather for Script {
    fn at(&self, step: Step) -> Happening {
        match &mut *self.left.lock().unwrap() {
            Some((expected, happening, times)) if *expected == step && *times > 0 => {
                *times -= 1;
                self.reached.notify_one();
                *happening
            }
            _ => Happening::default(),
        }
    }
}

fn striking(strike: Strike) -> Happening {
    Happening { strike: Some(strike), ..Happening::default() }
}

/// A ledger with accounts of two currencies and a payment that is held.
pub(crate) async fn ledger(removed: Removed, lock_timeout: Duration) -> MemoryLedger {
    ledger_with(removed, lock_timeout, FOR_EVER).await
}

async fn ledger_with(removed: Removed, lock_timeout: Duration, patience: Duration) -> MemoryLedger {
    let options = MemoryOptions::new(Arc::new(|| at(50)));
    let ledger = MemoryLedger::new(MemoryOptions { removed, lock_timeout, patience, ..options });
    for id in ["A", "B", "C"] {
        ledger.open_account(&account_key(id), usd(1_000)).unwrap();
    }
    ledger.open_account(&account_key("E"), Money::new(1_000, currency("EUR"))).unwrap();
    assert_eq!(held(&ledger, vec![across("HELD")]).await, ["RESERVED"]);
    ledger
}

pub(crate) async fn plain_ledger() -> MemoryLedger {
    ledger(Removed::default(), FOR_EVER).await
}

/// A payment that converts.
pub(crate) fn across(id: &str) -> HoldRequest {
    let rate = Rate { numerator: 9, denominator: 10 };
    converted(request(id, "A", "E", usd(100)), currency("EUR"), rate, 25).unwrap()
}

pub(crate) async fn held(ledger: &MemoryLedger, requests: Vec<HoldRequest>) -> Vec<&'static str> {
    recorded(ledger.reserve(requests, at(10)).await.unwrap()).iter().map(status).collect()
}

pub(crate) fn assert_quiet(ledger: &MemoryLedger, about: &str) {
    assert_eq!((ledger.open_transactions(), ledger.locks_held()), (0, 0), "{about}");
    assert_eq!(ledger.violations(), Vec::<String>::new(), "{about}");
}

type Asked = Pin<Box<dyn Future<Output = Result<String, StoreError>> + Send>>;

/// The writes: what each tells where nothing goes wrong, and whether the ledger has it.
struct Write {
    call: Call,
    ask: fn(MemoryLedger) -> Asked,
    is_done: fn(&MemoryLedger) -> bool,
    told: &'static str,
    places: &'static [Place],
}

const WRITES: [Write; 4] = [
    Write {
        call: Call::Reserve,
        ask: |ledger| {
            Box::pin(async move {
                let told = ledger.reserve(vec![request("NEW", "A", "B", usd(5))], at(10)).await?;
                Ok(status(&recorded(told)[0]).to_owned())
            })
        },
        is_done: |ledger| ledger.has_record(&payment_key("NEW")),
        told: "RESERVED",
        places: &[Place::Begin, Place::Lock, Place::Read, Place::Write, Place::Commit],
    },
    Write {
        call: Call::Settle,
        ask: |ledger| {
            Box::pin(async move {
                let told = ledger.settle(settlements(&[across("HELD")]), at(20), 0).await?;
                Ok(status(&settled(told)[0]).to_owned())
            })
        },
        is_done: |ledger| status(&ledger.record(&payment_key("HELD")).unwrap()) == "CAPTURED",
        told: "CAPTURED",
        places: &[Place::Begin, Place::Lock, Place::Write, Place::Commit],
    },
    Write {
        call: Call::RecordRejections,
        ask: |ledger| {
            Box::pin(async move {
                let refused = refused(&request("REFUSED", "A", "B", usd(5)));
                Ok(status(&recorded(ledger.record_rejections(vec![refused]).await?)[0]).to_owned())
            })
        },
        is_done: |ledger| ledger.has_record(&payment_key("REFUSED")),
        told: "FAILED",
        places: &[Place::Begin, Place::Read, Place::Write, Place::Commit],
    },
    Write {
        call: Call::Deposit,
        ask: |ledger| {
            Box::pin(async move {
                match &ledger.deposit(vec![deposit("D", "B", usd(5))], at(10)).await?[..] {
                    [DepositOutcome::Posted(_) | DepositOutcome::Replayed(_)] => Ok("there".to_owned()),
                    other => Ok(format!("{other:?}")),
                }
            })
        },
        is_done: |ledger| {
            !ledger.entries_of(OperationKind::Deposit, &account_key("B").tenant, "D").is_empty()
        },
        told: "there",
        places: &[Place::Begin, Place::Lock, Place::Read, Place::Write, Place::Commit],
    },
];

#[tokio::test]
async fn a_strike_costs_work_and_never_money() {
    for Write { call, ask, is_done, told, places } in WRITES {
        for place in places {
            for strike in [Strike::Cut, Strike::LostRace, Strike::AnswerLost, Strike::CommitLate] {
                let about = format!("{strike:?} at {place:?} of {call:?}");
                let ledger = plain_ledger().await;
                let weather = Script::at(call, *place, striking(strike), 1);
                let answer = ask(ledger.another_process(weather)).await;
                let is_at_commit = *place == Place::Commit;
                // What a lost race and a COMMIT without an answer come to; everything else comes to nothing.
                match answer {
                    Ok(answer) => assert_eq!((strike, answer.as_str()), (Strike::LostRace, told), "{about}"),
                    Err(error) => {
                        assert!(error.is_outage() && strike != Strike::LostRace, "{about}: {error:?}");
                        if strike != Strike::CommitLate {
                            let is_carried_out = is_at_commit && strike == Strike::AnswerLost;
                            assert_eq!(is_done(&ledger), is_carried_out, "{about}");
                        }
                    }
                }
                // Whoever asks again is told the same, and it is done once.
                assert_eq!(ask(ledger.clone()).await.unwrap(), told, "{about}");
                assert!(is_done(&ledger), "{about}");
                assert_quiet(&ledger, &about);
            }
        }
    }
}

#[tokio::test]
async fn a_batch_that_loses_again_and_again_is_an_outage() {
    for Write { call, ask, is_done, told, .. } in WRITES {
        for losses in [ATTEMPTS_MAX - 1, ATTEMPTS_MAX] {
            let about = format!("{call:?} loses {losses} times");
            let ledger = plain_ledger().await;
            let weather = Script::at(call, Place::Write, striking(Strike::LostRace), losses);
            let answer = ask(ledger.another_process(weather)).await;
            match answer {
                Ok(answer) => assert_eq!((answer.as_str(), losses), (told, ATTEMPTS_MAX - 1), "{about}"),
                Err(error) => {
                    assert!(matches!(error, StoreError::Contention(10)), "{about}: {error:?}");
                    assert_eq!((losses, is_done(&ledger)), (ATTEMPTS_MAX, false), "{about}");
                }
            }
            assert_quiet(&ledger, &about);
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_but_what_is_committed() {
    let (before, after) = (
        Happening { before: FOR_EVER, ..Happening::default() },
        Happening { after: FOR_EVER, ..Happening::default() },
    );
    for Write { call, ask, is_done, told, places } in WRITES {
        for place in places {
            for happening in [before, after] {
                let about = format!("gone at {place:?} of {call:?}, {happening:?}");
                let ledger = plain_ledger().await;
                let weather = Script::at(call, *place, happening, 1);
                let mut asked = ask(ledger.another_process(Arc::clone(&weather) as Arc<dyn Weather>));
                tokio::select! {
                    biased;
                    answer = &mut asked => panic!("{about}: {answer:?}"),
                    () = weather.reached.notified() => {}
                }
                // The step is on its way; now the server has come to it, if it does.
                for _ in 0..3 {
                    tokio::select! {
                        biased;
                        answer = &mut asked => panic!("{about}: {answer:?}"),
                        () = tokio::task::yield_now() => {}
                    }
                }
                drop(asked);
                let is_committed = *place == Place::Commit && happening == after;
                assert_eq!(is_done(&ledger), is_committed, "{about}");
                assert_quiet(&ledger, &about);
                assert_eq!(ask(ledger.clone()).await.unwrap(), told, "{about}");
                assert_quiet(&ledger, &about);
            }
        }
    }
}

/// A statement that takes too long is an outage, and nothing of it stays but what was committed.
#[tokio::test]
async fn a_silent_ledger_is_waited_for_and_no_longer() {
    let (before, after) = (
        Happening { before: FOR_EVER, ..Happening::default() },
        Happening { after: FOR_EVER, ..Happening::default() },
    );
    for Write { call, ask, is_done, told, places } in WRITES {
        for place in places {
            for happening in [before, after] {
                let about = format!("silent at {place:?} of {call:?}, {happening:?}");
                let patience = Duration::from_millis(5);
                let ledger = ledger_with(Removed::default(), FOR_EVER, patience).await;
                let silent = ledger.another_process(Script::at(call, *place, happening, 1));
                let error = ask(silent).await.expect_err(&about);
                assert!(matches!(error, StoreError::Silent(_)) && error.is_outage(), "{about}: {error:?}");
                assert_eq!(is_done(&ledger), *place == Place::Commit && happening == after, "{about}");
                assert_quiet(&ledger, &about);
                assert_eq!(insist(10, || ask(ledger.clone())).await, told, "{about}");
            }
        }
    }
    let ledger = ledger_with(Removed::default(), FOR_EVER, Duration::from_millis(5)).await;
    let silent = ledger.another_process(Script::at(Call::Records, Place::Query, before, 1));
    let error = silent.records(&[payment_key("HELD")]).await.expect_err("silent");
    assert!(matches!(error, StoreError::Silent(_)), "{error:?}");
}

/// A COMMIT that comes late holds its locks until then: whoever asks again waits for it, and meets the row.
#[tokio::test]
async fn a_late_commit_is_waited_for() {
    let ledger = plain_ledger().await;
    let late = Happening {
        after: Duration::from_millis(20),
        before: Duration::ZERO,
        strike: Some(Strike::CommitLate),
    };
    let weather = Script::at(Call::Reserve, Place::Commit, late, 1);
    let requests = || vec![request("NEW", "A", "B", usd(5))];
    let lost = ledger.another_process(weather).reserve(requests(), at(10)).await;
    assert!(lost.is_err_and(|error| error.is_outage()));
    assert_eq!((ledger.has_record(&payment_key("NEW")), ledger.open_transactions()), (false, 1));
    let told = recorded(ledger.reserve(requests(), at(99)).await.unwrap());
    assert_eq!(told, [ledger.record(&payment_key("NEW")).unwrap()]);
    let domain::facts::RecordState::Reserved(reserved) = &told[0].state else { panic!("{told:?}") };
    assert_eq!(reserved.at, at(10), "the first one's hold");
    assert_quiet(&ledger, "after the late commit");
}
