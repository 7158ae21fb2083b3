//! A gateway without its ports: payments accepted, and their status told, for whoever asks within this process.
//!
//! What is answered here is what the HTTP routes answer, by the same code. They add what belongs to their
//! protocol: headers, the request's id, and who is turned away because too many ask in a second.

use crate::batch;
use crate::payments::{Payments, Submitted};
use crate::request::PaymentRequest;
use crate::view::PaymentView;
use runtime::broker::Streams;
use runtime::config::Config;
use runtime::drain::Drain;
use runtime::telemetry::{Metrics, Traces};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use store::BorderLedger;
use tokio::task::JoinSet;
use wire::{Caller, Code, Problem};

/// Names a payment that its client has not, as nobody else is named.
pub type FreshId = Arc<dyn Fn() -> String + Send + Sync>;

/// What a border works with.
pub struct BorderParts<'p, S, L> {
    /// Where payments are stored and found.
    pub streams: S,
    /// The ledger as acceptance asks it; what it does to its connections is nothing to the reads.
    pub look_ups: L,
    /// The ledger as everyone else asks it.
    pub reads: L,
    /// The process' settings.
    pub config: &'p Config,
    /// For payments that come without an id.
    pub fresh_id: FreshId,
    /// Where it is told who was turned away.
    pub metrics: &'p Metrics,
    /// The spans of what is stored.
    pub traces: Traces,
    /// The process' drain.
    pub drain: Drain,
}

/// The status of an accepted payment, the first time and every other.
pub(crate) const ACCEPTED: u16 = 202;

/// What a client is answered, whatever it asked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body, in JSON.
    pub body: Vec<u8>,
    /// The same request had been accepted before.
    pub is_replayed: bool,
}

impl Answered {
    /// A payment is accepted.
    pub(crate) fn accepted(submitted: &Submitted) -> Result<Answered, Problem> {
        let is_replayed = submitted.is_replayed;
        Ok(Answered { status: ACCEPTED, body: written(&submitted.view)?, is_replayed })
    }

    /// A payment stands so.
    pub(crate) fn told(view: &PaymentView) -> Result<Answered, Problem> {
        Ok(Answered { status: 200, body: written(view)?, is_replayed: false })
    }

    /// What became of each payment of a list, in its order.
    pub(crate) fn results(results: &[Result<Submitted, Problem>]) -> Result<Answered, Problem> {
        let results = results.iter().map(ItemResult::of).collect();
        Ok(Answered { status: 200, body: written(&Results { results })?, is_replayed: false })
    }

    fn refused(problem: &Problem) -> Answered {
        let body = written(problem).unwrap_or_default();
        Answered { status: problem.status(), body, is_replayed: false }
    }
}

#[derive(Serialize)]
struct Results<'r> {
    results: Vec<ItemResult<'r>>,
}

/// The body that a payment would have been answered with alone. What a header says then is a field here.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemResult<'r> {
    Accepted(&'r PaymentView),
    Replayed {
        #[serde(flatten)]
        view: &'r PaymentView,
        idempotency_replayed: bool,
    },
    Refused(&'r Problem),
}

impl ItemResult<'_> {
    fn of(result: &Result<Submitted, Problem>) -> ItemResult<'_> {
        match result {
            Ok(Submitted { view, is_replayed: false }) => ItemResult::Accepted(view),
            Ok(Submitted { view, is_replayed: true }) => {
                ItemResult::Replayed { view, idempotency_replayed: true }
            }
            Err(problem) => ItemResult::Refused(problem),
        }
    }
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|_| Problem::new(Code::Internal, "the answer cannot be written"))
}

/// Acceptance and status.
pub struct Border<S, L> {
    payments: Payments<S, L>,
    item_bytes_max: usize,
}

impl<S: Streams, L: BorderLedger> Border<S, L> {
    /// Starts the tasks that store payments. They end when the border is gone and has stored what it took.
    pub fn start(parts: BorderParts<'_, S, L>) -> (Border<S, L>, JoinSet<()>) {
        let item_bytes_max = parts.config.http.body_bytes_max;
        let (payments, accepting) = Payments::start(parts);
        (Border { payments, item_bytes_max }, accepting)
    }

    /// What `POST /payments` answers to this body, with the `Idempotency-Key` that came beside it.
    pub async fn submit(&self, caller: &Caller, body: &[u8], idempotency_key: Option<String>) -> Answered {
        let submitting = async {
            let request = PaymentRequest::of_json(body, idempotency_key)?;
            Answered::accepted(&self.payments.submit(caller, request, None).await?)
        };
        submitting.await.unwrap_or_else(|problem| Answered::refused(&problem))
    }

    /// What `POST /payments/batch` answers to this body.
    pub async fn submit_all(&self, caller: &Caller, body: &[u8]) -> Answered {
        let submitting = async {
            let requests = batch::of_json(body, self.item_bytes_max)?;
            Answered::results(&self.payments.submit_all(caller, requests, None).await)
        };
        submitting.await.unwrap_or_else(|problem| Answered::refused(&problem))
    }

    /// What `GET /payments/{id}` answers at once.
    pub async fn status(&self, caller: &Caller, id: &str) -> Answered {
        let telling =
            async { Answered::told(&self.payments.show(caller, id, Duration::ZERO, |_| false).await?) };
        telling.await.unwrap_or_else(|problem| Answered::refused(&problem))
    }
}

#[cfg(test)]
#[path = "border_tests.rs"]
mod tests;
