//! The transactions that are open, and who holds which lock. A lock is held to its transaction's end, so who
//! needs it waits for that transaction, and who waits in a circle is found by walking along.

use crate::locks::AccountRow;
use crate::memory::tables::Change;
use domain::{OperationId, PaymentKey, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What a transaction may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lockable {
    /// A row of an account.
    Account(AccountRow),
    /// The row of a payment.
    Payment(PaymentKey),
    /// The key of a payment whose row it inserts.
    NewPayment(PaymentKey),
    /// The key of a deposit that it inserts.
    NewDeposit(Tenant, OperationId),
}

/// How taking a lock went.
pub(super) enum Taken {
    /// It is this transaction's.
    Held,
    /// The transaction that holds it has yet to end.
    After(OwnedNotified),
    /// The one that holds it waits for this one.
    Circle,
    /// This transaction has been ended from outside.
    Ended,
}

/// An open transaction.
#[derive(Debug, Default)]
struct Open {
    locks: Vec<Arc<Lockable>>,
    waits_for: Option<u64>,
    ended: Arc<Notify>,
    change: Option<Change>,
}

/// All of them, by their number.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    last: u64,
    open: BTreeMap<u64, Open>,
    locks: BTreeMap<Arc<Lockable>, u64>,
    circles: usize,
}

impl Transactions {
    /// Begins one.
    pub(super) fn begin(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Open::default());
        self.last
    }

    /// Takes a lock if nobody else holds it; whether it is this transaction's now. Nothing where that has been
    /// ended.
    pub(super) fn take_free(&mut self, number: u64, key: &Arc<Lockable>) -> Option<bool> {
        let own = self.open.get_mut(&number)?;
        own.waits_for = None;
        match self.locks.get(key) {
            Some(holder) => Some(*holder == number),
            None => {
                own.locks.push(Arc::clone(key));
                self.locks.insert(Arc::clone(key), number);
                Some(true)
            }
        }
    }

    /// Takes a lock, or begins to wait for whoever holds it.
    pub(super) fn take(&mut self, number: u64, key: &Arc<Lockable>) -> Taken {
        match self.take_free(number, key) {
            None => return Taken::Ended,
            Some(true) => return Taken::Held,
            Some(false) => {}
        }
        let holder = self.locks.get(key).copied().unwrap_or_default();
        if self.waits(holder, number) {
            self.circles += 1;
            return Taken::Circle;
        }
        let ended = self.open.get(&holder).map(|open| Arc::clone(&open.ended)).unwrap_or_default();
        if let Some(own) = self.open.get_mut(&number) {
            own.waits_for = Some(holder);
        }
        Taken::After(ended.notified_owned())
    }

    /// Whether this transaction waits, directly or by others, for that one.
    fn waits(&self, number: u64, other: u64) -> bool {
        let next = |number: &u64| self.open.get(number).and_then(|open| open.waits_for);
        std::iter::successors(Some(number), next).take(self.open.len()).any(|number| number == other)
    }

    /// Gives up waiting.
    pub(super) fn gives_up(&mut self, number: u64) {
        if let Some(open) = self.open.get_mut(&number) {
            open.waits_for = None;
        }
    }

    /// Whether this transaction holds this lock.
    pub(super) fn holds(&self, number: u64, key: &Lockable) -> bool {
        self.locks.get(key) == Some(&number)
    }

    /// Keeps what this transaction writes, until it commits; nothing where it has been ended.
    pub(super) fn write(&mut self, number: u64, change: Change) -> Option<()> {
        self.open.get_mut(&number)?.change = Some(change);
        Some(())
    }

    /// Ends it and lets go of its locks; what it has written. Nothing where it has ended already.
    pub(super) fn end(&mut self, number: u64) -> Option<Option<Change>> {
        let ended = self.open.remove(&number)?;
        for key in &ended.locks {
            self.locks.remove(key);
        }
        ended.ended.notify_waiters();
        Some(ended.change)
    }

    /// Ends all of them; nothing of what they have written stays.
    pub(super) fn end_all(&mut self) {
        while let Some((number, _)) = self.open.first_key_value() {
            self.end(*number);
        }
    }

    /// How many are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many locks are held.
    pub(super) fn lock_count(&self) -> usize {
        self.locks.len()
    }

    /// How often transactions waited for each other in a circle.
    pub(super) fn circle_count(&self) -> usize {
        self.circles
    }
}
