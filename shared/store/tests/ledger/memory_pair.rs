//! One ledger in Postgres and one in memory that are asked the same, and the comparison of what they have.
//!
//! What the database's clock decides is set to the instants of a script afterwards, a minute apart and all in
//! the past; ages that a test asks about end half a minute between them, so that it does not matter how long
//! the test itself takes.

use crate::common::{Ledger, try_sql};
use domain::ledger::AccountStatus;
use domain::{AccountKey, PaymentKey, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::memory::{Calm, MemoryLedger, MemoryOptions, OperationKind, Outsider};
use store::{HoldPage, OpenHold, Store, StoreError};

/// How long each side waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_millis(10);

const MINUTE_MICROS: i64 = 60_000_000;

/// As far as two instants may be apart that each side took from its own clock.
const APART_MICROS_MAX: i64 = MINUTE_MICROS / 2;

/// Everything of before this was set to an instant of the script.
const SCRIPT_MINUTES: i64 = 1_000;

pub(crate) struct Pair {
    pub(crate) ledger: Ledger,
    pub(crate) memory: MemoryLedger,
    pub(crate) owner: PgConnection,
    clock: Arc<AtomicI64>,
    started_at: Timestamp,
    /// Steps of the script so far.
    step: i64,
}

/// What one side has, line by line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    accounts: BTreeSet<String>,
    entries: BTreeSet<String>,
    payments: BTreeSet<String>,
    letters: BTreeSet<String>,
    lines: BTreeSet<String>,
}

/// A row that somebody else has locked on both sides.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Locked {
    Account(AccountKey),
    Payment(PaymentKey),
    NewPayment(PaymentKey),
}

impl Pair {
    pub(crate) async fn open() -> Pair {
        let ledger = Ledger::open().await;
        let owner = ledger.session(devstack::OWNER).await;
        let started_at = real_now();
        let clock = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&clock);
        let options =
            MemoryOptions::new(Arc::new(move || Timestamp::from_micros(told.load(Ordering::SeqCst))));
        let memory = MemoryLedger::new(MemoryOptions { lock_timeout: LOCK_TIMEOUT, ..options });
        Pair { ledger, memory, owner, clock, started_at, step: 0 }
    }

    /// The ledger in memory looks at its clock while it is written: the script says what it sees.
    pub(crate) fn begin_write(&mut self) {
        self.step += 1;
        self.clock.store(self.scripted().micros(), Ordering::SeqCst);
    }

    /// When this step of the script is.
    fn scripted(&self) -> Timestamp {
        Timestamp::from_micros(self.started_at.micros() + (self.step - SCRIPT_MINUTES) * MINUTE_MICROS)
    }

    /// What Postgres has written in this step was written when the script says.
    pub(crate) async fn end_write(&mut self) {
        assert!(self.step < SCRIPT_MINUTES, "the script is longer than the past that it plays in");
        for (table, column) in [("payments", "recorded_at"), ("dead_letters", "at")] {
            let sql = format!("UPDATE {table} SET {column} = $1 WHERE {column} > $2");
            let query = sqlx::query(AssertSqlSafe(sql)).bind(self.scripted().to_datetime());
            query.bind(self.last_minute().to_datetime()).execute(&mut self.owner).await.unwrap();
        }
    }

    fn last_minute(&self) -> Timestamp {
        Timestamp::from_micros(self.started_at.micros() - MINUTE_MICROS)
    }

    /// The ledger in memory has the clock of everyone while it is read.
    pub(crate) fn begin_read(&self) {
        self.clock.store(real_now().micros(), Ordering::SeqCst);
    }

    /// An instant of the script, or one before it.
    pub(crate) fn instant(&self, steps_back: i64) -> Timestamp {
        Timestamp::from_micros(self.scripted().micros() - steps_back * MINUTE_MICROS)
    }

    /// So old is, within half a minute, what was written at an instant of the script, and all before it.
    pub(crate) fn age(&self, steps_back: i64) -> Duration {
        let micros = self.started_at.micros() - self.instant(steps_back).micros() - MINUTE_MICROS / 2;
        Duration::from_micros(u64::try_from(micros).unwrap())
    }

    /// Other processes on both sides, which have met nothing yet.
    pub(crate) fn newcomers(&self) -> (Store, MemoryLedger) {
        let store = self.ledger.another_store(|options| options.lock_timeout = LOCK_TIMEOUT);
        (store, self.memory.another_process(Arc::new(Calm)))
    }

    /// Locks a row on both sides until the second of these ends.
    pub(crate) async fn lock(&self, row: &Locked) -> (PgConnection, Option<Outsider>) {
        let (sql, outsider) = match row {
            Locked::Account(AccountKey { tenant, id }) => (
                format!("SELECT FROM accounts WHERE tenant = '{tenant}' AND id = '{id}' FOR UPDATE"),
                self.memory.lock_account(&AccountKey { tenant: tenant.clone(), id: id.clone() }).await,
            ),
            Locked::Payment(key) => (
                format!(
                    "SELECT FROM payments WHERE tenant = '{}' AND id = '{}' FOR UPDATE",
                    key.tenant, key.id
                ),
                self.memory.lock_payment(key).await,
            ),
            Locked::NewPayment(key) => (
                format!(
                    "INSERT INTO payments (tenant, id, status, source_account, destination_account, currency, amount, fingerprint,
                        accepted_seq, accepted_at, refused_by, reason, refused_at, finished_at)
                     VALUES ('{}', '{}', 'FAILED', 'A', 'B', 'USD', 1, '\\x00', 1, now(), 'risk', 'risk_rejected', now(), now())",
                    key.tenant, key.id
                ),
                self.memory.lock_new_payment(key).await,
            ),
        };
        assert!(outsider.is_some(), "nobody else holds it");
        let mut session = self.ledger.session(devstack::OWNER).await;
        try_sql(&mut session, &format!("BEGIN; {sql}")).await.unwrap();
        (session, outsider)
    }

    /// Freezes an account on both sides, or lets money leave it again.
    pub(crate) async fn set_status(&mut self, key: &AccountKey, status: AccountStatus) {
        let word = if status == AccountStatus::Frozen { "FROZEN" } else { "ACTIVE" };
        let query = sqlx::query("UPDATE accounts SET status = $1 WHERE tenant = $2 AND id = $3");
        let query = query.bind(word).bind(key.tenant.as_str()).bind(key.id.as_str());
        let changed = query.execute(&mut self.owner).await.unwrap().rows_affected();
        assert_eq!(self.memory.set_account_status(key, status), changed == 1);
    }

    /// Resolves the letters of a payment on both sides.
    pub(crate) async fn resolve(&mut self, tenant: &str, id: &str) {
        let query = sqlx::query(
            "UPDATE dead_letters SET resolved_at = now() WHERE tenant = $1 AND id = $2 AND resolved_at IS NULL",
        );
        let resolved = query.bind(tenant).bind(id).execute(&mut self.owner).await.unwrap().rows_affected();
        assert_eq!(u64::try_from(self.memory.resolve_letters(tenant, id)), Ok(resolved), "{tenant}~{id}");
    }

    /// The holds of a page in groups of those that were recorded together, each in the order of the keys.
    pub(crate) fn grouped(&self, holds: &[OpenHold]) -> Vec<(Timestamp, BTreeMap<PaymentKey, Timestamp>)> {
        self.in_groups(holds.iter().map(|hold| (hold.key.clone(), hold.held_at)))
    }

    /// What belongs to payments in groups of those that were recorded together.
    pub(crate) fn in_groups<T>(
        &self,
        page: impl Iterator<Item = (PaymentKey, T)>,
    ) -> Vec<(Timestamp, BTreeMap<PaymentKey, T>)> {
        let mut recorded = BTreeMap::new();
        self.memory.each_record(|record, at| {
            recorded.insert(record.facts.payment.key(), at);
        });
        let mut groups: Vec<(Timestamp, BTreeMap<PaymentKey, T>)> = Vec::new();
        for (key, value) in page {
            let at = recorded[&key];
            match groups.last_mut().filter(|(group, _)| *group == at) {
                Some((_, group)) => drop(group.insert(key, value)),
                None => groups.push((at, BTreeMap::from([(key, value)]))),
            }
        }
        groups
    }

    /// Asserts that two steps of a scan have found the same.
    pub(crate) fn assert_same_page(&self, postgres: &HoldPage, memory: &HoldPage, about: &str) {
        assert_eq!(memory.is_full, postgres.is_full, "{about}");
        assert_eq!(self.grouped(&memory.holds), self.grouped(&postgres.holds), "{about}");
        assert!(is_near(memory.read_to, postgres.read_to), "{about}: {memory:?}, not {postgres:?}");
    }

    /// Everything that Postgres has.
    pub(crate) async fn postgres_content(&mut self) -> Content {
        const ACCOUNTS: &str =
            "SELECT concat_ws(' ', tenant, id, currency, status, balance, held, entry_count) FROM accounts";
        const ENTRIES: &str = "SELECT concat_ws(' ', tenant, account_id, number, operation_kind, operation_id, currency, amount, balance_after,
                (extract(epoch FROM posted_at) * 1000000)::bigint) FROM entries";
        const PAYMENTS: &str = "SELECT concat_ws(' ', tenant, id, status, (extract(epoch FROM recorded_at) * 1000000)::bigint) FROM payments";
        const LETTERS: &str =
            "SELECT concat_ws(' ', tenant, id, stage, reason, (extract(epoch FROM at) * 1000000)::bigint)
             FROM dead_letters WHERE resolved_at IS NULL";
        const LINES: &str = "SELECT concat_ws(' ', tenant, id, (extract(epoch FROM held_at) * 1000000)::bigint) FROM open_holds";
        let mut found = Vec::new();
        for sql in [ACCOUNTS, ENTRIES, PAYMENTS, LETTERS, LINES] {
            let rows = sqlx::query(sql).fetch_all(&mut self.owner).await.unwrap();
            found.push(rows.iter().map(|row| row.get::<String, _>(0)).collect());
        }
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap();
        Content { accounts: next(), entries: next(), payments: next(), letters: next(), lines: next() }
    }

    /// Everything that memory has.
    pub(crate) fn memory_content(&self) -> Content {
        let accounts = self.memory.accounts().into_iter().map(|((tenant, id), account)| {
            let status = if account.status == AccountStatus::Frozen { "FROZEN" } else { "ACTIVE" };
            let numbers = format!("{} {} {}", account.balance, account.held, account.entry_count);
            format!("{tenant} {id} {} {status} {numbers}", account.currency)
        });
        let mut entries = BTreeSet::new();
        self.memory.each_operation(|kind, tenant, id, lines| {
            let kind = if kind == OperationKind::Deposit { "deposit" } else { "payment" };
            entries.extend(lines.iter().map(|line| {
                let moved = format!("{} {} {}", line.amount.currency, line.amount.minor, line.balance_after);
                let place = format!("{} {}", line.account, line.number);
                format!("{tenant} {place} {kind} {id} {moved} {}", line.posted_at.micros())
            }));
        });
        let mut payments = BTreeSet::new();
        self.memory.each_record(|record, at| {
            let key = record.facts.payment.key();
            let status = crate::common::status(record);
            payments.insert(format!("{} {} {status} {}", key.tenant, key.id, at.micros()));
        });
        let letters = self.memory.buried().into_iter().flat_map(|(tenant, id)| {
            let open = self.memory.open_letters(&tenant, &id);
            let line = move |letter: &store::OpenDeadLetter| {
                format!("{tenant} {id} {} {} {}", letter.stage, letter.reason, letter.at.micros())
            };
            open.iter().map(line).collect::<Vec<_>>()
        });
        let line = |hold: OpenHold| format!("{} {} {}", hold.key.tenant, hold.key.id, hold.held_at.micros());
        Content {
            accounts: accounts.collect(),
            entries,
            payments,
            letters: letters.collect(),
            lines: self.memory.lines().into_iter().map(line).collect(),
        }
    }
}

/// Whether two instants are the same but for the time that the test itself takes.
pub(crate) fn is_near(one: Timestamp, other: Timestamp) -> bool {
    (one.micros() - other.micros()).abs() < APART_MICROS_MAX
}

/// Asserts that both sides have answered the same, be it with the same kind of error.
pub(crate) fn assert_same<T: std::fmt::Debug + PartialEq>(
    postgres: Result<T, StoreError>,
    memory: Result<T, StoreError>,
    about: &str,
) {
    same_answer(postgres, memory, about);
}

/// The answer of both sides, which must be the same; nothing where both have the same kind of error.
pub(crate) fn same_answer<T: std::fmt::Debug + PartialEq>(
    postgres: Result<T, StoreError>,
    memory: Result<T, StoreError>,
    about: &str,
) -> Option<T> {
    match (postgres, memory) {
        (Ok(postgres), Ok(memory)) => {
            assert_eq!(memory, postgres, "{about}");
            Some(memory)
        }
        (Err(postgres), Err(memory)) => {
            assert_eq!(memory.is_outage(), postgres.is_outage(), "{about}: {memory:?}, not {postgres:?}");
            None
        }
        (postgres, memory) => panic!("{about}: memory says {memory:?}, Postgres {postgres:?}"),
    }
}

fn real_now() -> Timestamp {
    Timestamp::from(time::OffsetDateTime::now_utc())
}
