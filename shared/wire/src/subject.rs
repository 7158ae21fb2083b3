//! Subjects: `pay.<hop>.<shard>.<payment>`, and `pay.dead.<stage>.<payment>` for what was buried. `kilat.figures`
//! asks roles for what they have counted.

use crate::{Role, StageName};
use domain::PaymentKey;
use domain::id::InvalidId;

/// Short questions and answers that no stream keeps have subjects that no stream can be asked for.
const FIGURES: &str = "kilat.figures";

domain::closed_set! {
    /// A step that a payment has behind it, in the order of a payment's life. The name is the subject's
    /// token, and the `stage` that a client is told.
    Hop {
        /// Durable at the intake.
        Accepted = "accepted",
        /// Passed risk.
        Screened = "screened",
        /// Has its destination amount.
        Quoted = "quoted",
        /// Its money is held.
        Reserved = "reserved",
        /// Refused by a stage; to be recorded.
        Rejected = "rejected",
        /// Captured or failed, recorded in the ledger.
        Finished = "finished",
    }
}

/// Where a hop stands in a payment's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the intake: the truth that the others are derived from.
    Intake,
    /// On the way from one stage to the next.
    OnTheWay,
    /// On the way to the record of refusals.
    Refused,
    /// At the end: nothing of ours waits for it.
    End,
}

impl Hop {
    /// Where it stands.
    pub const fn place(self) -> Place {
        match self {
            Hop::Accepted => Place::Intake,
            Hop::Screened | Hop::Quoted | Hop::Reserved => Place::OnTheWay,
            Hop::Rejected => Place::Refused,
            Hop::Finished => Place::End,
        }
    }

    /// Its number in a payment's life, from 1 on: the `id` of its event.
    pub const fn number(self) -> u64 {
        // The names are in the order of a payment's life.
        self as u64 + 1
    }

    /// Whether a derived stream carries the payment to a stage that has not judged it yet. These hops are
    /// spread over shards by source account.
    pub const fn is_sharded(self) -> bool {
        match self.place() {
            Place::OnTheWay | Place::Refused => true,
            Place::Intake | Place::End => false,
        }
    }

    /// The hops whose streams carry payments: what is in none of them and not recorded is lost.
    pub fn carrying() -> impl Iterator<Item = Hop> {
        Hop::ALL.into_iter().filter(|hop| hop.is_sharded())
    }
}

/// A subject of the pipeline, or a pattern over them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// Where a payment's message of this hop goes. Hops that are not sharded use the token `0`.
    pub fn of(hop: Hop, shard: u16, payment: &PaymentKey) -> Subject {
        let shard = if hop.is_sharded() { shard } else { 0 };
        Subject::at(hop, shard, &payment.token())
    }

    /// Where the intake keeps what has this token, whether it names a payment or not.
    pub fn accepted(token: &str) -> Subject {
        Subject::at(Hop::Accepted, 0, token)
    }

    fn at(hop: Hop, shard: u16, token: &str) -> Subject {
        let hop = hop.as_str();
        let mut subject = String::with_capacity("pay...65535".len() + hop.len() + token.len());
        subject.push_str("pay.");
        subject.push_str(hop);
        subject.push('.');
        match shard {
            0 => subject.push('0'),
            shard => subject.push_str(&shard.to_string()),
        }
        subject.push('.');
        subject.push_str(token);
        Subject(subject)
    }

    /// Where a payment that a stage could not judge is buried. `token` is the payment's subject token,
    /// well-formed or not.
    pub fn dead(stage: StageName, token: &str) -> Subject {
        Subject(format!("pay.dead.{stage}.{token}"))
    }

    /// Every message of a hop and shard.
    pub fn all_of(hop: Hop, shard: u16) -> Subject {
        Subject(format!("pay.{}.{shard}.*", hop.as_str()))
    }

    /// Every message of a payment, and its burial.
    pub fn all_about(payment: &PaymentKey) -> Subject {
        Subject(format!("pay.*.*.{}", payment.token()))
    }

    /// Every buried message.
    pub fn all_dead() -> Subject {
        Subject("pay.dead.*.*".to_owned())
    }

    /// Every message of a hop, over all shards.
    pub fn everywhere(hop: Hop) -> Subject {
        Subject(format!("pay.{}.>", hop.as_str()))
    }

    /// Where a gateway asks every role for its figures; core messages, outside of any stream.
    pub fn figures_wanted() -> Subject {
        Subject(FIGURES.to_owned())
    }

    /// Where the players of a role tell their figures.
    pub fn figures_of(role: Role) -> Subject {
        Subject(format!("{FIGURES}.{role}"))
    }

    /// All figures that are told.
    pub fn all_figures() -> Subject {
        Subject(format!("{FIGURES}.*"))
    }

    /// The last token of a subject: the payment's, if it is one of ours.
    pub fn payment_token(subject: &str) -> &str {
        subject.rsplit('.').next().unwrap_or(subject)
    }

    /// The hop of a subject; none where it is of a buried message or not ours.
    pub fn hop(subject: &str) -> Option<Hop> {
        subject.split('.').nth(1).and_then(Hop::named)
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
            (Subject::all_about(&payment), "pay.*.*.PAY-1"),
            (Subject::figures_wanted(), "kilat.figures"),
            (Subject::figures_of(Role::Risk), "kilat.figures.risk"),
            (Subject::all_figures(), "kilat.figures.*"),
        ];
        for (subject, text) in rows {
            assert_eq!(subject.as_str(), text);
        }
        assert_eq!(Subject::payment("pay.screened.3.acme~PAY-1"), Ok(other));
        assert!(Subject::payment("pay.screened.3.a b").is_err());
    }
    #[test]
    fn hops_are_walked_as_payments_go() {
        assert_eq!(
            Hop::carrying().collect::<Vec<_>>(),
            [Hop::Screened, Hop::Quoted, Hop::Reserved, Hop::Rejected]
        );
        assert_eq!(Hop::ALL.map(Hop::number), [1, 2, 3, 4, 5, 6]);
    }
}
