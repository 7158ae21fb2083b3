//! A ledger of its own for each test, and payments to put into it.

use devstack::testing::TestPostgres;
use domain::facts::{AppliedRate, Quote, RecordState, Rejection, Screening};
use domain::fx::{self, Rate};
use domain::{
    AccountId, AccountKey, Currency, Facts, Money, OperationId, Payment, PaymentId, PaymentKey,
    PaymentRecord, Refusal, StageName, Tenant, Timestamp,
};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use store::{
    Answer, Deposit, DepositOutcome, HoldRequest, Opening, Plans, SettleRequest, Settlement, Store,
    StoreError, StoreOptions,
};

/// The role that the services run as.
/// A watermark that no ledger is behind of.
pub(crate) const BEFORE_ALL: Timestamp = Timestamp::from_micros(-1);

pub(crate) const SERVICES: &str = "kilat_app";

/// The ledger's invariants, as `loadtest verify` asks them.
const INVARIANTS: &str = include_str!("../../../../loadtest/sql/invariants.sql");

/// A migrated database, with a store that works on it.
pub(crate) struct Ledger {
    pub(crate) store: Store,
    /// Reads whole tables, as the services never do.
    audit: Store,
    postgres: TestPostgres,
    owner_url: String,
}

impl Ledger {
    /// A new database on the server that all tests share.
    pub(crate) async fn open() -> Ledger {
        Ledger::open_on(TestPostgres::shared().await).await
    }

    /// A new database on this server.
    pub(crate) async fn open_on(postgres: &TestPostgres) -> Ledger {
        let owner_url = postgres.fresh_database().await;
        store::migrate(&owner_url).await.unwrap();
        let options = options(&as_services(&owner_url));
        let store = Store::connect_lazily(&options).unwrap();
        let audit = Store::connect_lazily(&StoreOptions { plans: Plans::Free, ..options }).unwrap();
        Ledger { store, audit, postgres: postgres.clone(), owner_url }
    }

    /// A store that shares nothing with the first but the database: another process.
    pub(crate) fn another_store(&self, change: impl FnOnce(&mut StoreOptions)) -> Store {
        let mut options = options(&as_services(&self.owner_url));
        change(&mut options);
        Store::connect_lazily(&options).unwrap()
    }

    /// A store whose connections go through a proxy with this address.
    pub(crate) fn store_through(&self, proxy: SocketAddr, change: impl FnOnce(&mut StoreOptions)) -> Store {
        self.another_store(|options| {
            options.url = options.url.replace(&self.address().to_string(), &proxy.to_string());
            change(options);
        })
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.owner_url.split(['@', '/']).nth(3).unwrap().parse().unwrap()
    }

    /// The URL for the owner of the schema.
    pub(crate) fn owner_url(&self) -> &str {
        &self.owner_url
    }

    /// The database's name.
    pub(crate) fn database(&self) -> &str {
        self.owner_url.rsplit('/').next().unwrap()
    }

    /// Runs SQL as the owner; a line per row, columns separated by `|`.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        self.postgres.query(self.database(), sql).await
    }

    /// A session without the store in between, as this role.
    pub(crate) async fn session(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.owner_url.replace(devstack::OWNER, role)).await.unwrap()
    }

    /// Opens an account of the default tenant, and puts money in.
    pub(crate) async fn fund(&self, id: &str, amount: Money) {
        self.open_account(id, amount.currency).await;
        let deposit = deposit(&format!("FUND-{id}"), id, amount);
        let outcomes = self.store.deposit(vec![deposit], at(0)).await.unwrap();
        assert_eq!(outcomes, [DepositOutcome::Posted(amount)], "{id}");
    }

    /// Opens an account of the default tenant.
    pub(crate) async fn open_account(&self, id: &str, currency: Currency) {
        let opening = self.store.open_account(&account_key(id), currency).await.unwrap();
        assert!(matches!(opening, Opening::Opened(_)), "{opening:?}");
    }

    /// Reserves, and expects every payment to be held.
    pub(crate) async fn hold(&self, requests: &[HoldRequest]) -> Vec<PaymentRecord> {
        let records = recorded(self.store.reserve(requests.to_vec(), at(10)).await.unwrap());
        assert!(records.iter().all(|record| status(record) == "RESERVED"), "{records:?}");
        records
    }

    /// Settles, and expects every payment to be captured.
    pub(crate) async fn capture(&self, requests: &[HoldRequest]) -> Vec<PaymentRecord> {
        let records = settled(self.store.settle(settlements(requests), at(20), 0).await.unwrap());
        assert!(records.iter().all(|record| status(record) == "CAPTURED"), "{records:?}");
        records
    }

    /// Asserts that no invariant of the committed file is broken.
    pub(crate) async fn assert_sound(&self, about: &str) {
        let sections: Vec<&str> = INVARIANTS.split("\n-- name: ").skip(1).collect();
        assert!(sections.len() > 15, "the file of invariants is not cut as expected");
        for section in sections {
            let (name, query) = section.split_once('\n').unwrap();
            let query = query.split("\n-- note: ").next().unwrap();
            let (count, rows) = self.audit.violations(query, 5).await.unwrap();
            assert_eq!(count, 0, "{about}: {name} is broken by {rows:?}");
        }
    }
}

/// Runs SQL in a session; the server's objection as its SQLSTATE and message.
pub(crate) async fn try_sql(session: &mut PgConnection, sql: &str) -> Result<(), (String, String)> {
    let objection = |error: sqlx::Error| {
        let database = error.into_database_error().expect("an objection of the server");
        (database.code().unwrap_or_default().into_owned(), database.message().to_owned())
    };
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await.map(|_| ()).map_err(objection)
}

/// The URL of the same database for the services' role.
fn as_services(owner_url: &str) -> String {
    owner_url.replace(devstack::OWNER, SERVICES)
}

fn options(url: &str) -> StoreOptions {
    StoreOptions {
        url: url.to_owned(),
        application_name: "store-test".to_owned(),
        connections_max: 4,
        acquire_timeout: Duration::from_secs(30),
        statement_timeout: Duration::from_secs(30),
        // Tests crowd each other: only those about locks see one that is held for too long.
        lock_timeout: Duration::from_secs(30),
        plans: Plans::ByKey,
    }
}

/// So many microseconds after this program's first instant. Truly now, because some invariants compare with
/// the server's clock.
pub(crate) fn at(micros: i64) -> Timestamp {
    static START: OnceLock<Timestamp> = OnceLock::new();
    let start = START.get_or_init(|| Timestamp::from(time::OffsetDateTime::now_utc()));
    Timestamp::from_micros(start.micros() + micros)
}

pub(crate) fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, currency("USD"))
}

pub(crate) fn account_key(id: &str) -> AccountKey {
    AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
}

pub(crate) fn payment_key(id: &str) -> PaymentKey {
    PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(id).unwrap() }
}

pub(crate) fn deposit(id: &str, account: &str, amount: Money) -> Deposit {
    Deposit { account: account_key(account), id: OperationId::parse(id).unwrap(), amount }
}

/// A payment within one currency, as reserve takes it.
pub(crate) fn request(id: &str, source: &str, destination: &str, amount: Money) -> HoldRequest {
    let payment = Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: AccountId::parse(source).unwrap(),
        destination_account: AccountId::parse(destination).unwrap(),
        amount,
        destination_currency: None,
        description: None,
        metadata: None,
    };
    HoldRequest {
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 7, accepted_at: at(1) },
        screening: Screening { score: 12, at: at(2) },
        quote: Quote { destination_amount: amount, conversion: None, at: at(3) },
        is_quote_outdated: false,
        trace: None,
    }
}

/// The same payment, arriving in another currency; refused when it is too small or too large for the rate.
pub(crate) fn converted(
    request: HoldRequest,
    to: Currency,
    rate: Rate,
    spread_bps: u32,
) -> Result<HoldRequest, Refusal> {
    let conversion = fx::convert(request.facts.payment.amount, rate, spread_bps)?;
    let applied = AppliedRate {
        rate,
        spread_bps,
        gross_minor: conversion.gross,
        residue: conversion.residue,
        as_of: at(-60_000_000),
    };
    let quote =
        Quote { destination_amount: Money::new(conversion.net, to), conversion: Some(applied), at: at(3) };
    Ok(HoldRequest { quote, ..request })
}

/// A payment as risk refuses it.
pub(crate) fn refused(request: &HoldRequest) -> PaymentRecord {
    let rules = vec!["amount_cap".to_owned(), "velocity_sum".to_owned()];
    let rejection = Rejection { stage: StageName::Risk, reason: Refusal::RiskRejected, rules, at: at(4) };
    let state = RecordState::Failed {
        screening: None,
        quote: None,
        reserved_at: None,
        rejection,
        finished_at: at(5),
    };
    PaymentRecord { facts: request.facts.clone(), state, trace: request.trace }
}

pub(crate) fn keys(requests: &[HoldRequest]) -> Vec<PaymentKey> {
    requests.iter().map(|request| request.facts.payment.key()).collect()
}

/// The same payments, as settle takes them.
pub(crate) fn settlements(requests: &[HoldRequest]) -> Vec<SettleRequest> {
    requests
        .iter()
        .map(|request| settlement(&request.facts.payment, request.quote.destination_amount.currency))
        .collect()
}

/// A payment that arrives in this currency, as settle takes it.
pub(crate) fn settlement(payment: &Payment, arrives: Currency) -> SettleRequest {
    let leaves = payment.amount.currency;
    SettleRequest {
        payment: payment.key(),
        source: payment.source_account.clone(),
        destination: payment.destination_account.clone(),
        conversion: (leaves != arrives).then_some((leaves, arrives)),
    }
}

/// The rows that were answered; nothing is locked.
pub(crate) fn recorded(answers: Vec<Answer>) -> Vec<PaymentRecord> {
    let row = |answer| match answer {
        Answer::Recorded(record) => *record,
        Answer::Locked => panic!("a payment is locked"),
    };
    answers.into_iter().map(row).collect()
}

/// The rows that were answered; every payment has one.
pub(crate) fn settled(settlements: Vec<Settlement>) -> Vec<PaymentRecord> {
    let row = |settlement| match settlement {
        Settlement::Recorded(record) => *record,
        other => panic!("a payment is not settled: {other:?}"),
    };
    settlements.into_iter().map(row).collect()
}

/// The status that the row of this record has.
pub(crate) fn status(record: &PaymentRecord) -> &'static str {
    match record.state {
        RecordState::Reserved(_) => "RESERVED",
        RecordState::Captured { .. } => "CAPTURED",
        RecordState::Failed { .. } => "FAILED",
    }
}

/// The refusal of a record that has failed.
pub(crate) fn refusal(record: &PaymentRecord) -> Option<Refusal> {
    match &record.state {
        RecordState::Failed { rejection, .. } => Some(rejection.reason),
        RecordState::Reserved(_) | RecordState::Captured { .. } => None,
    }
}

/// Asks again while the answer is an outage, so many times at most; anything else is the answer.
pub(crate) async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    attempts_max: u32,
    mut ask: impl FnMut() -> F,
) -> T {
    let mut outages = Vec::new();
    for _ in 0..attempts_max {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_outage(), "{error:?}");
                outages.push(error);
            }
        }
    }
    panic!("still away after {attempts_max} attempts: {outages:?}");
}
