//! What is seen of the streams, whoever writes them: who has had which message, which payments were told as
//! finished, and whether what is driven again had to be.

use crate::conditions::Conditions;
use crate::faults::Fault;
use crate::process::Process;
use runtime::broker::{MemoryStreams, Outgoing, Streams};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use wire::{Hop, StageName, Stream, Subject};

/// From this delivery on a message has come again and again.
const OFTEN: u64 = 5;

/// Faults after which a payment may be nowhere on its way, although no stage has let go of it: its stream or its
/// row is gone, it was buried, or the janitor cannot see that a stage has it.
const LOSES_PAYMENTS: [Fault; 6] = [
    Fault::StreamLost,
    Fault::ConsumerLost,
    Fault::BrokerRestart,
    Fault::LedgerSetBack,
    Fault::Newer,
    Fault::Buried,
];

/// Faults after which an end may not be told, although no stage has let go of the payment: the message that would
/// lead to it is gone, or belongs to one that was buried.
const LOSES_ENDS: [Fault; 4] = [Fault::StreamLost, Fault::BrokerRestart, Fault::LedgerSetBack, Fault::Buried];

/// Clones share it.
#[derive(Clone)]
pub(crate) struct Observed {
    conditions: Conditions,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was told of payments' holds and ends, each wording once.
    told: BTreeMap<(String, Hop), Vec<Vec<u8>>>,
    /// Payments that a stage has let go: they are to be driven again.
    let_go: BTreeSet<String>,
    /// Junk that was stored, by its id.
    junk: BTreeSet<String>,
    /// Who was given a message last, and in which of its lives.
    holders: HashMap<(Stream, u64), (Arc<Process>, Option<u64>)>,
    /// How often rates had moved when fx was asked first.
    quoted_at: HashMap<String, u64>,
    rates_moved: u64,
}

impl Observed {
    pub(crate) fn new(conditions: Conditions) -> Observed {
        Observed { conditions, state: Arc::default() }
    }

    fn has_none_of(&self, faults: &[Fault]) -> bool {
        faults.iter().all(|fault| !self.conditions.plan().has(*fault))
    }

    /// Whether each end must have been told in this run.
    pub(crate) fn tells_ends(&self) -> bool {
        self.has_none_of(&LOSES_ENDS)
    }

    /// A message was stored.
    pub(crate) fn stored(&self, message: &Outgoing) {
        let Some(hop @ (Hop::Reserved | Hop::Finished)) = Subject::hop(&message.subject) else { return };
        let token = Subject::payment_token(&message.subject).to_owned();
        let mut state = self.state.lock().unwrap();
        let told = state.told.entry((token, hop)).or_default();
        if !told.iter().any(|other| *other == message.payload) {
            told.push(message.payload.to_vec());
        }
    }

    /// What was told of a payment at this hop: each wording once.
    pub(crate) fn told(&self, token: &str, hop: Hop) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().told.get(&(token.to_owned(), hop)).cloned().unwrap_or_default()
    }

    /// Whether a payment was told as finished.
    pub(crate) fn is_told(&self, token: &str) -> bool {
        !self.told(token, Hop::Finished).is_empty()
    }

    /// A stage lets go of a payment that has waited for long.
    pub(crate) fn let_go(&self, token: &str) {
        self.state.lock().unwrap().let_go.insert(token.to_owned());
    }

    /// Whether a stage has let go of a payment.
    pub(crate) fn is_let_go(&self, token: &str) -> bool {
        self.state.lock().unwrap().let_go.contains(token)
    }

    /// Somebody's junk was stored.
    pub(crate) fn junk_stored(&self, id: String) {
        self.state.lock().unwrap().junk.insert(id);
    }

    /// All junk that was stored.
    pub(crate) fn junk(&self) -> Vec<String> {
        self.state.lock().unwrap().junk.iter().cloned().collect()
    }

    /// A janitor is about to drive a payment again, in the place of the copy of this sequence.
    pub(crate) async fn is_driven_again(&self, streams: &MemoryStreams, message: &Outgoing) {
        self.conditions.count("driven again", 1);
        let Some(replaced) = message.expected_last else {
            let what = format!("{} is driven again, whatever is in its place by then", message.subject);
            return self.conditions.violated(what);
        };
        let is_known = |fault| !self.conditions.plan().has(fault);
        // A consumer that is gone, or a broker that starts again, forgets what risk has had.
        if is_known(Fault::ConsumerLost)
            && is_known(Fault::BrokerRestart)
            && let Ok(Some(progress)) = streams.progress(Stream::Accepted).await
            && progress.floor < replaced
        {
            self.conditions.violated(format!("{} is driven again before risk has had it", message.subject));
        }
        if self.has_none_of(&LOSES_PAYMENTS) && !self.is_let_go(Subject::payment_token(&message.subject)) {
            self.conditions.violated(format!("{} is driven again, and nothing has lost it", message.subject));
        }
    }

    pub(crate) fn rate_moved(&self) {
        self.state.lock().unwrap().rates_moved += 1;
    }

    /// A worker is given a message.
    pub(crate) fn taken(
        &self,
        by: &Arc<Process>,
        stage: StageName,
        (stream, seq): (Stream, u64),
        token: &str,
        attempt: u64,
    ) {
        let mut state = self.state.lock().unwrap();
        if let Some((holder, life)) = state.holders.insert((stream, seq), (by.clone(), by.life()))
            && attempt > 1
            && life.is_some()
            && holder.life() == life
        {
            self.conditions.window(if Arc::ptr_eq(&holder, by) { "W27" } else { "W24" });
        }
        if stage == StageName::Fx {
            let moved = state.rates_moved;
            let first = *state.quoted_at.entry(token.to_owned()).or_insert(moved);
            if first < moved {
                self.conditions.window("W25");
            }
        }
        if attempt >= OFTEN {
            self.conditions.window("W26");
        }
    }

    /// Nobody has a message in hand any more.
    pub(crate) fn answered(&self, stream: Stream, seq: u64) {
        self.state.lock().unwrap().holders.remove(&(stream, seq));
    }
}
