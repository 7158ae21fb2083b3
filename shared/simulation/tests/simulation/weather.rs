//! What befalls the steps of the ledger's transactions in one process.

use crate::faults::Fault;
use crate::link::LEDGER_PATIENCE;
use crate::process::{Process, Reach, Server};
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
        // It may stand still, or lose the server, between two statements.
        let before = before + process.stands_still_for();
        let mut happening = Happening { before, after: Duration::ZERO, strike: None };
        match process.reach(Server::Ledger) {
            Reach::Up => {}
            Reach::Away => happening.strike = Some(Strike::Cut),
            Reach::Silent => {
                happening.before += LEDGER_PATIENCE;
                happening.strike = Some(Strike::Cut);
            }
        }
        if happening.strike.is_some() {
            return happening;
        }
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
            let ends = [
                ("carried out, and not answered", Strike::AnswerLost),
                ("not carried out", Strike::Cut),
                ("carried out when nobody waits for it", Strike::CommitLate),
            ];
            let (what, strike) = *chance.pick(&ends);
            tell(what);
            happening.after = chance.milliseconds(100..15_000);
            happening.strike = Some(strike);
        }
        happening
    }
}
