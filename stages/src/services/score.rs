//! `risk.score`: how a payment would be assessed now. Counts nothing, and answers nothing before risk judges.

use crate::pipeline::velocities::Velocities;
use crate::services::rates::reply;
use domain::risk::{RiskLimits, assess};
use runtime::broker::{Call, Reply, ServiceHandler};
use std::sync::Arc;
use wire::object::{RequestObject, account, amount, currency};
use wire::service::{Decision, Endpoint, ScoreReply};
use wire::{Code, Problem};

pub(crate) struct ScoreService {
    /// What a payment may be at most.
    pub(crate) limits: Arc<RiskLimits>,
    /// What accounts have sent lately.
    pub(crate) velocities: Arc<Velocities>,
}

impl ServiceHandler for ScoreService {
    async fn answer(&self, endpoint: Endpoint, calls: Vec<Call>) -> Vec<Result<Reply, Problem>> {
        let answer = |call: &Call| match endpoint {
            Endpoint::Score => self.score(call),
            Endpoint::Balance | Endpoint::Open | Endpoint::Deposit | Endpoint::Rate | Endpoint::Convert => {
                Err(Problem::new(Code::NotFound, "the risk service has no such endpoint"))
            }
        };
        calls.iter().map(answer).collect()
    }
}

impl ScoreService {
    fn score(&self, call: &Call) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(&call.body)?;
        let (id, code) = (request.require_text("account")?, request.require_text("currency")?);
        let digits = request.require_decimal("amount")?;
        request.finish()?;
        let currency = currency("currency", &code)?;
        let account = call.caller.account(account("account", id)?);
        let amount = amount("amount", &digits, currency)?;
        let Some(velocity) = self.velocities.with_one_more(&account, amount, runtime::clock::now()) else {
            return Err(Problem::new(Code::Unavailable, "what accounts have sent lately is not known yet"));
        };
        let assessment = assess(amount, velocity, &self.limits);
        reply(&ScoreReply {
            score: assessment.score,
            decision: if assessment.broken.is_empty() { Decision::Approve } else { Decision::Reject },
            reasons: assessment.broken.iter().map(|rule| rule.id().to_owned()).collect(),
        })
    }
}
