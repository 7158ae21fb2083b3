//! What clients sent and asked, and what came of it. The checks go by this and by the truth at the end alone;
//! told line by line, it is what a run looks like from outside.

use crate::conditions::Conditions;
use crate::orders::Order;
use domain::{Fingerprint, PaymentKey};
use gateway::border::Answered;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a client can be told of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Captured,
    Failed,
}

impl Status {
    pub(crate) fn is_final(self) -> bool {
        self != Status::Pending
    }

    fn named(text: &str) -> Status {
        match text {
            "PENDING" => Status::Pending,
            "CAPTURED" => Status::Captured,
            "FAILED" => Status::Failed,
            _ => panic!("a status that there is not: {text}"),
        }
    }
}

/// What an answer says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) status: Status,
    pub(crate) stage: String,
    pub(crate) reason: Option<String>,
    pub(crate) destination_amount: Option<String>,
}

/// An answer as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) is_replayed: bool,
    /// The payment that it is about.
    pub(crate) id: Option<String>,
    /// Of a problem.
    pub(crate) code: Option<String>,
    /// Of anything else.
    pub(crate) says: Option<Says>,
}

impl Answer {
    pub(crate) fn read(answered: &Answered) -> Answer {
        let Answered { status, ref body, is_replayed } = *answered;
        let body: Value = serde_json::from_slice(body).expect("every body is JSON");
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let says = text("stage").map(|stage| Says {
            status: Status::named(body["status"].as_str().unwrap_or_default()),
            stage,
            reason: text("reason"),
            destination_amount: text("destination_amount"),
        });
        Answer { status, is_replayed, id: text("id"), code: text("code"), says }
    }

    /// The request is right in form or not, and that is the end of it.
    pub(crate) fn is_refusal(&self) -> bool {
        (400..500).contains(&self.status)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answer { status, is_replayed, id, code, says } = self;
        write!(formatter, "{status}")?;
        id.iter().try_for_each(|id| write!(formatter, " {id}"))?;
        code.iter().try_for_each(|code| write!(formatter, " {code}"))?;
        if let Some(Says { status, stage, reason, .. }) = says {
            write!(formatter, " {status:?} {stage}")?;
            reason.iter().try_for_each(|reason| write!(formatter, " {reason}"))?;
        }
        write!(formatter, "{}", if *is_replayed { " replayed" } else { "" })
    }
}

/// How a payment really stands at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// The ledger has its row, or an open dead letter.
    pub(crate) is_in_ledger: bool,
    /// The intake has it.
    pub(crate) is_in_intake: bool,
    /// How its row says that it has ended.
    pub(crate) ended: Option<Status>,
}

impl Standing {
    pub(crate) fn exists(self) -> bool {
        self.is_in_ledger || self.is_in_intake
    }
}

/// Which event of the run something was: of two that happen in the same instant one is still the earlier.
pub(crate) type Turn = u64;

/// An answer, when it came, and how the payment stood then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) turn: Turn,
    pub(crate) answer: Answer,
    pub(crate) standing: Standing,
}

/// What a client has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A payment was sent: of this content, unless it is wrong in form and has this code for it.
    Sent(Result<Fingerprint, &'static str>),
    /// The status was asked for.
    Asked,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) deed: Deed,
    /// The payment, as far as who asked could know it.
    pub(crate) id: Option<String>,
    pub(crate) gateway: usize,
    pub(crate) turn: Turn,
    /// How the payment stood then.
    pub(crate) standing: Standing,
    /// Nothing: the client gave up, or the gateway died.
    pub(crate) heard: Option<Heard>,
}

impl Request {
    /// The payment that it turned out to be about.
    pub(crate) fn payment(&self) -> Option<&str> {
        self.id.as_deref().or_else(|| self.heard.as_ref()?.answer.id.as_deref())
    }

    /// The content that was sent, if that was right in form.
    pub(crate) fn content(&self) -> Option<Fingerprint> {
        match self.deed {
            Deed::Sent(Ok(fingerprint)) => Some(fingerprint),
            Deed::Sent(Err(_)) | Deed::Asked => None,
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        Some(&self.heard.as_ref()?.answer)
    }
}

/// All that has happened, in the order in which it began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) requests: Vec<Request>,
    /// When the ledger was set back to an older state.
    pub(crate) set_back: Vec<Turn>,
    turns: Turn,
    /// Every id that anyone has used, once.
    ids: Vec<String>,
}

impl Records {
    pub(crate) fn turn(&mut self) -> Turn {
        self.turns += 1;
        self.turns
    }

    fn know(&mut self, id: Option<&String>) {
        if let Some(id) = id.filter(|id| !self.ids.contains(id)) {
            self.ids.push(id.clone());
        }
    }

    /// A request begins; its place.
    pub(crate) fn begin(
        &mut self,
        deed: Deed,
        id: Option<String>,
        gateway: usize,
        standing: Standing,
    ) -> usize {
        let turn = self.turn();
        if matches!(deed, Deed::Sent(Ok(_))) {
            self.know(id.as_ref());
        }
        self.requests.push(Request { deed, id, gateway, turn, standing, heard: None });
        self.requests.len() - 1
    }

    /// It is answered.
    pub(crate) fn hear(&mut self, place: usize, answer: Answer, standing: Standing) {
        let turn = self.turn();
        if !answer.is_refusal() {
            self.know(answer.id.as_ref());
        }
        self.requests[place].heard = Some(Heard { turn, answer, standing });
    }
}

/// Who writes it all down; clones write into one.
#[derive(Clone)]
pub(crate) struct History {
    conditions: Conditions,
    records: Arc<Mutex<Records>>,
}

impl History {
    pub(crate) fn new(conditions: Conditions) -> History {
        History { conditions, records: Arc::default() }
    }

    pub(crate) fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap()
    }

    /// What there is so far.
    pub(crate) fn copy(&self) -> Records {
        self.records().clone()
    }

    /// Reads what there is so far.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Records) -> T) -> T {
        read(&self.records())
    }

    /// The ledger is an older one from now on.
    pub(crate) fn ledger_is_set_back(&self) {
        let mut records = self.records();
        let turn = records.turn();
        records.set_back.push(turn);
    }

    /// One of the ids that were used, if any was.
    pub(crate) fn some_id(&self) -> Option<String> {
        let records = self.records();
        let place = self.conditions.chance().below(records.ids.len() as u64);
        records.ids.get(usize::try_from(place).unwrap()).cloned()
    }

    /// Every id that was used.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.records().ids.clone()
    }

    /// Somebody is about to send a payment.
    pub(crate) fn sends(&self, who: &str, gateway: usize, order: &Order, standing: Standing) -> usize {
        self.conditions.tell(who, || format!("sends {order} to gateway {}", gateway + 1));
        self.records().begin(Deed::Sent(order.fingerprint()), order.known_id(), gateway, standing)
    }

    /// Somebody is about to ask for a status.
    pub(crate) fn asks(&self, who: &str, gateway: usize, id: &str, standing: Standing) -> usize {
        self.conditions.tell(who, || format!("asks gateway {} for {id}", gateway + 1));
        self.records().begin(Deed::Asked, Some(id.to_owned()), gateway, standing)
    }

    /// Somebody has an answer.
    pub(crate) fn hears(&self, who: &str, place: usize, answer: &Answer, standing: Standing) {
        self.conditions.tell(who, || format!("hears {answer}"));
        self.records().hear(place, answer.clone(), standing);
    }

    /// Somebody has none.
    pub(crate) fn hears_nothing(&self, who: &str, place: usize) {
        let about = |records: &Records| records.requests[place].id.clone().unwrap_or_default();
        self.conditions.tell(who, || format!("gives up {}", about(&self.records())));
    }
}

/// The payment of this id, as every client here means it.
pub(crate) fn key(id: &str) -> Option<PaymentKey> {
    PaymentKey::from_token(id).ok()
}
