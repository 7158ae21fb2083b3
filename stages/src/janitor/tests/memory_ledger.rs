//! The ledger in memory as these tests use it: rows and letters are put there, and time is told.

use domain::facts::{Quote, RecordState, Reserved, Screening};
use domain::{AccountId, Currency, Facts, Money, Payment, PaymentKey, PaymentRecord, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use store::DeadLetter;
use store::memory::{Backup, Happening, MemoryLedger, MemoryOptions, Step, Strike, Weather};

/// A ledger, what time it has, and when it is away.
pub(super) struct Ledger {
    pub(super) memory: MemoryLedger,
    now: Arc<AtomicI64>,
    outage: Arc<Outage>,
}

/// So many calls until the ledger is away, if it is to be.
#[derive(Default)]
struct Outage(Mutex<Option<usize>>);

impl Weather for Outage {
    fn at(&self, _: Step) -> Happening {
        let mut calls_left = self.0.lock().unwrap();
        let strike = match &mut *calls_left {
            Some(0) => Some(Strike::Cut),
            Some(calls) => {
                *calls -= 1;
                None
            }
            None => None,
        };
        Happening { strike, ..Happening::default() }
    }
}

/// A payment whose money was held at this instant, with a description of so many bytes.
pub(super) fn held(key: &PaymentKey, at: Timestamp, bytes: usize) -> PaymentRecord {
    let amount = Money::new(5, Currency::EUR);
    let payment = Payment {
        tenant: key.tenant.clone(),
        id: key.id.clone(),
        source_account: AccountId::parse("S").unwrap(),
        destination_account: AccountId::parse("D").unwrap(),
        amount,
        destination_currency: None,
        description: Some("x".repeat(bytes)),
        metadata: None,
    };
    let quote = Quote { destination_amount: amount, conversion: None, at };
    PaymentRecord {
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: at },
        state: RecordState::Reserved(Reserved { screening: Screening { score: 1, at }, quote, at }),
        trace: Some(super::TRACE),
    }
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        let (now, outage) = (Arc::new(AtomicI64::new(0)), Arc::new(Outage::default()));
        let clock = Arc::clone(&now);
        let options =
            MemoryOptions::new(Arc::new(move || Timestamp::from_micros(clock.load(Ordering::SeqCst))));
        let weather = Arc::clone(&outage) as Arc<dyn Weather>;
        Ledger { memory: MemoryLedger::new(MemoryOptions { weather, ..options }), now, outage }
    }

    pub(super) fn set_now(&self, now: Timestamp) {
        self.now.store(now.micros(), Ordering::SeqCst);
    }

    pub(super) fn record(&self, record: PaymentRecord, recorded_at: Timestamp, is_readable: bool) {
        let key = record.facts.payment.key();
        self.memory.put_record(record, recorded_at);
        assert!(is_readable || self.memory.make_unreadable(&key));
    }

    /// The payment has no row any more, as in a ledger that was restored to an older state.
    pub(super) fn lose(&self, key: &PaymentKey) {
        assert!(self.memory.lose_record(key));
    }

    /// What there is now, to be restored later.
    pub(super) fn backup(&self) -> Backup {
        self.memory.backup()
    }

    /// Everything is again as it was then.
    pub(super) fn restore(&self, backup: &Backup) {
        self.memory.restore(backup);
    }

    /// How often the payment that was looked for most was.
    pub(super) fn looks_max(&self) -> u64 {
        self.memory.looks_max()
    }

    /// The payment's money has moved.
    pub(super) fn capture(&self, key: &PaymentKey, finished_at: Timestamp) {
        let capture = |record: &mut PaymentRecord| {
            if let RecordState::Reserved(reserved) = record.state.clone() {
                record.state = RecordState::Captured { reserved, finished_at };
            }
        };
        assert!(self.memory.change_record(key, capture));
    }

    /// A delivery of a payment is buried, each time another one.
    pub(super) fn bury(&self, (tenant, id): (String, String), at: Timestamp) {
        let seq = u64::try_from(at.micros()).unwrap();
        let (stage, stream, reason) = ("fx", "SCREENED".to_owned(), "a test".to_owned());
        let letter = DeadLetter { tenant, id, stage, stream, seq, reason, payload: Vec::new() };
        self.memory.put_letter(&letter, at);
    }

    /// Someone has resolved a payment's letter.
    pub(super) fn resolve(&self, (tenant, id): &(String, String)) {
        assert_eq!(self.memory.resolve_letters(tenant, id), 1);
    }

    /// Someone has resolved all letters.
    pub(super) fn resolve_letters(&self) {
        for letter in self.memory.buried() {
            self.resolve(&letter);
        }
    }

    /// The ids of the holds that have a line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.memory.lines().iter().map(|hold| hold.key.id.to_string()).collect()
    }

    /// After so many more calls every call fails; none does when nothing is said.
    pub(super) fn set_outage_after(&self, calls: Option<usize>) {
        *self.outage.0.lock().unwrap() = calls;
    }
}
