//! `risk.score`: how a payment would be assessed now. Counts nothing.

use crate::pipeline::velocities::Velocities;
use crate::services::rates::reply;
use bytes::Bytes;
use domain::risk::{RiskLimits, assess};
use domain::{AccountKey, Tenant};
use runtime::broker::{Reply, ServiceHandler};
use std::sync::Arc;
use wire::object::{RequestObject, account, amount, currency};
use wire::service::{Decision, Endpoint, ScoreReply};
use wire::{Code, Problem};

/// The service.
pub(crate) struct ScoreService {
    /// What a payment may be at most.
    pub(crate) limits: Arc<RiskLimits>,
    /// What accounts have sent lately.
    pub(crate) velocities: Arc<Velocities>,
}

impl ServiceHandler for ScoreService {
    async fn answer(&self, endpoint: Endpoint, bodies: Vec<Bytes>) -> Vec<Result<Reply, Problem>> {
        let answer = |body: &Bytes| match endpoint {
            Endpoint::Score => self.score(body),
            _ => Err(Problem::new(Code::NotFound, "the risk service has no such endpoint")),
        };
        bodies.iter().map(answer).collect()
    }
}

impl ScoreService {
    fn score(&self, body: &[u8]) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(body)?;
        let (id, code) = (request.require_text("account")?, request.require_text("currency")?);
        let digits = request.require_decimal("amount")?;
        request.finish()?;
        let currency = currency("currency", &code)?;
        let account = AccountKey { tenant: Tenant::default(), id: account("account", id)? };
        let amount = amount("amount", &digits, currency)?;
        let velocity = self.velocities.with_one_more(&account, amount, runtime::clock::now());
        let assessment = assess(amount, velocity, &self.limits);
        reply(&ScoreReply {
            score: assessment.score,
            decision: if assessment.broken.is_empty() { Decision::Approve } else { Decision::Reject },
            reasons: assessment.broken.iter().map(|rule| rule.id().to_owned()).collect(),
        })
    }
}
