use super::*;
use crate::history::Answer;
use domain::facts::{Quote, Rejection, Reserved, Screening};
use domain::{Facts, Payment as Sent, Refusal, StageName, Timestamp};

/// How a payment of these tests is recorded in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Reserved,
    Captured,
    Failed,
}

/// What a test says that there is.
#[derive(Clone, Default)]
struct Told {
    records: BTreeMap<String, PaymentRecord>,
    letters: BTreeMap<String, Vec<u8>>,
    intake: BTreeSet<String>,
}

impl Truth for Told {
    fn record(&self, id: &str) -> Option<PaymentRecord> {
        self.records.get(id).cloned()
    }

    fn letter(&self, id: &str) -> Option<Vec<u8>> {
        self.letters.get(id).cloned()
    }

    fn standing(&self, id: &str) -> Standing {
        let ended = self.records.get(id).map(|record| status(&record.state));
        Standing {
            is_in_ledger: self.records.contains_key(id) || self.letters.contains_key(id),
            is_in_intake: self.intake.contains(id),
            ended: ended.filter(|status| status.is_final()),
        }
    }

    fn recorded(&self) -> Vec<String> {
        self.records.keys().cloned().collect()
    }
}

fn payment(id: &str, amount: &str) -> Sent {
    serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": id, "source_account": "S", "destination_account": "D",
        "amount": { "currency": "USD", "value": amount }
    }))
    .unwrap()
}

fn content(amount: &str) -> Fingerprint {
    payment("P", amount).fingerprint()
}

fn letter(id: &str, amount: &str) -> Vec<u8> {
    let payment = payment(id, amount);
    let fingerprint = payment.fingerprint();
    envelope::encode(&PaymentAccepted { payment, fingerprint }).unwrap()
}

fn record(id: &str, amount: &str, row: Row) -> PaymentRecord {
    let (payment, at) = (payment(id, amount), Timestamp::from_micros(1));
    let quote = Quote { destination_amount: payment.amount, conversion: None, at };
    let reserved = Reserved { screening: Screening { score: 0, at }, quote, at };
    let state = match row {
        Row::Reserved => RecordState::Reserved(reserved),
        Row::Captured => RecordState::Captured { reserved, finished_at: at },
        Row::Failed => RecordState::Failed {
            screening: None,
            quote: None,
            reserved_at: None,
            rejection: Rejection {
                stage: StageName::Risk,
                reason: Refusal::RiskRejected,
                rules: Vec::new(),
                at,
            },
            finished_at: at,
        },
    };
    let facts = Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: at };
    PaymentRecord { facts, state, trace: None }
}

const NOWHERE: Standing = Standing { is_in_ledger: false, is_in_intake: false, ended: None };
const ACCEPTED: Standing = Standing { is_in_intake: true, ..NOWHERE };
const CAPTURED: Standing = Standing { is_in_ledger: true, is_in_intake: true, ended: Some(Status::Captured) };
const FAILED: Standing = Standing { ended: Some(Status::Failed), ..CAPTURED };

fn answer(status: u16, id: Option<&str>) -> Answer {
    Answer { status, is_replayed: false, id: id.map(str::to_owned), code: None, says: None }
}

fn problem(status: u16, code: &str) -> Answer {
    Answer { code: Some(code.to_owned()), ..answer(status, None) }
}

fn pending(status: u16, id: &str) -> Answer {
    let says = Says {
        status: Status::Pending,
        stage: "accepted".to_owned(),
        reason: None,
        destination_amount: None,
    };
    Answer { says: Some(says), ..answer(status, Some(id)) }
}

fn ended(id: &str, amount: &str, row: Row) -> Answer {
    Answer { says: Some(of_record(&record(id, amount, row))), ..answer(200, Some(id)) }
}

fn replayed(answer: Answer) -> Answer {
    Answer { is_replayed: true, ..answer }
}

/// A run as tests write it down.
#[derive(Clone, Default)]
struct Run {
    records: Records,
    told: Told,
}

impl Run {
    /// A request with its answer, and how the payment stood before and after.
    fn request(&mut self, deed: Deed, id: Option<&str>, before: Standing, heard: Option<(Answer, Standing)>) {
        let place = self.records.begin(deed, id.map(str::to_owned), 0, before);
        if let Some((answer, after)) = heard {
            self.records.hear(place, answer, after);
        }
    }

    fn sends(&mut self, id: &str, amount: &str, heard: (Answer, Standing)) {
        let before = if heard.0.is_replayed { heard.1 } else { NOWHERE };
        self.request(Deed::Sent(Ok(content(amount))), Some(id), before, Some(heard));
    }

    fn asks(&mut self, id: &str, before: Standing, heard: (Answer, Standing)) {
        self.request(Deed::Asked, Some(id), before, Some(heard));
    }

    fn is_set_back(&mut self) {
        let turn = self.records.turn();
        self.records.set_back.push(turn);
    }

    fn ends(&mut self, id: &str, amount: &str, row: Row) {
        self.told.records.insert(id.to_owned(), record(id, amount, row));
    }
}

/// A run in which everything is as it should be, and much has happened.
fn good() -> Run {
    let mut run = Run::default();
    let ok = |amount: &str| Deed::Sent(Ok(content(amount)));
    run.asks("NEVER", NOWHERE, (problem(404, "not_found"), NOWHERE));
    run.request(
        Deed::Sent(Err("missing_field")),
        Some("A"),
        NOWHERE,
        Some((problem(400, "missing_field"), NOWHERE)),
    );
    run.request(ok("1"), Some("A"), NOWHERE, None);
    run.sends("A", "1", (replayed(pending(202, "A")), ACCEPTED));
    run.sends("A", "2", (problem(422, "idempotency_mismatch"), ACCEPTED));
    run.asks("A", ACCEPTED, (pending(200, "A"), CAPTURED));
    run.asks("A", CAPTURED, (ended("A", "1", Row::Captured), CAPTURED));
    run.asks("A", CAPTURED, (problem(503, "unavailable"), CAPTURED));
    run.ends("A", "1", Row::Captured);
    run.sends("F", "1", (pending(202, "F"), FAILED));
    run.asks("F", FAILED, (ended("F", "1", Row::Failed), FAILED));
    run.ends("F", "1", Row::Failed);
    run.sends("D", "1", (pending(202, "D"), ACCEPTED));
    run.told.letters.insert("D".to_owned(), letter("D", "1"));
    // One that was never answered and is nowhere, and two without names: one that is answered, one that is not.
    run.sends("U", "1", (problem(503, "acceptance_unknown"), NOWHERE));
    run.request(ok("7"), None, NOWHERE, Some((pending(202, "fresh-1"), ACCEPTED)));
    run.request(ok("8"), None, NOWHERE, None);
    run.ends("fresh-1", "7", Row::Captured);
    run.ends("fresh-2", "8", Row::Captured);
    run
}

/// What is done to the good run, and what is said of it then.
type Corruption = (fn(&mut Run), &'static [&'static str]);

const CORRUPTIONS: [Corruption; 27] = [
    (|_| {}, &[]),
    // What was accepted ends once, as what it was.
    (|run| drop(run.told.records.remove("F")), &["F was accepted and is lost", "F was told as"]),
    (
        |run| {
            run.told.records.remove("fresh-1");
            run.told.intake.insert("fresh-1".to_owned());
        },
        &["fresh-1 has not ended"],
    ),
    (|run| run.ends("fresh-1", "7", Row::Reserved), &["fresh-1 has not ended"]),
    (|run| run.told.letters.clear(), &["D was accepted and is lost"]),
    (|run| run.told.intake.extend(["U".to_owned()]), &["U has not ended"]),
    (
        |run| run.ends("F", "2", Row::Failed),
        &["F was accepted with another content", "F is recorded with a content that nobody sent"],
    ),
    (
        |run| drop(run.told.letters.insert("D".to_owned(), letter("D", "3"))),
        &["D was accepted with another content", "D is recorded with a content that nobody sent"],
    ),
    (
        |run| run.told.records.get_mut("F").unwrap().facts.payment = payment("F", "2"),
        &["F is recorded with another fingerprint"],
    ),
    // What was refused, or never sent, is not there.
    (
        |run| {
            run.sends("X", "1", (problem(422, "idempotency_mismatch"), NOWHERE));
            run.ends("X", "1", Row::Captured);
        },
        &[
            "X is recorded with a content that nobody sent, or that was refused",
            "X was called a mismatch with the content that it has",
            "X is a mismatch, and nothing else was sent",
        ],
    ),
    (|run| run.ends("X", "1", Row::Captured), &["X is in the ledger, and nobody sent it"]),
    (|run| run.ends("NEVER", "1", Row::Captured), &["NEVER is recorded with a content that nobody sent"]),
    (|run| run.ends("fresh-3", "8", Row::Captured), &["fresh-3 is in the ledger, and nobody sent it"]),
    // One content under one id.
    (
        |run| run.sends("F", "2", (pending(202, "F"), FAILED)),
        &["F was accepted with 2 contents", "F was accepted with another content"],
    ),
    (
        |run| run.sends("F", "1", (problem(422, "idempotency_mismatch"), FAILED)),
        &["F was called a mismatch with the content", "F is a mismatch, and nothing else was sent"],
    ),
    (
        |run| {
            run.sends("N", "1", (replayed(pending(202, "N")), ACCEPTED));
            run.ends("N", "1", Row::Captured);
        },
        &["N is replayed, and was not sent before"],
    ),
    (
        |run| {
            run.sends("N", "1", (pending(202, "M"), ACCEPTED));
            run.ends("N", "1", Row::Captured);
        },
        &["N is answered as M"],
    ),
    // No status is a lie.
    (
        |run| run.asks("D", ACCEPTED, (problem(404, "not_found"), ACCEPTED)),
        &["D is not found, and was there", "D is not found, and somebody was told"],
    ),
    (
        |run| run.asks("D", NOWHERE, (problem(404, "not_found"), NOWHERE)),
        &["D is not found, and somebody was told of it before"],
    ),
    (
        |run| run.asks("A", CAPTURED, (pending(200, "A"), CAPTURED)),
        &["A is told as pending, and had ended before", "A is told as"],
    ),
    (|run| run.asks("A", ACCEPTED, (pending(200, "A"), ACCEPTED)), &["A is told as Says"]),
    (
        |run| run.asks("D", ACCEPTED, (ended("D", "1", Row::Captured), ACCEPTED)),
        &["D is told as Captured, and stands so", "D was told as"],
    ),
    (
        |run| run.asks("NEVER", NOWHERE, (pending(200, "NEVER"), NOWHERE)),
        &["NEVER is told as Pending, and is nowhere"],
    ),
    (|run| run.ends("A", "1", Row::Failed), &["A was told as"]),
    // A ledger that is set back takes an end back, and nothing else.
    (
        |run| {
            run.is_set_back();
            run.asks("A", ACCEPTED, (pending(200, "A"), ACCEPTED));
            run.asks("A", FAILED, (ended("A", "1", Row::Failed), FAILED));
            run.ends("A", "1", Row::Failed);
            run.asks("D", ACCEPTED, (problem(404, "not_found"), ACCEPTED));
        },
        &["D is not found, and was there", "D is not found, and somebody was told"],
    ),
    // Requests are refused for what is wrong with them.
    (
        |run| {
            run.request(
                Deed::Sent(Err("missing_field")),
                Some("A"),
                ACCEPTED,
                Some((pending(202, "A"), ACCEPTED)),
            )
        },
        &["Sent(Err(\"missing_field\")) is answered 202"],
    ),
    (
        |run| run.asks("A", CAPTURED, (problem(500, "internal"), CAPTURED)),
        &["Asked is answered 500 internal"],
    ),
];

#[test]
fn each_thing_that_is_wrong_with_a_run_is_found() {
    for (place, (corrupt, expected)) in CORRUPTIONS.into_iter().enumerate() {
        let mut run = good();
        corrupt(&mut run);
        let found = check(&run.records, &run.told);
        let is_expected = |text: &String| expected.iter().any(|expected| text.starts_with(expected));
        let unexpected: Vec<&String> = found.iter().filter(|text| !is_expected(text)).collect();
        let is_missing = |expected: &&&str| !found.iter().any(|text| text.starts_with(**expected));
        let missing: Vec<&&str> = expected.iter().filter(is_missing).collect();
        assert!(unexpected.is_empty() && missing.is_empty(), "{place}: {unexpected:?}, without {missing:?}");
    }
}

#[test]
fn ends_are_counted_once_a_payment() {
    let Run { mut records, told } = good();
    let again = records.requests.clone();
    records.requests.extend(again);
    let counted: Vec<(&str, u64)> = tally(&records, &told).into_iter().collect();
    assert_eq!(counted, [("accepted", 4), ("buried", 1), ("captured", 2), ("failed", 1)]);
}
