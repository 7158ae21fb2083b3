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

/// The requests of a batch by payment, and what became of each payment. Payments stand in the order in which
/// they came, are stored so, and are answered so.
pub(super) struct Batch {
    requests: Vec<(PaymentKey, Vec<Submission>)>,
    pub(super) fates: HashMap<PaymentKey, Fate>,
}

impl Batch {
    pub(super) fn of(submissions: Vec<Submission>) -> Batch {
        let mut requests: Vec<(PaymentKey, Vec<Submission>)> = Vec::with_capacity(submissions.len());
        let mut places = HashMap::with_capacity(submissions.len());
        for submission in submissions {
            let key = submission.payment.key();
            let place = *places.entry(key.clone()).or_insert(requests.len());
            match requests.get_mut(place) {
                Some((_, same)) => same.push(submission),
                None => requests.push((key, vec![submission])),
            }
        }
        Batch { requests, fates: HashMap::new() }
    }

    /// The first request of each payment that has no fate yet.
    pub(super) fn open(&self) -> Vec<&Submission> {
        let undecided = self.requests.iter().filter(|(key, _)| !self.fates.contains_key(key));
        undecided.filter_map(|(_, same)| same.first()).collect()
    }

    pub(super) fn fail_open(&mut self, why: Unaccepted) {
        let keys: Vec<PaymentKey> = self.open().iter().map(|submission| submission.payment.key()).collect();
        self.fates.extend(keys.into_iter().map(|key| (key, Fate::Failed(why))));
    }

    pub(super) fn answer(self) {
        for (key, same) in self.requests {
            let unknown = Fate::Failed(Unaccepted::Failed(Code::Unavailable));
            let fate = self.fates.get(&key).cloned().unwrap_or(unknown);
            for (place, submission) in same.into_iter().enumerate() {
                let acceptance = match &fate {
                    Fate::Failed(why) => Acceptance::Failed(*why),
                    Fate::Stored { fingerprint, .. } if *fingerprint != submission.fingerprint => {
                        Acceptance::Mismatch
                    }
                    Fate::Stored { by_us: true, .. } if place == 0 => Acceptance::Accepted,
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
