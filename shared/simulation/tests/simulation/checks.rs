//! What must be true of every run, whatever has gone wrong in it: pure, over what clients have met and the
//! truth at the end.

use crate::history::{Answer, Deed, Heard, Records, Request, Says, Standing, Status, Turn};
use domain::facts::RecordState;
use domain::{Fingerprint, PaymentRecord};
use std::collections::{BTreeMap, BTreeSet};
use wire::envelope;
use wire::message::PaymentAccepted;

/// What there really is when a run has ended.
pub(crate) trait Truth {
    /// A payment's row.
    fn record(&self, id: &str) -> Option<PaymentRecord>;

    /// The message of its open dead letter.
    fn letter(&self, id: &str) -> Option<Vec<u8>>;

    /// How it stands.
    fn standing(&self, id: &str) -> Standing;

    /// Every payment that has a row.
    fn recorded(&self) -> Vec<String>;
}

/// What was found wrong.
pub(crate) type Violations = Vec<String>;

/// Everything that is wrong with a run.
pub(crate) fn check<T: Truth>(records: &Records, truth: &T) -> Violations {
    let (mut found, by_id) = (Violations::new(), by_id(records));
    for (id, requests) in &by_id {
        let one = Payment { id, requests, set_back: &records.set_back };
        let (record, letter) = (truth.record(id), truth.letter(id));
        one.ends(truth.standing(id), record.as_ref(), letter.as_deref(), &mut found);
        one.is_of_one_content(record.as_ref(), letter.as_deref(), &mut found);
        one.was_answered_rightly(&mut found);
        one.was_never_lied_about(record.as_ref(), &mut found);
    }
    found.extend(forms(records));
    found.extend(nobodys(records, &by_id, truth));
    found
}

/// How many payments came to which end, of those that were accepted.
pub(crate) fn tally<T: Truth>(records: &Records, truth: &T) -> BTreeMap<&'static str, u64> {
    let mut tally = BTreeMap::new();
    let requests = records.requests.iter().filter(|request| is_accepted(request));
    let accepted: BTreeSet<&str> = requests.filter_map(Request::payment).collect();
    for id in accepted {
        let end = match truth.record(id).map(|record| status(&record.state)) {
            Some(Status::Captured) => "captured",
            Some(Status::Failed) => "failed",
            _ if truth.letter(id).is_some() => "buried",
            _ => "open",
        };
        *tally.entry("accepted").or_default() += 1;
        *tally.entry(end).or_default() += 1;
    }
    tally
}

fn by_id(records: &Records) -> BTreeMap<&str, Vec<&Request>> {
    let mut by_id: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in &records.requests {
        if let Some(id) = request.payment() {
            by_id.entry(id).or_default().push(request);
        }
    }
    by_id
}

fn status(state: &RecordState) -> Status {
    match state {
        RecordState::Reserved(_) => Status::Pending,
        RecordState::Captured { .. } => Status::Captured,
        RecordState::Failed { .. } => Status::Failed,
    }
}

fn is_accepted(request: &Request) -> bool {
    request.content().is_some() && request.answer().is_some_and(|answer| answer.status == 202)
}

/// The content of a letter's message; nothing where that is no payment.
fn content_of(letter: &[u8]) -> Option<Fingerprint> {
    envelope::decode::<PaymentAccepted>(letter).ok().map(|accepted| accepted.fingerprint)
}

/// One payment, as far as clients have met it.
struct Payment<'r> {
    id: &'r str,
    /// In the order in which they began.
    requests: &'r [&'r Request],
    set_back: &'r [Turn],
}

impl Payment<'_> {
    fn sent(&self) -> impl Iterator<Item = (&Request, Fingerprint)> {
        self.requests.iter().filter_map(|request| Some((*request, request.content()?)))
    }

    fn accepted(&self) -> impl Iterator<Item = (&Request, Fingerprint)> {
        self.sent().filter(|(request, _)| is_accepted(request))
    }

    fn was_set_back(&self, from: Turn, to: Turn) -> bool {
        self.set_back.iter().any(|turn| (from..=to).contains(turn))
    }

    /// What was accepted, or is there at all, has ended, or is buried. What was accepted is there.
    fn ends(
        &self,
        standing: Standing,
        record: Option<&PaymentRecord>,
        letter: Option<&[u8]>,
        found: &mut Violations,
    ) {
        let has_ended = record.is_some_and(|record| status(&record.state).is_final());
        if has_ended || letter.is_some() {
            return;
        }
        if self.accepted().next().is_some() && !standing.exists() {
            found.push(format!("{} was accepted and is lost", self.id));
        } else if self.accepted().next().is_some() || standing.exists() {
            found.push(format!("{} has not ended: {standing:?}", self.id));
        }
    }

    /// One content was accepted under the id, and is what the ledger has; no client was told otherwise.
    fn is_of_one_content(
        &self,
        record: Option<&PaymentRecord>,
        letter: Option<&[u8]>,
        found: &mut Violations,
    ) {
        let id = self.id;
        let accepted: BTreeSet<[u8; 32]> = self.accepted().map(|(_, content)| content.0).collect();
        if accepted.len() > 1 {
            found.push(format!("{id} was accepted with {} contents", accepted.len()));
        }
        let stored = record.map(|record| record.facts.fingerprint).or_else(|| content_of(letter?));
        let Some(stored) = stored else { return };
        if accepted.iter().any(|content| *content != stored.0) {
            found.push(format!("{id} was accepted with another content than the ledger has"));
        }
        if record.is_some_and(|record| record.facts.payment.fingerprint() != stored) {
            found.push(format!("{id} is recorded with another fingerprint than its content has"));
        }
        let may_be_stored = |(request, content): (&Request, Fingerprint)| {
            content == stored && !request.answer().is_some_and(Answer::is_refusal)
        };
        if !self.sent().any(may_be_stored) {
            found.push(format!("{id} is recorded with a content that nobody sent, or that was refused"));
        }
        let is_told_otherwise = |(request, content): (&Request, Fingerprint)| {
            content == stored && code(request) == Some("idempotency_mismatch")
        };
        if self.sent().any(is_told_otherwise) {
            found.push(format!("{id} was called a mismatch with the content that it has"));
        }
    }

    /// A mismatch or a replay is told only where something was sent before that can be the reason.
    fn was_answered_rightly(&self, found: &mut Violations) {
        for (request, content) in self.sent() {
            let Some(Heard { turn, answer, .. }) = &request.heard else { continue };
            let has_other = |is_equal: bool| {
                self.sent().any(|(other, others)| {
                    let is_refused = |heard: &Heard| heard.answer.is_refusal() && heard.turn < *turn;
                    !std::ptr::eq(other, request)
                        && other.turn < *turn
                        && (others == content) == is_equal
                        && !other.heard.as_ref().is_some_and(is_refused)
                })
            };
            if code(request) == Some("idempotency_mismatch") && !has_other(false) {
                found.push(format!("{} is a mismatch, and nothing else was sent", self.id));
            }
            if answer.is_replayed && !has_other(true) {
                found.push(format!("{} is replayed, and was not sent before", self.id));
            }
            if let Some(told) = answer.id.as_deref().filter(|told| *told != self.id) {
                found.push(format!("{} is answered as {told}", self.id));
            }
        }
    }

    /// Whatever was said of it was so.
    fn was_never_lied_about(&self, record: Option<&PaymentRecord>, found: &mut Violations) {
        let mut answered: Vec<(&Request, &Heard)> = self
            .requests
            .iter()
            .filter(|request| !matches!(request.deed, Deed::Sent(Err(_))))
            .filter_map(|request| Some((*request, request.heard.as_ref()?)))
            .collect();
        for (request, heard) in &answered {
            self.is_so(request, heard, found);
            self.is_as_recorded(request, heard, record, found);
        }
        // By when each was heard, so that what comes later knows it.
        answered.sort_by_key(|(_, heard)| heard.turn);
        self.is_never_taken_back(&answered, found);
    }

    /// What is said was so at some instant between question and answer.
    fn is_so(&self, request: &Request, heard: &Heard, found: &mut Violations) {
        let id = self.id;
        let (before, after) = (request.standing, heard.standing);
        if heard.answer.status == 404 && before.exists() {
            found.push(format!("{id} is not found, and was there: {before:?}"));
        }
        let Some(says) = &heard.answer.says else { return };
        if !after.exists() {
            found.push(format!("{id} is told as {:?}, and is nowhere", says.status));
        }
        if self.was_set_back(request.turn, heard.turn) {
            return;
        }
        match says.status {
            Status::Pending if before.ended.is_some() && is_told_as_it_stands(request, heard) => {
                found.push(format!("{id} is told as pending, and had ended before: {before:?}"));
            }
            Status::Captured | Status::Failed if after.ended != Some(says.status) => {
                found.push(format!("{id} is told as {:?}, and stands so: {after:?}", says.status));
            }
            _ => {}
        }
    }

    /// An end that was told is the end.
    fn is_as_recorded(
        &self,
        request: &Request,
        heard: &Heard,
        record: Option<&PaymentRecord>,
        found: &mut Violations,
    ) {
        let Some(says) = heard.answer.says.as_ref().filter(|says| says.status.is_final()) else { return };
        if self.was_set_back(request.turn, Turn::MAX) {
            return;
        }
        let recorded = record.map(of_record);
        if recorded.as_ref() != Some(says) {
            found.push(format!("{} was told as {says:?}, and is recorded as {recorded:?}", self.id));
        }
    }

    /// What is known to be there stays, and an end stays the end.
    fn is_never_taken_back(&self, answered: &[(&Request, &Heard)], found: &mut Violations) {
        let id = self.id;
        for (request, heard) in answered {
            let known = answered.iter().take_while(|(_, earlier)| earlier.turn < request.turn);
            let is_there = |(_, earlier): &(&Request, &Heard)| matches!(earlier.answer.status, 200 | 202);
            if heard.answer.status == 404 && known.clone().any(is_there) {
                found.push(format!("{id} is not found, and somebody was told of it before"));
            }
            let Some(says) = &heard.answer.says else { continue };
            let end = |(asked, earlier): &(&Request, &Heard)| {
                let end = earlier.answer.says.clone().filter(|says| says.status.is_final())?;
                (!self.was_set_back(asked.turn, heard.turn)).then_some(end)
            };
            if is_told_as_it_stands(request, heard)
                && let Some(end) = known.filter_map(end).find(|end| end != says)
            {
                found.push(format!("{id} is told as {says:?}, and was told as {end:?} before"));
            }
        }
    }
}

/// Whether an answer tells how the payment stands: that of a payment that has just been accepted tells how it
/// begins.
fn is_told_as_it_stands(request: &Request, heard: &Heard) -> bool {
    request.deed == Deed::Asked || heard.answer.is_replayed
}

fn code(request: &Request) -> Option<&str> {
    request.answer()?.code.as_deref()
}

/// What a client is to be told of a row.
fn of_record(record: &PaymentRecord) -> Says {
    let quote = match &record.state {
        RecordState::Reserved(reserved) | RecordState::Captured { reserved, .. } => Some(&reserved.quote),
        RecordState::Failed { quote, .. } => quote.as_ref(),
    };
    let reason = match &record.state {
        RecordState::Failed { rejection, .. } => Some(rejection.reason.code().to_owned()),
        RecordState::Reserved(_) | RecordState::Captured { .. } => None,
    };
    let status = status(&record.state);
    let stage = if status.is_final() { "finished" } else { "reserved" }.to_owned();
    let destination_amount = quote.map(|quote| quote.destination_amount.to_decimal_string());
    Says { status, stage, reason, destination_amount }
}

/// What is wrong in form is refused for that, and nothing else is.
fn forms(records: &Records) -> Violations {
    let wrong = |request: &Request| {
        let answer = request.answer()?;
        let is_right = match (&request.deed, answer.status) {
            (Deed::Sent(Err(expected)), 400 | 422) => answer.code.as_deref() == Some(expected),
            (Deed::Sent(Ok(_)), 422) => answer.code.as_deref() == Some("idempotency_mismatch"),
            (Deed::Sent(Ok(_)), 202) | (Deed::Asked, 200 | 404) | (_, 503) => true,
            _ => false,
        };
        (!is_right).then(|| format!("{:?} is answered {answer}", request.deed))
    };
    records.requests.iter().filter_map(wrong).collect()
}

/// Nothing is in the ledger that nobody sent; what was sent without a name is there once at most.
fn nobodys<T: Truth>(records: &Records, by_id: &BTreeMap<&str, Vec<&Request>>, truth: &T) -> Violations {
    let mut nameless: BTreeSet<[u8; 32]> = records
        .requests
        .iter()
        .filter(|request| request.payment().is_none())
        .filter_map(|request| Some(request.content()?.0))
        .collect();
    let mut found = Violations::new();
    for id in truth.recorded() {
        // What is recorded under an id that clients know is judged with it.
        if by_id.contains_key(id.as_str()) {
            continue;
        }
        let content = truth.record(&id).map(|record| record.facts.fingerprint.0);
        if !content.is_some_and(|content| nameless.remove(&content)) {
            found.push(format!("{id} is in the ledger, and nobody sent it"));
        }
    }
    found
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
