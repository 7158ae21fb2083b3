//! Round trips per batch, counted: at most six, and as many for one payment as for 512.
//!
//! Counted twice: the statements that Postgres itself has seen (`pg_stat_statements`), and what went over the
//! wire, which would also show what is no statement (preparing one, say).

#![allow(clippy::print_stdout, reason = "the table of counts is what the test is asked for")]

use crate::common::{Ledger, at, converted, currency, deposit, refused, request, settlements, usd};
use crate::wiretap::Wiretap;
use devstack::testing::TestPostgres;
use domain::Money;
use domain::fx::Rate;
use std::collections::BTreeMap;
use store::{HoldRequest, Settlement, Store};

/// The promise of the design.
const ROUND_TRIPS_MAX: u64 = 6;
const BATCH_SIZES: [usize; 3] = [1, 64, 512];
const ACCOUNTS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    statements: u64,
    trips: u64,
    pings: u64,
}

/// A store whose connection is listened to.
struct Scale {
    ledger: Ledger,
    store: Store,
    wiretap: Wiretap,
}

impl Scale {
    async fn set_up() -> Scale {
        let postgres = TestPostgres::start_with(|options| {
            let options = options.setting("shared_preload_libraries", "pg_stat_statements");
            options
                .setting("pg_stat_statements.track", "all")
                .setting("pg_stat_statements.track_utility", "on")
        })
        .await;
        let ledger = Ledger::open_on(&postgres).await;
        ledger.sql("CREATE EXTENSION pg_stat_statements").await;
        let wiretap = Wiretap::start(ledger.address()).await;
        // One connection prepares each statement once.
        let store = ledger.store_through(wiretap.address, |options| options.connections_max = 1);
        for number in 0..ACCOUNTS {
            ledger.fund(&format!("US{number}"), usd(1_000_000_000)).await;
            ledger.fund(&format!("EU{number}"), Money::new(1_000_000_000, currency("EUR"))).await;
        }
        Scale { ledger, store, wiretap }
    }

    /// What `work` costs.
    async fn weigh<T>(&self, work: impl Future<Output = Result<T, store::StoreError>>) -> (T, Count) {
        // The test of a connection that went back to the pool must not count for this one.
        self.store.ping().await.unwrap();
        self.ledger.sql("SELECT pg_stat_statements_reset()").await;
        let before = (self.wiretap.trips(), self.wiretap.pings());
        let outcome = work.await.unwrap();
        let after = (self.wiretap.trips(), self.wiretap.pings());
        let statements = self
            .ledger
            .sql(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
                 WHERE r.rolname = 'kilat_app'",
            )
            .await;
        let count = Count {
            statements: statements.parse().unwrap(),
            trips: after.0 - before.0,
            pings: after.1 - before.1,
        };
        (outcome, count)
    }

    /// Every write with a batch of this size, of which these many are known before: name and count of each.
    async fn weigh_all(&self, batch: &Batch) -> Vec<(String, Count)> {
        let (requests, rejected, deposits) = (batch.requests(), batch.rejections(), batch.deposits());
        let known = &requests[..batch.known];
        self.store.reserve(known.to_vec(), at(10)).await.unwrap();
        self.store.record_rejections(rejected[..batch.known].to_vec()).await.unwrap();
        self.store.deposit(deposits[..batch.known].to_vec(), at(10)).await.unwrap();
        let (held, reserve) = self.weigh(self.store.reserve(requests.clone(), at(11))).await;
        assert_eq!(held.len(), batch.size);
        self.store.settle(settlements(known), at(12), 0).await.unwrap();
        let (settled, settle) = self.weigh(self.store.settle(settlements(&requests), at(13), 0)).await;
        assert!(settled.iter().all(|answer| matches!(answer, Settlement::Recorded(_))), "{settled:?}");
        let (_, reject) = self.weigh(self.store.record_rejections(rejected)).await;
        let (_, deposit) = self.weigh(self.store.deposit(deposits, at(14))).await;
        let name = |operation: &str| format!("{operation}, {}", batch.label());
        vec![
            (name("reserve"), reserve),
            (name("settle"), settle),
            (name("record_rejections"), reject),
            (name("deposit"), deposit),
        ]
    }
}

struct Batch {
    prefix: String,
    size: usize,
    known: usize,
}

impl Batch {
    fn label(&self) -> &'static str {
        match self.known {
            0 => "all new",
            known if known == self.size => "all known",
            _ => "half known",
        }
    }

    /// Three in ten convert.
    fn requests(&self) -> Vec<HoldRequest> {
        let rate = Rate { numerator: 10_823, denominator: 10_000 };
        let one = |number: usize| {
            let (id, place) = (format!("{}-{number}", self.prefix), number % ACCOUNTS);
            let neighbour = (place + 1) % ACCOUNTS;
            if number % 10 < 3 {
                let amount = Money::new(1_000, currency("EUR"));
                converted(
                    request(&id, &format!("EU{place}"), &format!("US{neighbour}"), amount),
                    currency("USD"),
                    rate,
                    25,
                )
                .unwrap()
            } else {
                request(&id, &format!("US{place}"), &format!("US{neighbour}"), usd(1_000))
            }
        };
        (0..self.size).map(one).collect()
    }

    fn rejections(&self) -> Vec<domain::PaymentRecord> {
        let one =
            |number: usize| refused(&request(&format!("{}-R{number}", self.prefix), "US0", "US1", usd(1)));
        (0..self.size).map(one).collect()
    }

    fn deposits(&self) -> Vec<store::Deposit> {
        let one = |number: usize| {
            deposit(&format!("{}-D{number}", self.prefix), &format!("US{}", number % ACCOUNTS), usd(5))
        };
        (0..self.size).map(one).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips_do_not_grow_with_the_batch() {
    let scale = Scale::set_up().await;
    // Prepares every statement and makes the system accounts; a currency's first sight is weighed below.
    scale.weigh_all(&Batch { prefix: "WARM".to_owned(), size: 4, known: 2 }).await;
    let mut rows: BTreeMap<String, Vec<(usize, Count)>> = BTreeMap::new();
    for size in BATCH_SIZES {
        // Half of one payment is none of it, so that one is there twice.
        for (shape, known) in [("new", 0), ("half", size / 2), ("known", size)] {
            for (name, count) in
                scale.weigh_all(&Batch { prefix: format!("{shape}{size}"), size, known }).await
            {
                rows.entry(name).or_default().push((size, count));
            }
        }
    }
    rows.insert("settle, currencies seen first".to_owned(), vec![(1, first_sight(&scale).await)]);
    println!("statements/round trips per batch of so many payments (connection tests that nobody waits for)");
    for (name, counts) in &rows {
        let shown = counts
            .iter()
            .map(|(size, count)| format!("  {size}: {}/{} ({})", count.statements, count.trips, count.pings));
        println!("{name:<30}{}", shown.collect::<String>());
    }
    for (name, counts) in &rows {
        for (size, count) in counts {
            assert!(
                count.statements <= ROUND_TRIPS_MAX && count.trips <= ROUND_TRIPS_MAX,
                "{name}, batch of {size}: {count:?}"
            );
            assert_eq!(
                count.statements, count.trips,
                "{name}, batch of {size}: only statements go over the wire"
            );
            assert_eq!(
                count.statements, counts[0].1.statements,
                "{name}: a batch of {size} costs what a batch of {} does",
                counts[0].0
            );
        }
    }
    scale.ledger.assert_sound("after the batches").await;
}

/// A conversion between currencies that this store has not met yet.
async fn first_sight(scale: &Scale) -> Count {
    scale.ledger.fund("JP", Money::new(1_000_000, currency("JPY"))).await;
    scale.ledger.open_account("KW", currency("KWD")).await;
    let one = request("FIRST", "JP", "KW", Money::new(10_000, currency("JPY")));
    let requests = [converted(one, currency("KWD"), Rate { numerator: 2, denominator: 1 }, 25).unwrap()];
    scale.store.reserve(requests.to_vec(), at(20)).await.unwrap();
    scale.weigh(scale.store.settle(settlements(&requests), at(21), 0)).await.1
}
