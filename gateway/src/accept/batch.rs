//! The requests of a batch, and what becomes of their payments.

use super::{Acceptance, Submission, Unaccepted};
use domain::{Fingerprint, PaymentKey};
use std::collections::HashMap;
use store::Known;
use wire::message::PaymentAccepted;
use wire::{Code, envelope};

/// What became of one payment: what is stored under its id now, or why that is not known.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Stored { fingerprint: Fingerprint, by_us: bool },
    Failed(Unaccepted),
}

/// A payment of a batch: the request that came first, those with the same id, and what became of it.
struct Asked {
    first: Submission,
    same: Vec<Submission>,
    fate: Option<Fate>,
}

/// The requests of a batch by payment, and what became of each payment. Payments stand in the order in which
/// they came, are stored so, and are answered so.
pub(super) struct Batch {
    payments: Vec<Asked>,
    places: HashMap<PaymentKey, usize>,
}

impl Batch {
    pub(super) fn of(submissions: Vec<Submission>) -> Batch {
        let mut payments: Vec<Asked> = Vec::with_capacity(submissions.len());
        let mut places = HashMap::with_capacity(submissions.len());
        for submission in submissions {
            let place = *places.entry(submission.payment.key()).or_insert(payments.len());
            match payments.get_mut(place) {
                Some(asked) => asked.same.push(submission),
                None => payments.push(Asked { first: submission, same: Vec::new(), fate: None }),
            }
        }
        Batch { payments, places }
    }

    /// The first request of each payment that has no fate yet.
    pub(super) fn open(&self) -> Vec<&Submission> {
        self.payments.iter().filter(|asked| asked.fate.is_none()).map(|asked| &asked.first).collect()
    }

    /// The payments that have no fate yet.
    pub(super) fn open_keys(&self) -> Vec<PaymentKey> {
        self.open().into_iter().map(|submission| submission.payment.key()).collect()
    }

    /// Says what became of a payment; of one that is not of this batch it is nothing to anyone.
    pub(super) fn decide(&mut self, key: &PaymentKey, fate: Fate) {
        if let Some(asked) = self.places.get(key).and_then(|place| self.payments.get_mut(*place)) {
            asked.fate = Some(fate);
        }
    }

    pub(super) fn answer(self) {
        for Asked { first, same, fate } in self.payments {
            let fate = fate.unwrap_or(Fate::Failed(Unaccepted::Failed(Code::Unavailable)));
            let is_first = std::iter::once(true).chain(std::iter::repeat(false));
            for (submission, is_first) in std::iter::once(first).chain(same).zip(is_first) {
                let acceptance = match &fate {
                    Fate::Failed(why) => Acceptance::Failed(*why),
                    Fate::Stored { fingerprint, .. } if *fingerprint != submission.fingerprint => {
                        Acceptance::Mismatch
                    }
                    Fate::Stored { by_us: true, .. } if is_first => Acceptance::Accepted,
                    Fate::Stored { .. } => Acceptance::Replayed,
                };
                // The client may have gone; the payment's fate does not depend on it.
                let _ = submission.answer.send(acceptance);
            }
        }
    }
}

pub(super) fn fate_of(known: &Known) -> Fate {
    match known {
        Known::Recorded(fingerprint) => Fate::Stored { fingerprint: *fingerprint, by_us: false },
        Known::Dead(payload) => fate_of_payload(payload),
    }
}

pub(super) fn fate_of_payload(payload: &[u8]) -> Fate {
    Fate::Stored { fingerprint: fingerprint_of(payload), by_us: false }
}

/// Every message on the way carries what was accepted. Something else under the subject is at any rate not
/// this request.
pub(super) fn fingerprint_of(payload: &[u8]) -> Fingerprint {
    envelope::decode::<PaymentAccepted>(payload).map_or(Fingerprint([0; 32]), |accepted| accepted.fingerprint)
}
