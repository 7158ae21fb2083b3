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

mod batch;
mod queue;
mod worker;

use crate::request::IdOrigin;
use domain::{Fingerprint, Payment, TraceContext};
use queue::{Group, Queue};
use runtime::broker::Streams;
use runtime::config::PipelineConfig;
use runtime::telemetry::{LineBudget, Shed, Traces};
use std::sync::Arc;
use store::BorderLedger;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use wire::Code;
use worker::Worker;

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

#[derive(Debug)]
struct Submission {
    payment: Payment,
    fingerprint: Fingerprint,
    /// The span of its request, where that is traced.
    trace: Option<TraceContext>,
    answer: oneshot::Sender<Acceptance>,
}

/// A payment to accept.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) payment: Payment,
    pub(crate) origin: IdOrigin,
    /// The span of its request, where that is traced.
    pub(crate) trace: Option<TraceContext>,
}

/// The way to the intake, a lane for each origin of ids; clones share it.
#[derive(Clone)]
pub(crate) struct Acceptor {
    named_by_client: mpsc::Sender<Group>,
    named_by_us: mpsc::Sender<Group>,
}

impl Acceptor {
    /// Starts the tasks that store payments; they end when the last acceptor is gone. `waiting_max` is the
    /// number of payments in flight at most, so that admission and not a lane's queue turns requests away.
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
            let (sender, groups) = mpsc::channel(waiting_max.max(1));
            tasks.spawn(worker.clone().follow(origin, Queue::of(groups)));
            sender
        };
        (Acceptor { named_by_client: open(IdOrigin::Client), named_by_us: open(IdOrigin::Gateway) }, tasks)
    }

    /// Accepts a payment, once. The caller may go away; the acceptance goes on.
    pub(crate) async fn accept(&self, request: Request) -> Acceptance {
        let origin = request.origin;
        let (submission, answered) = submission(request);
        self.send(origin, Group::One(submission));
        answer(answered).await
    }

    /// Accepts payments, each once; answers in their order. They reach the intake together, as far as a batch
    /// takes so many. The caller may go away; the acceptance goes on.
    pub(crate) async fn accept_all(&self, requests: Vec<Request>) -> Vec<Acceptance> {
        let mut answers = Vec::with_capacity(requests.len());
        let (mut of_clients, mut of_ours) = (Vec::new(), Vec::new());
        for request in requests {
            let group = match request.origin {
                IdOrigin::Client => &mut of_clients,
                IdOrigin::Gateway => &mut of_ours,
            };
            let (submission, answered) = submission(request);
            group.push(submission);
            answers.push(answered);
        }
        for (origin, group) in [(IdOrigin::Client, of_clients), (IdOrigin::Gateway, of_ours)] {
            if !group.is_empty() {
                self.send(origin, Group::Many(group));
            }
        }
        let mut acceptances = Vec::with_capacity(answers.len());
        for answered in answers {
            acceptances.push(answer(answered).await);
        }
        acceptances
    }

    fn send(&self, origin: IdOrigin, group: Group) {
        let lane = match origin {
            IdOrigin::Client => &self.named_by_client,
            IdOrigin::Gateway => &self.named_by_us,
        };
        if let Err(refused) = lane.try_send(group) {
            for submission in refused.into_inner() {
                let no_room = Acceptance::Failed(Unaccepted::TurnedAway(Shed::InFlight));
                // The client may have gone.
                let _ = submission.answer.send(no_room);
            }
        }
    }
}

fn submission(request: Request) -> (Submission, oneshot::Receiver<Acceptance>) {
    let Request { payment, origin: _, trace } = request;
    let (answer, answered) = oneshot::channel();
    (Submission { fingerprint: payment.fingerprint(), payment, trace, answer }, answered)
}

async fn answer(answered: oneshot::Receiver<Acceptance>) -> Acceptance {
    answered.await.unwrap_or(Acceptance::Failed(Unaccepted::Failed(Code::AcceptanceUnknown)))
}

#[cfg(test)]
mod tests;
