//! Subjects: `pay.<hop>.<shard>.<payment>`, and `pay.dead.<stage>.<payment>` for what was buried.

use crate::StageName;
use domain::PaymentKey;
use domain::id::InvalidId;

/// A step that a payment has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hop {
    /// Durable at the intake.
    Accepted,
    /// Risk let it pass.
    Screened,
    /// Has its destination amount.
    Quoted,
    /// Its money is held.
    Reserved,
    /// Refused by a stage; to be recorded.
    Rejected,
    /// Captured or failed, recorded in the ledger.
    Finished,
}

impl Hop {
    /// Every hop, in the order of a payment's life.
    pub const ALL: [Hop; 6] = [Hop::Accepted, Hop::Screened, Hop::Quoted, Hop::Reserved, Hop::Rejected, Hop::Finished];

    /// The subject token, and the `stage` that a client is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Hop::Accepted => "accepted",
            Hop::Screened => "screened",
            Hop::Quoted => "quoted",
            Hop::Reserved => "reserved",
            Hop::Rejected => "rejected",
            Hop::Finished => "finished",
        }
    }

    /// Whether messages of this hop are spread over shards by source account.
    pub const fn is_sharded(self) -> bool {
        !matches!(self, Hop::Accepted | Hop::Finished)
    }
}

/// A subject of the pipeline, or a pattern over them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// Where a payment's message of this hop goes. Hops that are not sharded use the token `0`.
    pub fn of(hop: Hop, shard: u16, payment: &PaymentKey) -> Subject {
        let shard = if hop.is_sharded() { shard } else { 0 };
        Subject(format!("pay.{}.{shard}.{}", hop.as_str(), payment.token()))
    }

    /// Where a payment that a stage could not judge is buried. `token` is the payment's subject token, well-formed or not.
    pub fn dead(stage: StageName, token: &str) -> Subject {
        Subject(format!("pay.dead.{stage}.{token}"))
    }

    /// Every message of a hop and shard.
    pub fn all_of(hop: Hop, shard: u16) -> Subject {
        Subject(format!("pay.{}.{shard}.*", hop.as_str()))
    }

    /// Every buried message.
    pub fn all_dead() -> Subject {
        Subject("pay.dead.*.*".to_owned())
    }

    /// Every message of a hop, over all shards.
    pub fn everywhere(hop: Hop) -> Subject {
        Subject(format!("pay.{}.>", hop.as_str()))
    }

    /// The last token of a subject: the payment's, if it is one of ours.
    pub fn payment_token(subject: &str) -> &str {
        subject.rsplit('.').next().unwrap_or(subject)
    }

    /// The payment that a subject names.
    pub fn payment(subject: &str) -> Result<PaymentKey, InvalidId> {
        PaymentKey::from_token(Subject::payment_token(subject))
    }

    /// The subject as the broker knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_spelled_as_the_contract_says() {
        let payment = PaymentKey::from_token("PAY-1").unwrap();
        let other = PaymentKey::from_token("acme~PAY-1").unwrap();
        let rows = [
            (Subject::of(Hop::Accepted, 3, &payment), "pay.accepted.0.PAY-1"),
            (Subject::of(Hop::Screened, 3, &payment), "pay.screened.3.PAY-1"),
            (Subject::of(Hop::Finished, 3, &other), "pay.finished.0.acme~PAY-1"),
            (Subject::dead(StageName::SettleRejected, "PAY-1"), "pay.dead.settle_rejected.PAY-1"),
            (Subject::all_of(Hop::Quoted, 2), "pay.quoted.2.*"),
            (Subject::everywhere(Hop::Finished), "pay.finished.>"),
        ];
        for (subject, text) in rows {
            assert_eq!(subject.as_str(), text);
        }
        assert_eq!(Subject::payment("pay.screened.3.acme~PAY-1"), Ok(other));
        assert!(Subject::payment("pay.screened.3.a b").is_err());
    }
}
