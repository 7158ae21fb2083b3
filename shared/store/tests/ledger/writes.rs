//! The store's writes, each as a row of the tests about how a transaction may end.

use crate::common::{
    Ledger, at, currency, deposit, recorded, refused, request, settled, settlements, status, usd,
};
use std::pin::Pin;
use store::{DepositOutcome, Store, StoreError};

pub(crate) type Told = Pin<Box<dyn Future<Output = Result<String, StoreError>> + Send>>;

/// What each write tells and leaves, of a ledger as [`Write::ledger`] makes it.
pub(crate) struct Write {
    pub(crate) name: &'static str,
    /// Answers with what was told.
    pub(crate) ask: fn(Store) -> Told,
    /// What the ledger has of it.
    pub(crate) traces: &'static str,
    /// The same without the write and with it.
    pub(crate) counts: [&'static str; 2],
    /// What is told where it had not been written before, and where it had.
    pub(crate) told: [&'static str; 2],
}

impl Write {
    /// A ledger on which each of them may be tried.
    pub(crate) async fn ledger() -> Ledger {
        let ledger = Ledger::open().await;
        ledger.fund("A", usd(1_000)).await;
        ledger.open_account("B", currency("USD")).await;
        ledger.hold(&[request("HELD", "A", "B", usd(10))]).await;
        ledger
    }
}

pub(crate) const WRITES: [Write; 4] = [
    Write {
        name: "reserve",
        ask: |store| {
            Box::pin(async move {
                let answers = store.reserve(vec![request("NEW", "A", "B", usd(100))], at(10)).await?;
                Ok(status(&recorded(answers)[0]).to_owned())
            })
        },
        traces: "SELECT held, (SELECT count(*) FROM payments WHERE id = 'NEW') FROM accounts WHERE id = 'A'",
        counts: ["10|0", "110|1"],
        told: ["RESERVED", "RESERVED"],
    },
    Write {
        name: "settle",
        ask: |store| {
            Box::pin(async move {
                let answers = store.settle(settlements(&[request("HELD", "A", "B", usd(10))]), at(20), 0);
                Ok(status(&settled(answers.await?)[0]).to_owned())
            })
        },
        traces: "SELECT balance, held, (SELECT count(*) FROM entries WHERE operation_id = 'HELD') FROM accounts WHERE id = 'A'",
        counts: ["1000|10|0", "990|0|2"],
        told: ["CAPTURED", "CAPTURED"],
    },
    Write {
        name: "deposit",
        ask: |store| {
            Box::pin(async move {
                let outcomes = store.deposit(vec![deposit("D", "A", usd(5))], at(10)).await?;
                Ok(match outcomes[0] {
                    DepositOutcome::Posted(after) => format!("posted {}", after.minor),
                    DepositOutcome::Replayed(after) => format!("replayed {}", after.minor),
                    _ => panic!("{outcomes:?}"),
                })
            })
        },
        traces: "SELECT balance, (SELECT count(*) FROM operations WHERE id = 'D') FROM accounts WHERE id = 'A'",
        counts: ["1000|0", "1005|1"],
        told: ["posted 1005", "replayed 1005"],
    },
    Write {
        name: "record_rejections",
        ask: |store| {
            Box::pin(async move {
                let one = refused(&request("REFUSED", "A", "B", usd(100)));
                Ok(status(&recorded(store.record_rejections(vec![one]).await?)[0]).to_owned())
            })
        },
        traces: "SELECT count(*) FROM payments WHERE id = 'REFUSED'",
        counts: ["0", "1"],
        told: ["FAILED", "FAILED"],
    },
];
