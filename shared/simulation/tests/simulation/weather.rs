//! What befalls the steps of the ledger's transactions in one process.

use crate::faults::Fault;
use crate::process::Process;
use std::sync::Arc;
use std::time::Duration;
use store::memory::{Happening, Place, Step, Strike, Weather};

/// Statements of one process.
pub(crate) struct Statements(pub(crate) Arc<Process>);

impl Weather for Statements {
    fn at(&self, step: Step) -> Happening {
        let (conditions, process) = (&self.0.conditions, &self.0);
        let chance = conditions.chance();
        let before = if conditions.strikes(Fault::SlowStatement) {
            chance.milliseconds(300..6_000)
        } else if chance.one_in(2) {
            Duration::ZERO
        } else {
            chance.milliseconds(1..3)
        };
        let mut happening = Happening { before, after: Duration::ZERO, strike: None };
        if step.place == Place::Query {
            return happening;
        }
        let tell = |what: &str| {
            conditions.tell(&process.name, || format!("{:?} at {:?}: {what}", step.call, step.place));
        };
        if conditions.strikes(Fault::SessionCut) {
            tell("the session is cut");
            conditions.window("W19");
            happening.strike = Some(Strike::Cut);
        } else if conditions.strikes(Fault::RaceLost) {
            tell("another transaction is preferred");
            conditions.window("W20");
            happening.strike = Some(Strike::LostRace);
        } else if step.place == Place::Commit && conditions.strikes(Fault::CommitLost) {
            conditions.window("W18");
            let is_carried_out = chance.one_in(2);
            tell(if is_carried_out { "carried out, and not answered" } else { "not carried out" });
            happening.after = Duration::from_secs(2);
            happening.strike = Some(if is_carried_out { Strike::AnswerLost } else { Strike::Cut });
        }
        happening
    }
}
