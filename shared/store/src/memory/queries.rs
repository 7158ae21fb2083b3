//! Statements that are transactions of their own, over the tables in memory.

use crate::locks::customer_row;
use crate::memory::tables::{PaymentRow, Tables, names};
use crate::memory::{Call, MemoryLedger, Place, State, objection};
use crate::open_holds::COMMIT_DELAY;
use crate::system_accounts::{KnownSystemAccounts, OurRows};
use crate::{
    Account, BorderLedger, DeadLetter, DeadLetterLedger, HoldPage, JanitorLedger, Known, OpenHold,
    PaymentPage, RecentPayment, StatusRow, StoreError, Trace,
};
use domain::facts::RecordState;
use domain::system_account::SystemAccount;
use domain::{AccountKey, Currency, Money, PaymentId, PaymentKey, PaymentRecord, Tenant, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

impl MemoryLedger {
    /// One statement, at the time that the ledger has when the server comes to it.
    async fn query<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut State, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let asked = async {
            let begun = self.step(call, Place::Query).await?;
            let now = self.server.now();
            let answer = act(&mut self.server.state(), now)?;
            begun.answered().await?;
            Ok(answer)
        };
        let patience = self.server.patience;
        tokio::time::timeout(patience, asked).await.unwrap_or(Err(StoreError::Silent(patience)))
    }

    /// A statement that reads.
    async fn read<T>(&self, call: Call, read: impl FnOnce(&Tables, Timestamp) -> T) -> Result<T, StoreError> {
        self.query(call, |state, now| Ok(read(&state.tables, now))).await
    }

    pub(super) async fn currencies(
        &self,
        keys: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        let currency = |tables: &Tables, key: &AccountKey| {
            Some((key.clone(), tables.accounts.get(&customer_row(&key.tenant, &key.id))?.currency))
        };
        let read = |tables: &Tables, _| keys.iter().filter_map(|key| currency(tables, key)).collect();
        self.read(Call::AccountCurrencies, read).await
    }

    pub(super) async fn payments_after(
        &self,
        after: Timestamp,
        rows_max: u32,
    ) -> Result<PaymentPage, StoreError> {
        let payment = |row: &&PaymentRow| {
            let facts = &row.record.facts;
            RecentPayment {
                key: facts.payment.key(),
                source: facts.payment.source_account.clone(),
                amount: facts.payment.amount,
                accepted_at: facts.accepted_at,
            }
        };
        let read = |tables: &Tables, _| {
            let rows = tables.recorded_between(after, Timestamp::from_micros(i64::MAX), rows_max);
            PaymentPage {
                read_to: rows.last().map_or(after, |row| row.recorded_at),
                is_full: rows.len() as u64 >= u64::from(rows_max),
                payments: rows.iter().map(payment).collect(),
            }
        };
        self.read(Call::RecentPayments, read).await
    }
}

impl OurRows for MemoryLedger {
    fn known_system_accounts(&self) -> MutexGuard<'_, KnownSystemAccounts> {
        self.system_accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(
        &self,
        rows: &BTreeSet<(Tenant, SystemAccount)>,
    ) -> Result<Vec<Option<SystemAccount>>, StoreError> {
        let last = |tables: &mut Tables, (tenant, account): &(Tenant, SystemAccount)| {
            tables.open((tenant.clone(), (*account).into()), account.currency);
            let is_there =
                |next: &SystemAccount| tables.accounts.contains_key(&(tenant.clone(), (*next).into()));
            let later = |account: &SystemAccount| Some(account.next()).filter(is_there);
            std::iter::successors(Some(*account), later).last().filter(|last| last.part > 1)
        };
        let make = |state: &mut State, _| Ok(rows.iter().map(|row| last(&mut state.tables, row)).collect());
        self.query(Call::SystemAccounts, make).await
    }
}

impl DeadLetterLedger for MemoryLedger {
    async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let texts = [&letter.tenant, &letter.id, &letter.stream, &letter.reason];
        let bury = |state: &mut State, now| {
            without_zero_bytes(texts.into_iter())?;
            state.tables.bury(letter, now);
            Ok(())
        };
        self.query(Call::Bury, bury).await
    }

    async fn open_dead_letters(&self) -> Result<HashSet<(String, String)>, StoreError> {
        self.read(Call::OpenDeadLetters, |tables, _| tables.buried().cloned().collect()).await
    }
}

/// What there is of a payment.
fn status(tables: &Tables, key: &PaymentKey) -> Result<StatusRow, StoreError> {
    let newest = tables.open_letters(&names(key)).max_by_key(|letter| letter.at);
    Ok(StatusRow { record: tables.record(key)?.cloned(), dead: newest.cloned() })
}

impl BorderLedger for MemoryLedger {
    async fn known(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        let known = |tables: &Tables, key: &PaymentKey| match tables.payments.get(key) {
            Some(row) => Some(Known::Recorded(row.record.facts.fingerprint)),
            None => tables.open_letters(&names(key)).next().map(|letter| Known::Dead(letter.payload.clone())),
        };
        let read = |tables: &Tables, _| {
            keys.iter().filter_map(|key| Some((key.clone(), known(tables, key)?))).collect()
        };
        self.read(Call::Known, read).await
    }

    async fn status(&self, key: &PaymentKey) -> Result<StatusRow, StoreError> {
        self.query(Call::Status, |state, _| status(&state.tables, key)).await
    }

    async fn statuses(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        let read = |state: &mut State, _| {
            let of_each = keys.iter().map(|key| Ok((key.clone(), status(&state.tables, key)?)));
            let known = |(_, row): &(PaymentKey, StatusRow)| *row != StatusRow::default();
            of_each.filter(|row| row.as_ref().map_or(true, known)).collect()
        };
        self.query(Call::Statuses, read).await
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        let read = |tables: &Tables, _| {
            let state = tables.accounts.get(&customer_row(&key.tenant, &key.id))?;
            Some(Account {
                key: key.clone(),
                currency: state.currency,
                status: state.status,
                balance: Money::new(state.balance, state.currency),
                held: Money::new(state.held, state.currency),
            })
        };
        self.read(Call::Account, read).await
    }
}

impl JanitorLedger for MemoryLedger {
    async fn traces(
        &self,
        keys: &[(String, String)],
        age: Duration,
    ) -> Result<HashMap<usize, Trace>, StoreError> {
        let look = |state: &mut State, now| {
            without_zero_bytes(keys.iter().flat_map(|(tenant, id)| [tenant, id]))?;
            for key in keys {
                match state.looks.get_mut(key) {
                    Some(looks) => *looks += 1,
                    None => drop(state.looks.insert(key.clone(), 1)),
                }
            }
            let trace = |key| trace(&state.tables, key, now, age);
            Ok(keys.iter().enumerate().filter_map(|(place, key)| Some((place, trace(key)?))).collect())
        };
        self.query(Call::Traces, look).await
    }

    async fn records(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
        let read = |state: &mut State, _| {
            let record =
                |key: &PaymentKey| Ok(state.tables.record(key)?.map(|record| (key.clone(), record.clone())));
            keys.iter().map(record).filter_map(Result::transpose).collect()
        };
        self.query(Call::Records, read).await
    }

    async fn holds_watermark(&self) -> Result<Timestamp, StoreError> {
        self.read(Call::HoldsWatermark, |tables, _| watermark(tables)).await
    }

    async fn young_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
    ) -> Result<HoldPage, StoreError> {
        let read = |tables: &Tables, now| {
            let from = after.max(earlier(now, age + COMMIT_DELAY));
            page(tables, after, from, earlier(now, age), rows_max).0
        };
        self.read(Call::YoungHolds, read).await
    }

    async fn late_holds(
        &self,
        after: Timestamp,
        age: Duration,
        rows_max: u32,
        known: Timestamp,
    ) -> Result<HoldPage, StoreError> {
        let step = |state: &mut State, now| {
            let tables = &mut state.tables;
            let (page, has_rows) = page(tables, after, after, earlier(now, age + COMMIT_DELAY), rows_max);
            tables.remember(&page.holds);
            if has_rows && watermark(tables) >= known {
                tables.watermark = tables.watermark.max(Some(page.read_to));
            }
            Ok(HoldPage { watermark: Some(watermark(tables)), ..page })
        };
        self.query(Call::LateHolds, step).await
    }

    async fn remembered_holds(
        &self,
        after: Option<&PaymentKey>,
        rows_max: u32,
    ) -> Result<Vec<OpenHold>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let read = |tables: &Tables, _| {
            let lines = tables.lines.range((after.map_or(Unbounded, Excluded), Unbounded));
            let hold =
                |(key, held_at): (&PaymentKey, &Timestamp)| OpenHold { key: key.clone(), held_at: *held_at };
            lines.take(usize::try_from(rows_max).unwrap_or(usize::MAX)).map(hold).collect()
        };
        self.read(Call::RememberedHolds, read).await
    }

    async fn still_held(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, bool>, StoreError> {
        let read = |tables: &Tables, _| {
            let is_held = |key: &&PaymentKey| {
                let row = tables.payments.get(key);
                row.is_some_and(|row| matches!(row.record.state, RecordState::Reserved(_)))
            };
            let is_dead = |key: &PaymentKey| tables.open_letters(&names(key)).next().is_some();
            keys.iter().filter(is_held).map(|key| (key.clone(), is_dead(key))).collect()
        };
        self.read(Call::StillHeld, read).await
    }

    async fn forget_holds(&self, keys: &[PaymentKey]) -> Result<(), StoreError> {
        let forget = |state: &mut State, _| {
            state.tables.forget(keys);
            Ok(())
        };
        self.query(Call::ForgetHolds, forget).await
    }
}

/// One step of a scan over the rows recorded after `from`, and whether it met any.
fn page(
    tables: &Tables,
    after: Timestamp,
    from: Timestamp,
    until: Timestamp,
    rows_max: u32,
) -> (HoldPage, bool) {
    let rows = tables.recorded_between(from, until, rows_max);
    let is_full = rows.len() as u64 >= u64::from(rows_max);
    let read_to = rows.last().filter(|_| is_full).map_or(after.max(until), |last| last.recorded_at);
    let hold = |row: &&PaymentRow| match &row.record.state {
        RecordState::Reserved(reserved) => {
            Some(OpenHold { key: row.record.facts.payment.key(), held_at: reserved.at })
        }
        RecordState::Captured { .. } | RecordState::Failed { .. } => None,
    };
    let holds = rows.iter().filter_map(hold).collect();
    (HoldPage { read_to, is_full, holds, watermark: None }, !rows.is_empty())
}

/// Where the late scan stands.
fn watermark(tables: &Tables) -> Timestamp {
    Timestamp::from_micros(tables.watermark.unwrap_or_default().micros() - 1)
}

fn trace(tables: &Tables, key: &(String, String), now: Timestamp, age: Duration) -> Option<Trace> {
    let parsed = (Tenant::parse(key.0.as_str()), PaymentId::parse(key.1.as_str()));
    let row = match parsed {
        (Ok(tenant), Ok(id)) => tables.payments.get(&PaymentKey { tenant, id }),
        // No row has such a key.
        _ => None,
    };
    match row {
        Some(row) => Some(Trace::Recorded { wait: wait(row.recorded_at, now, age) }),
        None => {
            let buried_at = tables.open_letters(key).map(|letter| letter.at).min()?;
            Some(Trace::Dead { wait: wait(buried_at, now, age) })
        }
    }
}

/// How long it takes until what was written at this instant is so old, in whole milliseconds.
fn wait(at: Timestamp, now: Timestamp, age: Duration) -> Duration {
    let micros = at.micros().saturating_sub(now.micros());
    let rounded = (micros.saturating_abs() + 500) / 1_000 * micros.signum();
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Duration::from_millis(u64::try_from(rounded.saturating_add(age)).unwrap_or(0))
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.micros().saturating_sub(by))
}

fn without_zero_bytes<'t>(mut texts: impl Iterator<Item = &'t String>) -> Result<(), StoreError> {
    if texts.any(|text| text.contains('\0')) { Err(objection::zero_byte().into()) } else { Ok(()) }
}
