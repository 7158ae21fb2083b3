//! Transactions of the ledger in memory that meet: locks, what is missed without a guard, a ledger that is set
//! back, and that the same dice make the same trace. Without Postgres.

use crate::common::{account_key, at, payment_key, request, settled, settlements, status, usd};
use crate::memory_steps::{FOR_EVER, Script, across, assert_quiet, held, ledger, plain_ledger};
use domain::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::memory::{Call, Happening, OperationKind, Place, Removed, Step, Strike, Weather};
use store::{Answer, HoldRequest, Settlement, StageLedger};

/// Who needs a row that is let go of in time waits for it; who needs one that stays locked is told so, and the
/// others go on.
#[tokio::test]
async fn a_locked_row_is_waited_for_and_no_longer() {
    let requests = || vec![request("P1", "A", "B", usd(1)), request("P2", "B", "C", usd(1)), across("HELD")];
    let ledger = plain_ledger().await;
    let outsider = ledger.lock_account(&account_key("A")).await;
    let asked = tokio::spawn({
        let ledger = ledger.clone();
        async move { held(&ledger, requests()).await }
    });
    while ledger.open_transactions() < 2 {
        tokio::task::yield_now().await;
    }
    drop(outsider);
    assert_eq!(asked.await.unwrap(), ["RESERVED"; 3]);

    let told =
        |answers: Vec<Answer>| answers.iter().map(|answer| *answer == Answer::Locked).collect::<Vec<bool>>();
    let ledger = crate::memory_steps::ledger(Removed::default(), Duration::from_millis(5)).await;
    let outsider = ledger.lock_account(&account_key("A")).await;
    assert_eq!(told(ledger.reserve(requests(), at(10)).await.unwrap()), [true, false, false]);
    drop(outsider);
    let outsider = ledger.lock_new_payment(&payment_key("P1")).await;
    assert_eq!(told(ledger.reserve(requests(), at(10)).await.unwrap()), [true, false, false]);
    drop(outsider);
    let outsider = ledger.lock_payment(&payment_key("HELD")).await;
    let settlement = ledger.settle(settlements(&[across("HELD")]), at(20), 0).await.unwrap();
    assert_eq!(settlement, [Settlement::Locked]);
    drop(outsider);
    assert_quiet(&ledger, "after the locks");
}

/// Batches over the same accounts, all at once: in one order of locks nobody ever waits in a circle.
#[tokio::test]
async fn without_one_order_of_locks_batches_wait_in_a_circle() {
    for lock_order in [false, true] {
        let removed = Removed { lock_order, ..Removed::default() };
        let ledger = ledger(removed, FOR_EVER).await;
        let asked: Vec<_> = (0..8)
            .map(|number| {
                let requests = ["A", "B", "C"].map(|source| {
                    let destination = if source == "C" { "A" } else { "C" };
                    request(&format!("P{number}{source}"), source, destination, usd(1))
                });
                let ledger = ledger.clone();
                tokio::spawn(async move { held(&ledger, requests.to_vec()).await })
            })
            .collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap(), ["RESERVED"; 3]);
        }
        assert_eq!(ledger.lock_cycles() > 0, lock_order, "{} circles", ledger.lock_cycles());
        assert_quiet(&ledger, "after the batches");
    }
}

#[tokio::test]
async fn without_its_guard_settle_posts_twice() {
    for settle_state_guard in [false, true] {
        let ledger = ledger(Removed { settle_state_guard, ..Removed::default() }, FOR_EVER).await;
        let twice = [request("TWICE", "B", "C", usd(7))];
        assert_eq!(held(&ledger, twice.to_vec()).await, ["RESERVED"]);
        for _ in 0..2 {
            let told = settled(ledger.settle(settlements(&twice), at(20), 0).await.unwrap());
            assert_eq!(status(&told[0]), "CAPTURED");
        }
        let tenant = account_key("B").tenant;
        let posted = ledger.entries_of(OperationKind::Payment, &tenant, "TWICE").len();
        assert_eq!(posted, if settle_state_guard { 4 } else { 2 });
        let broken = ledger.violations();
        assert_eq!(broken.is_empty(), !settle_state_guard, "{broken:?}");
        assert_eq!(
            broken.iter().any(|told| told.starts_with("captured_means_one_settlement")),
            settle_state_guard
        );
    }
}

/// A ledger that is set back knows nothing of what came after, cuts who is at work, and goes on.
#[tokio::test]
async fn a_ledger_that_is_set_back_goes_on() {
    let ledger = plain_ledger().await;
    let backup = ledger.backup();
    let settle = async || settled(ledger.settle(settlements(&[across("HELD")]), at(20), 0).await.unwrap());
    assert_eq!(status(&settle().await[0]), "CAPTURED");
    let stays = Happening { before: FOR_EVER, ..Happening::default() };
    let weather = Script::at(Call::Reserve, Place::Commit, stays, 1);
    let cut = tokio::spawn({
        let ledger = ledger.another_process(Arc::clone(&weather) as Arc<dyn Weather>);
        async move { ledger.reserve(vec![request("CUT", "B", "C", usd(1))], at(10)).await }
    });
    weather.reached.notified().await;
    // Waits for the account that the first one has locked.
    let waiting = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.reserve(vec![request("WAITS", "B", "C", usd(1))], at(10)).await }
    });
    while ledger.open_transactions() < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    ledger.restore(&backup);
    assert!(waiting.await.unwrap().is_err_and(|error| error.is_outage()));
    cut.abort();
    assert_eq!(status(&ledger.record(&payment_key("HELD")).unwrap()), "RESERVED");
    assert!(!ledger.has_record(&payment_key("WAITS")));
    // The accounts of ours that this process knows are gone with what came after.
    assert_eq!(status(&settle().await[0]), "CAPTURED");
    assert_quiet(&ledger, "after it was set back");
}

/// Strikes as the dice fall, and what was asked for in which order.
struct Dice {
    random: Mutex<StdRng>,
    trace: Mutex<Vec<(Step, Happening)>>,
}

impl Weather for Dice {
    fn at(&self, step: Step) -> Happening {
        // None after which a batch is tried again: that takes real time.
        let strikes = [Strike::Cut, Strike::AnswerLost, Strike::CommitLate];
        let strike = self.random.lock().unwrap().random_range(0..20);
        let happening = Happening { strike: strikes.get(strike).copied(), ..Happening::default() };
        self.trace.lock().unwrap().push((step, happening));
        happening
    }
}

/// Workers at the same accounts and payments; the trace of all they did and what the ledger has in the end.
fn run(seed: u64) -> (Vec<(Step, Happening)>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let dice = Arc::new(Dice { random: Mutex::new(StdRng::seed_from_u64(seed)), trace: Mutex::default() });
    let content = runtime.block_on(async {
        let ledger = plain_ledger().await.another_process(Arc::clone(&dice) as Arc<dyn Weather>);
        let workers: Vec<_> = (0..6_u32)
            .map(|worker| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    for round in 0..12 {
                        let id = |number: u32| format!("P{}", (worker * 5 + round * 3 + number) % 40);
                        let batch: Vec<HoldRequest> = (0..4).map(|number| across(&id(number))).collect();
                        let _ = ledger.settle(settlements(&batch), at(20), 0).await;
                        let _ = ledger.reserve(batch, at(10)).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        // Who came last.
        while ledger.open_transactions() > 0 {
            tokio::task::yield_now().await;
        }
        assert_quiet(&ledger, &format!("seed {seed}"));
        let mut content = String::new();
        ledger.each_record(|record, at: Timestamp| content += &format!("{record:?} {at}\n"));
        ledger.each_operation(|kind, _, id, lines| content += &format!("{kind:?} {id} {lines:?}\n"));
        content
    });
    let trace = std::mem::take(&mut *dice.trace.lock().unwrap());
    (trace, content)
}

#[test]
fn the_same_dice_make_the_same_trace_in_every_thread() {
    for seed in 0..10 {
        let here = run(seed);
        assert!(
            here.0.iter().filter(|(_, happening)| happening.strike.is_some()).count() > 10,
            "{}",
            here.0.len()
        );
        let there = std::thread::spawn(move || run(seed)).join().unwrap();
        assert!(here == there, "seed {seed} makes two traces");
    }
}
