//! Risk: consumes accepted payments, forwards screened ones.
//!
//! Refuses with `risk_rejected` what breaks a limit; the broken rules go with the refusal. Asked again about
//! a payment it does not count it again, so the second answer may only differ by what others have sent since;
//! the ledger keeps the first.

use crate::pipeline::velocities::Velocities;
use domain::facts::{Rejection, Screening};
use domain::risk::{RiskLimits, assess};
use domain::{Facts, Refusal, StageName, Timestamp};
use runtime::stage::{Fault, Input, Stage, Verdict};
use std::sync::Arc;
use wire::message::{PaymentAccepted, PaymentRejected, PaymentScreened};

pub(crate) struct Risk {
    /// What a payment may be at most.
    pub(crate) limits: Arc<RiskLimits>,
    /// What accounts have sent lately.
    pub(crate) velocities: Arc<Velocities>,
}

impl Stage for Risk {
    const NAME: StageName = StageName::Risk;
    type In = PaymentAccepted;
    type Out = PaymentScreened;

    async fn advance(
        &self,
        batch: &[Input<PaymentAccepted>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentScreened>>, Fault> {
        Ok(batch.iter().map(|input| self.screen(input, now)).collect())
    }
}

impl Risk {
    fn screen(&self, input: &Input<PaymentAccepted>, now: Timestamp) -> Verdict<PaymentScreened> {
        let PaymentAccepted { payment, fingerprint } = input.message.clone();
        let facts = Facts { payment, fingerprint, accepted_seq: input.seq, accepted_at: input.accepted_at };
        let velocity = self.velocities.count(&facts, input.is_redriven);
        let assessment = assess(facts.payment.amount, velocity, &self.limits);
        if assessment.broken.is_empty() {
            let screening = Screening { score: assessment.score, at: now };
            return Verdict::Forward(PaymentScreened { facts, screening });
        }
        let rules = assessment.broken.iter().map(|rule| rule.id().to_owned()).collect();
        let rejection = Rejection { stage: StageName::Risk, reason: Refusal::RiskRejected, rules, at: now };
        Verdict::Reject(Box::new(PaymentRejected { facts, screening: None, quote: None, rejection }))
    }
}

#[cfg(test)]
#[path = "risk_tests.rs"]
mod tests;
