//! Random batches against the model: every answer, and in the end every row.
//!
//! `SEED=17 cargo test -p store random_batches` runs one seed again.

use crate::common::{Ledger, recorded, settlement};
use crate::generate::{Operation, World};
use crate::model::{AccountName, Model, ModelEntry};
use domain::facts::RecordState;
use domain::{PaymentKey, PaymentRecord};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;
use store::{Opening, SettleRequest};

const SEEDS: std::ops::Range<u64> = 0..40;
const OPERATIONS_PER_SEED: u32 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_batches_end_as_the_model_says() {
    let ledger = Ledger::open().await;
    let mut owner = ledger.session(devstack::OWNER).await;
    let seeds: Vec<u64> = std::env::var("SEED").map_or(SEEDS.collect(), |seed| vec![seed.parse().unwrap()]);
    let mut statuses: BTreeMap<String, u32> = BTreeMap::new();
    let mut continued = 0;
    for seed in seeds {
        // Each seed has tenants of its own, so one database does.
        let (world, mut model) = run(&ledger, &mut owner, seed).await;
        compare(&mut owner, &model, seed).await;
        for record in model.payments.values() {
            let refusal =
                crate::common::refusal(record).map_or(String::new(), |refusal| format!(" {refusal}"));
            *statuses.entry(format!("{}{refusal}", crate::common::status(record))).or_default() += 1;
        }
        end_all(&ledger, &world, &mut model, seed).await;
        compare(&mut owner, &model, seed).await;
        continued += model.accounts.keys().filter(|(_, id)| id.contains('.')).count();
        ledger.assert_sound(&format!("seed {seed}")).await;
    }
    if std::env::var_os("SEED").is_none() {
        let kinds = [
            "CAPTURED",
            "RESERVED",
            "FAILED account_not_found",
            "FAILED account_frozen",
            "FAILED currency_mismatch",
        ];
        for kind in kinds.into_iter().chain([
            "FAILED insufficient_funds",
            "FAILED risk_rejected",
            "FAILED destination_limit",
        ]) {
            assert!(
                statuses.get(kind).is_some_and(|count| *count > 20),
                "the batches hardly meet {kind}: {statuses:?}"
            );
        }
        assert!(continued > 20, "the batches hardly fill an account of ours: {continued}");
    }
}

/// Runs a seed's operations on both sides.
async fn run(ledger: &Ledger, owner: &mut PgConnection, seed: u64) -> (World, Model) {
    let (mut world, mut model) = (World::new(seed), Model::default());
    for account in world.accounts.iter().filter(|account| !account.is_missing) {
        let opening = ledger.store.open_account(&account.key, account.currency).await.unwrap();
        assert!(matches!(opening, Opening::Opened(_)), "seed {seed}: {opening:?}");
        let (tenant, id) = (account.key.tenant.to_string(), account.key.id.to_string());
        if account.is_frozen {
            let sql = "UPDATE accounts SET status = 'FROZEN' WHERE tenant = $1 AND id = $2";
            sqlx::query(sql).bind(&tenant).bind(&id).execute(&mut *owner).await.unwrap();
        }
        model.open((tenant, id), account.currency, account.is_frozen);
    }
    for step in 0..OPERATIONS_PER_SEED {
        let now = world.now();
        let about = format!("seed {seed}, step {step}");
        match world.operation() {
            Operation::Reserve(requests) => {
                let answers = recorded(ledger.store.reserve(requests.clone(), now).await.unwrap());
                assert_eq!(answers, model.reserve(&requests, now), "{about}");
            }
            Operation::Settle { requests, shard } => {
                let answers = ledger.store.settle(requests.clone(), now, shard).await.unwrap();
                assert_eq!(answers, model.settle(&requests, now, shard), "{about}");
            }
            Operation::Reject(refused) => {
                let answers = recorded(ledger.store.record_rejections(refused.clone()).await.unwrap());
                assert_eq!(answers, model.record_rejections(&refused), "{about}");
            }
            Operation::Deposit(deposits) => {
                let outcomes = ledger.store.deposit(deposits.clone(), now).await.unwrap();
                assert_eq!(outcomes, model.deposit(&deposits), "{about}");
            }
        }
    }
    let keys: Vec<PaymentKey> = model.payments.keys().cloned().collect();
    let records: BTreeMap<PaymentKey, PaymentRecord> =
        ledger.store.records(&keys).await.unwrap().into_iter().collect();
    assert_eq!(records, model.payments, "seed {seed}");
    (world, model)
}

/// Opens what was missing and settles all that is held: a settlement that was a fault succeeds once its cause
/// is gone.
async fn end_all(ledger: &Ledger, world: &World, model: &mut Model, seed: u64) {
    for account in world.accounts.iter().filter(|account| account.is_missing) {
        ledger.store.open_account(&account.key, account.currency).await.unwrap();
        model.open((account.key.tenant.to_string(), account.key.id.to_string()), account.currency, false);
    }
    let requests: Vec<SettleRequest> = model.payments.values().map(settle_request).collect();
    let now = crate::common::at(1_000_000);
    let answers = ledger.store.settle(requests.clone(), now, 0).await.unwrap();
    assert_eq!(answers, model.settle(&requests, now, 0), "seed {seed}");
    assert!(
        model.accounts.values().all(|account| account.held == 0),
        "seed {seed}: nothing is held any more"
    );
}

fn settle_request(record: &PaymentRecord) -> SettleRequest {
    let arrives = match &record.state {
        RecordState::Reserved(reserved) => reserved.quote.destination_amount.currency,
        RecordState::Captured { .. } | RecordState::Failed { .. } => record.facts.payment.amount.currency,
    };
    settlement(&record.facts.payment, arrives)
}

/// Balances, holds and entries, straight from the tables. System accounts without entries may be there or
/// not.
async fn compare(owner: &mut PgConnection, model: &Model, seed: u64) {
    let mine = format!("tenant LIKE 'seed{seed}_'");
    let sql = format!(
        "SELECT tenant, id, balance, held FROM accounts WHERE {mine} AND (kind = 'customer' OR entry_count > 0)"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *owner).await.unwrap();
    let found: BTreeMap<AccountName, (i64, i64)> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    let accounts =
        model.accounts.iter().filter(|(name, account)| !name.1.contains(':') || !account.entries.is_empty());
    let expected = accounts.map(|(name, account)| (name.clone(), (account.balance, account.held))).collect();
    assert_eq!(found, expected, "seed {seed}: balance and held");

    let sql = format!(
        "SELECT tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after
         FROM entries WHERE {mine} ORDER BY tenant, account_id, number"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *owner).await.unwrap();
    let mut found: BTreeMap<AccountName, Vec<ModelEntry>> = BTreeMap::new();
    for row in &rows {
        let entries = found.entry((row.get(0), row.get(1))).or_default();
        assert_eq!(
            row.get::<i64, _>(2),
            i64::try_from(entries.len()).unwrap() + 1,
            "seed {seed}: entries are numbered from 1"
        );
        let kind = if row.get::<&str, _>(3) == "deposit" { "deposit" } else { "payment" };
        let currency = crate::common::currency(row.get(5)).code();
        entries.push(ModelEntry {
            kind,
            operation: row.get(4),
            currency,
            amount: row.get(6),
            balance_after: row.get(7),
        });
    }
    let expected = model.accounts.iter().filter(|(_, account)| !account.entries.is_empty());
    let expected = expected.map(|(name, account)| (name.clone(), account.entries.clone())).collect();
    assert_eq!(found, expected, "seed {seed}: entries");
}
