//! The rules that protect money and progress, each of which can be taken out to see that it is missed. All of
//! them are taken out from outside, at the seams and in the ledger in memory: no program has a switch for it.

/// A rule that the simulation can do without, to show that it turns red then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guard {
    /// A delivery is acknowledged last: the unacknowledged input is the outbox.
    AckLast,
    /// What a redelivered payment's row says is told again.
    TellAgain,
    /// Settle posts what is RESERVED, and nothing else.
    SettleState,
    /// The janitor asks the ledger again right before it purges.
    SecondLook,
    /// The janitor reads first how far risk has come.
    FloorFirst,
    /// The gateway stores a payment only where its subject holds none.
    OnlyIfAbsent,
    /// Locks are taken in one order.
    LockOrder,
    /// What waits for something of its own for long is let go.
    LetGo,
}

impl Guard {
    pub(crate) const ALL: [Guard; 8] = [
        Guard::AckLast,
        Guard::TellAgain,
        Guard::SettleState,
        Guard::SecondLook,
        Guard::FloorFirst,
        Guard::OnlyIfAbsent,
        Guard::LockOrder,
        Guard::LetGo,
    ];

    /// As the table in the documentation names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Guard::AckLast => "acknowledge last",
            Guard::TellAgain => "tell again on redelivery",
            Guard::SettleState => "settle only what is reserved",
            Guard::SecondLook => "look again before a purge",
            Guard::FloorFirst => "read risk's floor first",
            Guard::OnlyIfAbsent => "accept only if absent",
            Guard::LockOrder => "one order of locks",
            Guard::LetGo => "let go of what waits",
        }
    }
}
