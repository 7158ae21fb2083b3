//! Sends spans to their collector: a request a second at most, while there are any.

use super::queue::{SpanCounts, Waiting};
use crate::http::{Heard, HttpClient, NoAnswer};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Where a collector takes spans, and in which form.
const PATH: &str = "/v1/traces";
const CONTENT_TYPE: &str = "application/x-protobuf";

/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);

/// Spans of one request at most: some two megabytes.
const BATCH_MAX: usize = 2_048;

/// How long one request may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// The first pause before a batch is sent again; after the second, twice as long, it is given up.
const PAUSE: Duration = Duration::from_secs(1);

/// What a collector's answer may have, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long the last spans may take at the end, beside the attempt that is under way.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Why the collector did not take a batch.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Away(#[from] NoAnswer),
    #[error("it answered {0}")]
    Refused(u16),
}

impl SendError {
    /// Whether the same batch may be taken later: the statuses are those of the protocol.
    fn may_pass(&self) -> bool {
        matches!(self, SendError::Away(_) | SendError::Refused(429 | 502 | 503 | 504))
    }
}

/// Takes spans out of the queue and sends them.
pub(super) struct Sender {
    collector: HttpClient,
    resource: ResourceAttributesWithSchema,
    counts: SpanCounts,
    waiting: Waiting,
    ending: CancellationToken,
    is_away: bool,
}

/// A sender at work.
pub(super) struct Sending {
    ending: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Sending {
    /// Has the last spans sent, and waits for it.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(failure) = task.await
        {
            tracing::error!(%failure, "the sender of spans panicked");
        }
    }
}

impl Sender {
    /// To the collector behind this URL, which was checked when it was configured.
    pub(super) fn new(endpoint: &str, resource: &Resource, counts: SpanCounts, waiting: Waiting) -> Sender {
        Sender {
            collector: HttpClient::new(endpoint),
            resource: resource.into(),
            counts,
            waiting,
            ending: CancellationToken::new(),
            is_away: false,
        }
    }

    pub(super) fn start(self) -> Sending {
        let ending = self.ending.clone();
        Sending { ending, task: Mutex::new(Some(tokio::spawn(self.run()))) }
    }

    async fn run(mut self) {
        let ending = self.ending.clone();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                count = self.waiting.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
            }
            if batch.len() + self.waiting.len() < BATCH_MAX {
                let _ = tokio::time::timeout(GATHER, ending.cancelled()).await;
            }
            self.fill(&mut batch);
            self.send(std::mem::take(&mut batch)).await;
        }
        self.send_rest().await;
    }

    /// Takes what is there by now.
    fn fill(&mut self, batch: &mut Vec<SpanData>) {
        while batch.len() < BATCH_MAX
            && let Ok(span) = self.waiting.try_recv()
        {
            batch.push(span);
        }
    }

    /// What has ended before the end. Where one batch is not taken, the others are not tried.
    async fn send_rest(&mut self) {
        let deadline = Instant::now() + DRAIN_MAX;
        self.waiting.close();
        let mut batch = Vec::new();
        loop {
            self.fill(&mut batch);
            if batch.is_empty() {
                return;
            }
            if !self.send(std::mem::take(&mut batch)).await || Instant::now() >= deadline {
                self.counts.failed(self.waiting.len());
                return;
            }
        }
    }

    /// Whether the collector has taken the batch, at the first attempt or after a pause.
    async fn send(&mut self, spans: Vec<SpanData>) -> bool {
        let count = spans.len();
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let mut pauses = [PAUSE, PAUSE * 2].into_iter();
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_MAX, self.attempt(body.clone())).await;
            let error = match attempt.unwrap_or_else(|elapsed| Err(NoAnswer::because(elapsed).into())) {
                Ok(refused) => {
                    let refused = refused.min(count);
                    self.counts.exported(count - refused);
                    self.counts.failed(refused);
                    self.tell(None);
                    return true;
                }
                Err(error) => error,
            };
            self.tell(Some(&error));
            let pause = pauses.next().filter(|_| error.may_pass() && !self.ending.is_cancelled());
            let Some(pause) = pause else {
                self.counts.failed(count);
                return false;
            };
            let _ = tokio::time::timeout(pause, self.ending.cancelled()).await;
        }
    }

    /// How many spans of a batch the collector has refused.
    async fn attempt(&self, body: Bytes) -> Result<usize, SendError> {
        let heard = self.collector.post(PATH, CONTENT_TYPE, body, ANSWER_BYTES_MAX).await?;
        refused(&heard)
    }

    /// Says once that the collector is away, and once that it is back.
    fn tell(&mut self, error: Option<&SendError>) {
        match error {
            Some(error) if !self.is_away => {
                tracing::warn!(collector = self.collector.address(), %error, "spans cannot be sent");
            }
            None if self.is_away => {
                tracing::info!(collector = self.collector.address(), "spans are sent again")
            }
            _ => {}
        }
        self.is_away = error.is_some();
    }
}

/// How many spans the collector says that it has refused.
fn refused(heard: &Heard) -> Result<usize, SendError> {
    if !(200..300).contains(&heard.status) {
        return Err(SendError::Refused(heard.status));
    }
    // It has taken them, whatever it goes on to say.
    let body = heard.body.clone();
    let told = body.and_then(|body| ExportTraceServiceResponse::decode(body).ok());
    let refused = told.and_then(|told| told.partial_success).map_or(0, |partial| partial.rejected_spans);
    Ok(usize::try_from(refused).unwrap_or(0))
}
