//! One span.

use domain::{Refusal, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Status};
use opentelemetry_sdk::trace as sdk;
use std::borrow::Cow;
use wire::Problem;

domain::closed_set! {
    /// What has become of a payment at a stage, or of the request for it.
    Outcome {
        /// The intake has it, by this request.
        Accepted = "accepted",
        /// The intake or the ledger had it before.
        Replayed = "replayed",
        /// It goes on to the next stage.
        Forwarded = "forwarded",
        /// It was refused.
        Rejected = "rejected",
        /// It was in the ledger, and goes on from there.
        Retold = "retold",
        /// It ended: the money moved.
        Captured = "captured",
        /// It ended: the money did not move.
        Failed = "failed",
        /// It waits, and comes again.
        Later = "later",
        /// The ledger had lost it, and it is accepted again.
        PutBack = "put_back",
        /// It could not be judged.
        Buried = "buried",
        /// The process ended before it was done with, and it comes again.
        Abandoned = "abandoned",
    }
}

/// A span that is recorded, until it is dropped.
#[derive(Debug)]
pub struct Span(sdk::Span);

impl Span {
    pub(super) fn new(span: sdk::Span) -> Span {
        Span(span)
    }

    /// As those that follow it name it.
    pub fn context(&self) -> TraceContext {
        let context = self.0.span_context();
        TraceContext {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            is_sampled: context.is_sampled(),
        }
    }

    /// It is about this payment.
    pub fn payment(&mut self, id: &str) {
        self.set("kilat.payment.id", id.to_owned());
    }

    /// This has become of its payment.
    pub fn outcome(&mut self, outcome: Outcome) {
        self.set("kilat.outcome", outcome.as_str());
    }

    /// Its payment was refused for this reason.
    pub fn refusal(&mut self, refusal: Refusal) {
        self.set("kilat.refusal", refusal.code());
    }

    /// It was answered with this HTTP status.
    pub fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
    }

    /// It was answered with a problem. From status 500 on that is our failure; before, whoever asked.
    pub fn refused(&mut self, problem: &Problem) {
        self.set("kilat.problem", problem.code.as_str());
        if problem.status() >= 500 {
            self.failed(problem.code.as_str());
        }
    }

    /// It did not do what it is there for; says of what kind the error is.
    pub fn failed(&mut self, error: impl Into<Cow<'static, str>>) {
        self.set("error.type", error.into());
        self.0.set_status(Status::error(""));
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }
}
