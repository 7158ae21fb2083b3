//! What befalls the steps of the ledger in memory: how long each takes, and what strikes it.

use crate::StoreError;
use crate::memory::objection;
use crate::transaction::Broken;
use std::time::Duration;

/// A method of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Of the stages.
    Reserve,
    /// Of the stages.
    Settle,
    /// Of the stages.
    RecordRejections,
    /// Of the stages.
    AccountCurrencies,
    /// Of the stages.
    RecentPayments,
    /// Of the wallet.
    Deposit,
    /// Makes rows of our own accounts, as part of settle and of deposits.
    SystemAccounts,
    /// Of the harness.
    Bury,
    /// Of the harness.
    OpenDeadLetters,
    /// Of the border.
    Known,
    /// Of the border.
    Status,
    /// Of the border.
    Statuses,
    /// Of the border.
    Account,
    /// Of the janitor.
    Traces,
    /// Of the janitor.
    Records,
    /// Of the janitor.
    HoldsWatermark,
    /// Of the janitor.
    YoungHolds,
    /// Of the janitor.
    LateHolds,
    /// Of the janitor.
    RememberedHolds,
    /// Of the janitor.
    StillHeld,
    /// Of the janitor.
    ForgetHolds,
}

/// Where in a call a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A transaction begins.
    Begin,
    /// It locks rows of one table, waiting for each.
    Lock,
    /// It reads what is there already.
    Read,
    /// It writes; nobody sees it yet.
    Write,
    /// It commits.
    Commit,
    /// A statement that is a transaction of its own.
    Query,
}

/// One round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Whose.
    pub call: Call,
    /// Which.
    pub place: Place,
}

/// What strikes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strike {
    /// The session is cut before the server has done anything: rolled back, and an outage for the caller.
    Cut,
    /// The server ends the transaction in favour of another (SQLSTATE 40001): it is judged again, as often as
    /// the store does that; a statement of its own fails.
    LostRace,
    /// The server does it, and the caller never hears: a COMMIT or a statement of its own stays, anything else
    /// is rolled back. An outage for the caller.
    AnswerLost,
    /// The caller gives up when the step has come to the server, and a COMMIT is carried out only `after` that,
    /// with its locks held until then; any other step is as with `AnswerLost`.
    CommitLate,
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Happening {
    /// Until the server does it. Zero: other tasks have their turn.
    pub before: Duration,
    /// From then until the answer has come, or is given up. Zero: other tasks have their turn.
    pub after: Duration,
    /// What goes wrong.
    pub strike: Option<Strike>,
}

/// Says how each step goes. It is asked once a step, in the order in which the steps begin.
pub trait Weather: Send + Sync {
    /// How this step goes.
    fn at(&self, step: Step) -> Happening;
}

/// Nothing takes time and nothing strikes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calm;

impl Weather for Calm {
    fn at(&self, _: Step) -> Happening {
        Happening::default()
    }
}

/// A step that the server has come to.
pub(super) struct Begun {
    pub(super) after: Duration,
    /// Whether the caller has given up already.
    pub(super) is_late: bool,
    is_answer_lost: bool,
}

/// Lets a step come to the server, or fail on its way.
pub(super) async fn begin(weather: &dyn Weather, step: Step) -> Result<Begun, Broken> {
    let Happening { before, after, strike } = weather.at(step);
    pause(before).await;
    match strike {
        None => Ok(Begun { after, is_late: false, is_answer_lost: false }),
        Some(Strike::AnswerLost) => Ok(Begun { after, is_late: false, is_answer_lost: true }),
        Some(Strike::CommitLate) => Ok(Begun { after, is_late: true, is_answer_lost: true }),
        Some(Strike::Cut) => Err(objection::cut().into()),
        Some(Strike::LostRace) => Err(objection::lost_race().into()),
    }
}

impl Begun {
    /// Waits for the answer.
    pub(super) async fn answered(self) -> Result<(), StoreError> {
        pause(self.after).await;
        if self.is_answer_lost { Err(StoreError::Silent(self.after)) } else { Ok(()) }
    }
}

/// Lets time pass, or the other tasks have their turn.
pub(super) async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
