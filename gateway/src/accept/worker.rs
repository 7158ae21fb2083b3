//! What stores the batches of a lane, one after the other.

use super::batch::{Batch, Fate, fate_of, fate_of_payload, fingerprint_of};
use super::queue::Queue;
use super::{Submission, Unaccepted};
use crate::request::IdOrigin;
use domain::PaymentKey;
use runtime::broker::{BrokerError, Outgoing, Streams};
use runtime::config::PipelineConfig;
use runtime::process::chain;
use runtime::telemetry::{LineBudget, Shed, Span, Traces};
use std::sync::Arc;
use std::time::Duration;
use store::BorderLedger;
use wire::message::encode_accepted;
use wire::{Code, Hop, Stream, Subject};

/// The longest that reading back one batch may take.
const READ_BACK_MAX: Duration = Duration::from_secs(5);

/// So few messages are stored one by one: on disk an atomic batch costs the server a store of its own before
/// the stream's, and takes 1.8 ms where one message takes 0.26. From a dozen on the fsyncs of each cost more.
pub(super) const SINGLES_MAX: usize = 12;

/// Stores what the lanes bring.
pub(super) struct Worker<B, L> {
    pub(super) streams: B,
    pub(super) ledger: L,
    pub(super) pipeline: PipelineConfig,
    pub(super) traces: Traces,
    /// Of the lines that tell of failed batches.
    pub(super) failures: LineBudget,
}

impl<B: Streams, L: BorderLedger> Worker<B, L> {
    pub(super) async fn follow(self: Arc<Self>, origin: IdOrigin, mut queue: Queue) {
        while let Some(submissions) = queue.next(self.pipeline.batch_max).await {
            self.accept(origin, submissions).await;
        }
    }

    pub(super) async fn accept(&self, origin: IdOrigin, submissions: Vec<Submission>) {
        let mut batch = Batch::of(submissions);
        if origin == IdOrigin::Client {
            self.look_up(&mut batch).await;
        }
        self.store(&mut batch).await;
        batch.answer();
    }

    /// Decides what the ledger knows.
    async fn look_up(&self, batch: &mut Batch) {
        let keys = batch.open_keys();
        match self.ledger.known(&keys).await {
            Ok(known) => known.iter().for_each(|(key, known)| batch.decide(key, fate_of(known))),
            Err(error) => self.fail(batch, Code::Unavailable, &chain(&error)),
        }
    }

    /// Fails what has no fate yet.
    fn fail(&self, batch: &mut Batch, code: Code, cause: &str) {
        let open = batch.open_keys();
        self.fail_these(batch, open, code, cause);
    }

    /// Fails payments. The cause is told here, once: the callers may be gone, and are many.
    fn fail_these(&self, batch: &mut Batch, keys: Vec<PaymentKey>, code: Code, cause: &str) {
        let payments = keys.len();
        let failed = Fate::Failed(Unaccepted::Failed(code));
        keys.iter().for_each(|key| batch.decide(key, failed.clone()));
        if payments > 0
            && let Some(left_out) = self.failures.take()
        {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(code = code.as_str(), payments, cause, left_out, "a batch was not accepted");
        }
    }

    /// Stores what has no fate yet. Each round decides at least one payment, or is the last.
    async fn store(&self, batch: &mut Batch) {
        let mut may_declare = true;
        loop {
            let open = batch.open();
            let Ok((messages, publishing)) = self.messages(&open) else {
                return self.fail(batch, Code::Internal, "a payment cannot be written");
            };
            let answers = self.publish(&messages).await;
            publishing.end(answers.iter().find_map(|answer| answer.as_ref().err()));
            let (mut taken, mut error) = (Vec::new(), None);
            let mut decided: Vec<(PaymentKey, Fate)> = Vec::with_capacity(open.len());
            for (one, answer) in open.iter().zip(answers) {
                let fate = match answer {
                    Ok(()) => Fate::Stored { fingerprint: one.fingerprint, by_us: true },
                    Err(BrokerError::Full) => Fate::Failed(Unaccepted::TurnedAway(Shed::Intake)),
                    Err(BrokerError::Conflict) => {
                        taken.push(one.payment.key());
                        continue;
                    }
                    Err(other) => {
                        // Where one may be stored without a word, all that is open is looked for.
                        if error.is_none() || matches!(other, BrokerError::Unknown(_)) {
                            error = Some(other);
                        }
                        continue;
                    }
                };
                decided.push((one.payment.key(), fate));
            }
            decided.into_iter().for_each(|(key, fate)| batch.decide(&key, fate));
            if !taken.is_empty() {
                self.find_stored(batch, taken).await;
            }
            match error {
                None if batch.open().is_empty() => return,
                None => {}
                Some(BrokerError::Missing) if may_declare => {
                    may_declare = false;
                    if let Err(error) = self.streams.declare_all(&self.pipeline).await {
                        tracing::warn!(%error, "the intake cannot be declared");
                    }
                }
                Some(BrokerError::Unknown(reason)) => return self.read_back(batch, &reason).await,
                Some(error) => return self.fail(batch, Code::Unavailable, &error.to_string()),
            }
        }
    }

    /// The answer to each message: a few are stored one by one, more all or none.
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let answers = match messages.len() {
            0..=SINGLES_MAX => self.streams.publish_singles(messages).await,
            _ => self.streams.publish_batch(messages).await.map(|()| vec![Ok(()); messages.len()]),
        };
        answers.unwrap_or_else(|error| vec![Err(error); messages.len()])
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

    /// Decides those of these payments that the intake holds already, of which there is at least one. Where none
    /// is found, none of them is decided in any other way.
    async fn find_stored(&self, batch: &mut Batch, taken: Vec<PaymentKey>) {
        let subjects: Vec<Subject> =
            taken.iter().map(|payment| Subject::of(Hop::Accepted, 0, payment)).collect();
        let found = match self.streams.last_of_each(Stream::Accepted, &subjects).await {
            Ok(stored) => {
                let found = stored.iter().filter_map(|message| {
                    Some((Subject::payment(&message.subject).ok()?, fate_of_payload(&message.payload)))
                });
                found.collect::<Vec<_>>()
            }
            Err(error) => return self.fail_these(batch, taken, Code::Unavailable, &error.to_string()),
        };
        if found.is_empty() {
            let cause = "what the intake refuses as stored is not found there";
            return self.fail_these(batch, taken, Code::Unavailable, cause);
        }
        found.into_iter().for_each(|(key, fate)| batch.decide(&key, fate));
    }

    /// No answer came: whether the batch was stored can only be read from the stream's leader, one by one.
    /// What is not found may yet arrive, so it is neither accepted nor refused.
    async fn read_back(&self, batch: &mut Batch, reason: &str) {
        let keys = batch.open_keys();
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
                    batch.decide(&key, Fate::Stored { fingerprint, by_us: true });
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
    let payload = encode_accepted(&submission.payment, &submission.fingerprint)?;
    let subject = Subject::of(Hop::Accepted, 0, &submission.payment.key());
    Ok(Outgoing { expected_last: Some(0), ..Outgoing::new(subject.into_string(), payload) })
}
