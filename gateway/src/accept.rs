//! Acceptance: the honest 202. It is given only after the intake has the payment on disk, and promises
//! exactly one effect.
//!
//! There are two lanes. Ids that clients chose may have been used before: they are looked up in the ledger,
//! and then stored. Ids that we made are new by construction: they are stored, and never wait for the ledger
//! nor behind those that do.
//!
//! In a lane requests are gathered while the batch before them is stored, so the batch grows with the load
//! and nobody waits for one to fill. A batch: coalesce equal ids; look them up, in the lane that does; store
//! the rest, each only if its subject is empty; when some are stored already, read them all at once, answer
//! them, and store the rest again. Each round answers at least one request, so the rounds end. A look-up and
//! its store follow each other at once: what the ledger has said must not grow old, since the intake forgets
//! a payment a minute after its row.

use crate::request::IdOrigin;
use domain::{Fingerprint, Payment, PaymentKey, TraceContext};
use runtime::broker::{BrokerError, Outgoing, Streams};
use runtime::config::PipelineConfig;
use runtime::process::chain;
use runtime::telemetry::{LineBudget, Shed, Span, Traces};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{BorderLedger, Known};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use wire::message::PaymentAccepted;
use wire::{Code, Hop, HopMessage, Stream, Subject, envelope};

/// The longest that reading back one batch may take.
const READ_BACK_MAX: Duration = Duration::from_secs(5);

/// Why a payment is not accepted, or not known to be. Trying again with the same id is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unaccepted {
    /// There is too much of this.
    TurnedAway(Shed),
    /// Something went wrong on our side; says whether it may be stored nevertheless.
    Failed(Code),
}

/// How a request for acceptance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is on disk, by this request.
    Accepted,
    /// The same request had been accepted before.
    Replayed,
    /// Another request had been accepted under this id.
    Mismatch,
    /// Not accepted, or not known to be.
    Failed(Unaccepted),
}

struct Submission {
    payment: Payment,
    fingerprint: Fingerprint,
    /// The span of its request, where that is traced.
    trace: Option<TraceContext>,
    answer: oneshot::Sender<Acceptance>,
}

/// What became of one payment: what is stored under its id now, or why that is not known.
#[derive(Debug, Clone)]
enum Fate {
    Stored { fingerprint: Fingerprint, by_us: bool },
    Failed(Unaccepted),
}

/// The way to the intake, a lane for each origin of ids; clones share it.
#[derive(Clone)]
pub(crate) struct Acceptor {
    named_by_client: mpsc::Sender<Submission>,
    named_by_us: mpsc::Sender<Submission>,
}

impl Acceptor {
    /// Starts the tasks that store payments; they end when the last acceptor is gone. `waiting_max` is the
    /// number of requests in flight at most, so that admission and not a lane's queue turns requests away.
    pub(crate) fn start<B: Streams, L: BorderLedger>(
        streams: B,
        ledger: L,
        pipeline: PipelineConfig,
        waiting_max: usize,
        traces: Traces,
    ) -> (Acceptor, JoinSet<()>) {
        let worker = Arc::new(Worker { streams, ledger, pipeline, traces, failures: LineBudget::new() });
        let mut tasks = JoinSet::new();
        let mut open = |origin| {
            let (sender, submissions) = mpsc::channel(waiting_max.max(1));
            tasks.spawn(worker.clone().follow(origin, submissions));
            sender
        };
        (Acceptor { named_by_client: open(IdOrigin::Client), named_by_us: open(IdOrigin::Gateway) }, tasks)
    }

    /// Accepts a payment, once. The caller may go away; the acceptance goes on.
    pub(crate) async fn accept(
        &self,
        payment: Payment,
        origin: IdOrigin,
        trace: Option<TraceContext>,
    ) -> Acceptance {
        let (answer, answered) = oneshot::channel();
        let lane = match origin {
            IdOrigin::Client => &self.named_by_client,
            IdOrigin::Gateway => &self.named_by_us,
        };
        let submission = Submission { fingerprint: payment.fingerprint(), payment, trace, answer };
        if lane.try_send(submission).is_err() {
            return Acceptance::Failed(Unaccepted::TurnedAway(Shed::InFlight));
        }
        answered.await.unwrap_or(Acceptance::Failed(Unaccepted::Failed(Code::AcceptanceUnknown)))
    }
}

/// Stores what the lanes bring.
struct Worker<B, L> {
    streams: B,
    ledger: L,
    pipeline: PipelineConfig,
    traces: Traces,
    /// Of the lines that tell of failed batches.
    failures: LineBudget,
}

/// The requests of a batch by payment, and what became of each payment. Payments stand in the order in which
/// they came, are stored so, and are answered so.
struct Batch {
    requests: Vec<(PaymentKey, Vec<Submission>)>,
    fates: HashMap<PaymentKey, Fate>,
}

impl Batch {
    fn of(submissions: Vec<Submission>) -> Batch {
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
    fn open(&self) -> Vec<&Submission> {
        let undecided = self.requests.iter().filter(|(key, _)| !self.fates.contains_key(key));
        undecided.filter_map(|(_, same)| same.first()).collect()
    }

    fn fail_open(&mut self, why: Unaccepted) {
        let keys: Vec<PaymentKey> = self.open().iter().map(|submission| submission.payment.key()).collect();
        self.fates.extend(keys.into_iter().map(|key| (key, Fate::Failed(why))));
    }

    fn answer(self) {
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

impl<B: Streams, L: BorderLedger> Worker<B, L> {
    async fn follow(self: Arc<Self>, origin: IdOrigin, mut submissions: mpsc::Receiver<Submission>) {
        let mut waiting = Vec::new();
        while submissions.recv_many(&mut waiting, self.pipeline.batch_max).await > 0 {
            self.accept(origin, std::mem::take(&mut waiting)).await;
        }
    }

    async fn accept(&self, origin: IdOrigin, submissions: Vec<Submission>) {
        let mut batch = Batch::of(submissions);
        if origin == IdOrigin::Client {
            self.look_up(&mut batch).await;
        }
        self.store(&mut batch).await;
        batch.answer();
    }

    /// Decides what the ledger knows.
    async fn look_up(&self, batch: &mut Batch) {
        let keys: Vec<PaymentKey> = batch.open().iter().map(|submission| submission.payment.key()).collect();
        match self.ledger.known(&keys).await {
            Ok(known) => batch.fates.extend(known.into_iter().map(|(key, known)| (key, fate_of(&known)))),
            Err(error) => self.fail(batch, Code::Unavailable, &chain(&error)),
        }
    }

    /// Fails what has no fate yet. The cause is told here, once: the callers may be gone, and are many.
    fn fail(&self, batch: &mut Batch, code: Code, cause: &str) {
        let payments = batch.open().len();
        batch.fail_open(Unaccepted::Failed(code));
        if payments > 0
            && let Some(left_out) = self.failures.take()
        {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(code = code.as_str(), payments, cause, left_out, "a batch was not accepted");
        }
    }

    /// Stores what has no fate yet.
    async fn store(&self, batch: &mut Batch) {
        let mut may_declare = true;
        loop {
            let open = batch.open();
            let Ok((messages, publishing)) = self.messages(&open) else {
                return self.fail(batch, Code::Internal, "a payment cannot be written");
            };
            let stored = self.streams.publish_batch(&messages).await;
            publishing.end(stored.as_ref().err());
            match stored {
                Ok(()) => {
                    let stored: Vec<(PaymentKey, Fate)> = open
                        .iter()
                        .map(|one| {
                            (one.payment.key(), Fate::Stored { fingerprint: one.fingerprint, by_us: true })
                        })
                        .collect();
                    return batch.fates.extend(stored);
                }
                Err(BrokerError::Conflict) => {
                    if let Err(cause) = self.find_stored(batch).await {
                        return self.fail(batch, Code::Unavailable, &cause);
                    }
                }
                Err(BrokerError::Missing) if may_declare => {
                    may_declare = false;
                    if let Err(error) = self.streams.declare_all(&self.pipeline).await {
                        tracing::warn!(%error, "the intake cannot be declared");
                    }
                }
                Err(BrokerError::Full) => return batch.fail_open(Unaccepted::TurnedAway(Shed::Intake)),
                Err(BrokerError::Unknown(reason)) => return self.read_back(batch, &reason).await,
                Err(error) => return self.fail(batch, Code::Unavailable, &error.to_string()),
            }
        }
    }

    /// What is to be stored of these, each below the span of its publishing where its request is traced.
    fn messages(&self, open: &[&Submission]) -> Result<(Vec<Outgoing>, Publishing), serde_json::Error> {
        let mut publishing = Publishing::default();
        let mut messages = Vec::with_capacity(open.len());
        for submission in open {
            let mut message = message(submission)?;
            let (trace, size) = (submission.trace, message.payload.len());
            if let Some(mut span) = self.traces.publish(trace, Stream::Accepted, size) {
                span.payment(submission.payment.id.as_str());
                message.headers.trace = Some(span.context());
                publishing.payments.push(span);
            }
            messages.push(message);
        }
        let links = publishing.payments.iter().map(Span::context).collect();
        publishing.batch = self.traces.publish_batch(links, Stream::Accepted, messages.len());
        Ok((messages, publishing))
    }

    /// Decides those that the intake holds already, of which there is at least one; or says why it cannot.
    async fn find_stored(&self, batch: &mut Batch) -> Result<(), String> {
        let subjects: Vec<Subject> = batch
            .open()
            .iter()
            .map(|submission| Subject::of(Hop::Accepted, 0, &submission.payment.key()))
            .collect();
        let stored = self.streams.last_of_each(Stream::Accepted, &subjects).await;
        let stored = stored.map_err(|error| error.to_string())?;
        let found = stored.iter().filter_map(|message| {
            Some((Subject::payment(&message.subject).ok()?, fate_of_payload(&message.payload)))
        });
        let found: Vec<(PaymentKey, Fate)> = found.collect();
        if found.is_empty() {
            return Err("what the intake refuses as stored is not found there".to_owned());
        }
        batch.fates.extend(found);
        Ok(())
    }

    /// No answer came: whether the batch was stored can only be read from the stream's leader, one by one.
    /// What is not found may yet arrive, so it is neither accepted nor refused.
    async fn read_back(&self, batch: &mut Batch, reason: &str) {
        let keys: Vec<PaymentKey> = batch.open().iter().map(|submission| submission.payment.key()).collect();
        let reading = async {
            for key in keys {
                // Without an answer for one there is none for the rest either: do not wait for each.
                let Ok(found) =
                    self.streams.last(Stream::Accepted, &Subject::of(Hop::Accepted, 0, &key)).await
                else {
                    return;
                };
                if let Some(stored) = found {
                    let fingerprint = fingerprint_of(&stored.payload);
                    batch.fates.insert(key, Fate::Stored { fingerprint, by_us: true });
                }
            }
        };
        // Others wait behind this batch: what has not been read by then is not known, and may be asked again.
        let _ = tokio::time::timeout(READ_BACK_MAX, reading).await;
        self.fail(batch, Code::AcceptanceUnknown, reason);
    }
}

/// The spans of a batch on its way into the intake: of each payment that is traced, and of the batch if there
/// are any.
#[derive(Default)]
struct Publishing {
    payments: Vec<Span>,
    batch: Option<Span>,
}

impl Publishing {
    fn end(self, error: Option<&BrokerError>) {
        for mut span in self.payments.into_iter().chain(self.batch) {
            match error {
                // Some of it is stored already: that is an answer.
                None | Some(BrokerError::Conflict) => {}
                Some(error) => span.failed(error.kind()),
            }
        }
    }
}

fn message(submission: &Submission) -> Result<Outgoing, serde_json::Error> {
    let accepted = HopMessage::Accepted(PaymentAccepted {
        payment: submission.payment.clone(),
        fingerprint: submission.fingerprint,
    });
    let subject = Subject::of(Hop::Accepted, 0, &submission.payment.key());
    Ok(Outgoing { expected_last: Some(0), ..Outgoing::new(subject.into_string(), accepted.encode()?) })
}

fn fate_of(known: &Known) -> Fate {
    match known {
        Known::Recorded(fingerprint) => Fate::Stored { fingerprint: *fingerprint, by_us: false },
        Known::Dead(payload) => fate_of_payload(payload),
    }
}

fn fate_of_payload(payload: &[u8]) -> Fate {
    Fate::Stored { fingerprint: fingerprint_of(payload), by_us: false }
}

/// Every message on the way carries what was accepted. Something else under the subject is at any rate not
/// this request.
fn fingerprint_of(payload: &[u8]) -> Fingerprint {
    envelope::decode::<PaymentAccepted>(payload).map_or(Fingerprint([0; 32]), |accepted| accepted.fingerprint)
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
