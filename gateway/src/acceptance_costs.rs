//! What acceptance costs under load, counted: calls of the broker and of the ledger. Each publish is an fsync of
//! the intake, or a few, so the fewer there are for so many payments, the more payments a disk carries.

use crate::accept::{Acceptance, Acceptor, Request};
use crate::memory_ledger::MemoryLedger;
use crate::request::IdOrigin;
use domain::{AccountKey, Payment, PaymentKey};
use futures::future::join_all;
use runtime::broker::{MemoryStreams, Streams};
use runtime::config::PipelineConfig;
use runtime::telemetry::Traces;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::{Account, BorderLedger, Known, StatusRow, StoreError};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use wire::Stream;

/// Batches of a lane that are on their way into the intake at once. What comes while so many are is one batch.
const STORES_AT_ONCE: usize = 1;

/// More calls than any row makes.
const CALLS_MAX: usize = 100_000;

/// A ledger that counts what it is asked.
#[derive(Clone, Default)]
struct AskedLedger {
    ledger: MemoryLedger,
    look_ups: Arc<AtomicUsize>,
}

impl BorderLedger for AskedLedger {
    async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        self.ledger.known(keys).await
    }

    async fn status(&self, key: &PaymentKey) -> Result<StatusRow, StoreError> {
        self.ledger.status(key).await
    }

    async fn statuses(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        self.ledger.statuses(keys).await
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        self.ledger.account(key).await
    }
}

/// A way to the intake whose every call is counted, and waits for a permit.
struct Scale {
    acceptor: Acceptor,
    tasks: JoinSet<()>,
    streams: MemoryStreams,
    look_ups: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
    /// All that were ever given.
    given: usize,
}

impl Scale {
    async fn set_up() -> Scale {
        let (streams, pipeline) = (MemoryStreams::default(), PipelineConfig::default());
        streams.declare_all(&pipeline).await.unwrap();
        let (ledger, permits) = (AskedLedger::default(), Arc::new(Semaphore::new(0)));
        let (look_ups, counted) = (ledger.look_ups.clone(), streams.with_permits(permits.clone()));
        let (acceptor, tasks) = Acceptor::start(counted, ledger, pipeline, CALLS_MAX, Traces::inert());
        Scale { acceptor, tasks, streams, look_ups, permits, given: 0 }
    }

    /// The broker answers from now on.
    fn let_go(&mut self) {
        self.permits.add_permits(CALLS_MAX);
        self.given += CALLS_MAX;
    }

    /// So many payments ask for acceptance at once; whether each is accepted.
    fn submit(&self, origin: IdOrigin, first: usize, count: usize) -> JoinHandle<Vec<Acceptance>> {
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            let requests = (first..first + count).map(|number| Request {
                payment: payment(number),
                origin,
                trace: None,
            });
            join_all(requests.map(|request| acceptor.accept(request))).await
        })
    }

    /// Calls of the broker that were let go, and look-ups.
    fn calls(&self) -> (usize, usize) {
        (self.given - self.permits.available_permits(), self.look_ups.load(Ordering::SeqCst))
    }

    fn stored(&self) -> usize {
        self.streams.messages(Stream::Accepted).len()
    }
}

fn payment(number: usize) -> Payment {
    serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": format!("P{number}"), "source_account": "S", "destination_account": "D",
        "amount": {"currency": "USD", "value": "1.00"}
    }))
    .unwrap()
}

/// Waits until every task of this test waits for something.
async fn rest() {
    // Time stands still until nothing else can happen, so that it passes only then.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Whatever comes while the store before it is held up is the next batch, so a burst costs as few publishes as
/// batches hold it, and the ledger is asked once for each batch of names that clients chose.
#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_stored_is_the_next_batch() {
    // How many come at a time, one burst after the other, and the most batches that they may make.
    let rows: [(&[usize], usize); 6] = [
        (&[1], 1),
        // So few that each is a publish of its own.
        (&[512, 1, 1, 1], STORES_AT_ONCE + 3),
        (&[1_000], 1_000_usize.div_ceil(512)),
        (&[5_000], 5_000_usize.div_ceil(512)),
        (&[1, 100, 100, 100, 100], STORES_AT_ONCE + 1),
        (&[512, 512, 5, 5, 5, 5, 5], STORES_AT_ONCE + 2),
    ];
    for (bursts, batches_max) in rows {
        for (origin, look_ups_per_batch) in [(IdOrigin::Client, 1), (IdOrigin::Gateway, 0)] {
            let about = format!("bursts of {bursts:?}, ids of the {origin:?}");
            let (mut scale, mut first, mut answers) = (Scale::set_up().await, 0, Vec::new());
            for count in bursts {
                answers.push(scale.submit(origin, first, *count));
                first += count;
                rest().await;
            }
            scale.let_go();
            for accepted in join_all(answers).await {
                assert!(accepted.unwrap().iter().all(|answer| *answer == Acceptance::Accepted), "{about}");
            }
            let (publishes, look_ups) = scale.calls();
            assert_eq!(scale.stored(), first, "{about}");
            assert!(publishes <= batches_max, "{about}: {publishes} publishes, at most {batches_max}");
            assert!(look_ups <= publishes * look_ups_per_batch, "{about}: {look_ups} look-ups");
            scale.tasks.detach_all();
        }
    }
}
