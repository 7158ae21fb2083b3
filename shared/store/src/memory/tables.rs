//! The tables in memory, and what a COMMIT does to them.

use crate::locks::{AccountRow, AccountState};
use crate::operations::Recorded;
use crate::posting::{Operation, OperationKind};
use crate::settlements::ended_state;
use crate::{DeadLetter, OpenDeadLetter, OpenHold, StoreError};
use domain::facts::{RecordState, Reserved};
use domain::ledger::{AccountStatus, LedgerAccount};
use domain::{Currency, Money, OperationId, PaymentKey, PaymentRecord, Refusal, Tenant, Timestamp};
use std::collections::BTreeMap;

/// All that the ledger has.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) accounts: BTreeMap<AccountRow, AccountState>,
    pub(super) payments: BTreeMap<PaymentKey, PaymentRow>,
    /// The payments in the order in which they were recorded.
    recorded: BTreeMap<(Timestamp, u64), PaymentKey>,
    last_recorded: u64,
    pub(super) deposits: BTreeMap<(Tenant, OperationId), Recorded>,
    /// The entries of each operation, in the order in which they were written.
    pub(super) entries: BTreeMap<(OperationKind, Tenant, String), Vec<EntryLine>>,
    /// By tenant and id as far as the subject gave them.
    letters: BTreeMap<(String, String), Vec<Letter>>,
    pub(super) lines: BTreeMap<PaymentKey, Timestamp>,
    pub(super) watermark: Option<Timestamp>,
}

/// A row of `payments`.
#[derive(Debug, Clone)]
pub(super) struct PaymentRow {
    pub(super) record: PaymentRecord,
    pub(super) recorded_at: Timestamp,
    /// As by a build that this one does not understand.
    is_unreadable: bool,
}

/// A row of `entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryLine {
    /// Whose balance changed.
    pub account: LedgerAccount,
    /// Its place in the account's statement, from 1.
    pub number: i64,
    /// By how much.
    pub amount: Money,
    /// The account's balance after it, in minor units.
    pub balance_after: i64,
    /// When it was posted.
    pub posted_at: Timestamp,
}

/// A row of `accounts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountView {
    /// Its one currency.
    pub currency: Currency,
    /// Whether money may leave it.
    pub status: AccountStatus,
    /// In minor units.
    pub balance: i64,
    /// What its row says that open holds keep back, in minor units.
    pub held: i64,
    /// How many entries its row says that it has.
    pub entry_count: i64,
}

impl From<&AccountState> for AccountView {
    fn from(state: &AccountState) -> AccountView {
        let AccountState { currency, status, balance, held, entry_count } = *state;
        AccountView { currency, status, balance, held, entry_count }
    }
}

/// A row of `dead_letters`.
#[derive(Debug, Clone)]
struct Letter {
    told: OpenDeadLetter,
    stream: String,
    seq: u64,
    is_open: bool,
}

/// What a transaction has written, seen by nobody before its COMMIT.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: OperationKind,
    pub(super) operations: Vec<Operation>,
    /// When it was posted.
    pub(super) at: Timestamp,
    /// New payments, and when each was recorded.
    pub(super) inserted: Vec<(PaymentRecord, Timestamp)>,
    pub(super) ended: Vec<(PaymentKey, Option<Refusal>)>,
    pub(super) deposits: Vec<((Tenant, OperationId), Recorded)>,
}

impl Change {
    /// What operations of this kind do to balances and holds.
    pub(super) fn of(kind: OperationKind, operations: &[Operation], at: Timestamp) -> Change {
        let operations = operations.to_vec();
        Change { kind, operations, at, inserted: Vec::new(), ended: Vec::new(), deposits: Vec::new() }
    }
}

impl Tables {
    /// Carries out what a transaction has written.
    pub(super) fn apply(&mut self, change: Change) {
        for (record, recorded_at) in change.inserted {
            self.put(record, recorded_at);
        }
        for (key, refusal) in change.ended {
            let Some(row) = self.payments.get_mut(&key) else { continue };
            if let Some(reserved) = hold_of(&row.record.state) {
                row.record.state = ended_state(reserved, refusal, change.at);
            }
        }
        self.deposits.extend(change.deposits);
        for operation in change.operations {
            self.post(operation, change.kind, change.at);
        }
    }

    fn post(&mut self, operation: Operation, kind: OperationKind, posted_at: Timestamp) {
        let Operation { tenant, id, entries, hold } = operation;
        if let Some((account, minor)) = hold
            && let Some(state) = self.accounts.get_mut(&(tenant.clone(), LedgerAccount::customer(&account)))
        {
            state.held = state.held.saturating_add(minor);
        }
        if entries.is_empty() {
            return;
        }
        let lines = self.entries.entry((kind, tenant.clone(), id)).or_default();
        for line in entries {
            let row = (tenant.clone(), line.entry.account);
            if let Some(state) = self.accounts.get_mut(&row) {
                state.balance = state.balance.saturating_add(line.entry.amount.minor);
                state.entry_count += 1;
            }
            lines.push(EntryLine {
                account: row.1,
                number: line.number,
                amount: line.entry.amount,
                balance_after: line.balance_after,
                posted_at,
            });
        }
    }

    /// Puts a payment's row in the place of any that it has.
    pub(super) fn put(&mut self, record: PaymentRecord, recorded_at: Timestamp) {
        let key = record.facts.payment.key();
        self.lose(&key);
        self.last_recorded += 1;
        self.recorded.insert((recorded_at, self.last_recorded), key.clone());
        self.payments.insert(key, PaymentRow { record, recorded_at, is_unreadable: false });
    }

    /// Takes a payment's row away; whether it had one.
    pub(super) fn lose(&mut self, key: &PaymentKey) -> bool {
        let lost = self.payments.remove(key);
        if let Some(row) = &lost {
            let first = (row.recorded_at, 0);
            let places = self.recorded.range(first..).take_while(|((at, _), _)| *at == row.recorded_at);
            let place = places.filter(|(_, recorded)| *recorded == key).map(|(place, _)| *place).next();
            place.map(|place| self.recorded.remove(&place));
        }
        lost.is_some()
    }

    /// No build of ours can read the payment's row any more; whether it has one.
    pub(super) fn make_unreadable(&mut self, key: &PaymentKey) -> bool {
        self.payments.get_mut(key).map(|row| row.is_unreadable = true).is_some()
    }

    /// What a payment's row says.
    pub(super) fn record(&self, key: &PaymentKey) -> Result<Option<&PaymentRecord>, StoreError> {
        match self.payments.get(key) {
            Some(row) if row.is_unreadable => Err(StoreError::Corrupt("payments.status".to_owned())),
            row => Ok(row.map(|row| &row.record)),
        }
    }

    /// Opens an account, if there is none by this name.
    pub(super) fn open(&mut self, row: AccountRow, currency: Currency) {
        let status = AccountStatus::Active;
        self.accounts.entry(row).or_insert(AccountState {
            currency,
            status,
            balance: 0,
            held: 0,
            entry_count: 0,
        });
    }

    /// The payments recorded after one instant and up to another, in that order: at most `rows_max`, and
    /// those of the last one's instant.
    pub(super) fn recorded_between(
        &self,
        after: Timestamp,
        until: Timestamp,
        rows_max: u32,
    ) -> Vec<&PaymentRow> {
        let mut page: Vec<&PaymentRow> = Vec::new();
        if after >= until {
            return page;
        }
        let range = (after, u64::MAX)..=(until, u64::MAX);
        for row in self.recorded.range(range).filter_map(|(_, key)| self.payments.get(key)) {
            let is_full = page.len() as u64 >= u64::from(rows_max);
            if is_full && page.last().is_some_and(|last| last.recorded_at != row.recorded_at) {
                break;
            }
            page.push(row);
        }
        page
    }

    /// Writes a dead letter; the same delivery again changes nothing.
    pub(super) fn bury(&mut self, letter: &DeadLetter, at: Timestamp) {
        let letters = self.letters.entry((letter.tenant.clone(), letter.id.clone())).or_default();
        let is_same = |other: &Letter| {
            other.told.stage == letter.stage && other.stream == letter.stream && other.seq == letter.seq
        };
        if letters.iter().any(is_same) {
            return;
        }
        let told = OpenDeadLetter {
            stage: letter.stage.to_owned(),
            reason: letter.reason.clone(),
            payload: letter.payload.clone(),
            at,
        };
        letters.push(Letter { told, stream: letter.stream.clone(), seq: letter.seq, is_open: true });
    }

    /// The open letters of a payment, oldest first.
    pub(super) fn open_letters(&self, key: &(String, String)) -> impl Iterator<Item = &OpenDeadLetter> {
        let letters = self.letters.get(key).into_iter().flatten();
        letters.filter(|letter| letter.is_open).map(|letter| &letter.told)
    }

    /// The payments with an open letter.
    pub(super) fn buried(&self) -> impl Iterator<Item = &(String, String)> {
        let open = self.letters.iter().filter(|(_, letters)| letters.iter().any(|letter| letter.is_open));
        open.map(|(key, _)| key)
    }

    /// Resolves the letters of a payment; how many were open.
    pub(super) fn resolve(&mut self, key: &(String, String)) -> usize {
        let mut resolved = 0;
        for letter in self.letters.get_mut(key).into_iter().flatten() {
            resolved += usize::from(std::mem::take(&mut letter.is_open));
        }
        resolved
    }

    /// What is held, as a line of `open_holds` has it.
    pub(super) fn remember(&mut self, holds: &[OpenHold]) {
        for hold in holds {
            self.lines.entry(hold.key.clone()).or_insert(hold.held_at);
        }
    }

    /// Takes lines of `open_holds` away.
    pub(super) fn forget(&mut self, keys: &[PaymentKey]) {
        for key in keys {
            self.lines.remove(key);
        }
    }
}

/// A payment's tenant and id, as dead letters are found by.
pub(super) fn names(key: &PaymentKey) -> (String, String) {
    (key.tenant.to_string(), key.id.to_string())
}

/// The hold that a payment has, or had.
pub(super) fn hold_of(state: &RecordState) -> Option<Reserved> {
    match state {
        RecordState::Reserved(reserved) | RecordState::Captured { reserved, .. } => Some(reserved.clone()),
        RecordState::Failed { screening, quote, reserved_at, .. } => {
            Some(Reserved { screening: screening.clone()?, quote: quote.clone()?, at: (*reserved_at)? })
        }
    }
}
