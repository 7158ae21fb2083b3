//! What can go wrong, and what does in one run.

use crate::chance::Chance;

macro_rules! faults {
    ($($name:ident: $text:literal,)+) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $(#[doc = $text] $name,)+
        }

        impl Fault {
            pub(crate) const ALL: &'static [Fault] = &[$(Fault::$name,)+];

            /// As the report calls it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Fault::$name => $text,)+
                }
            }
        }
    };
}

faults! {
    // Of single calls.
    Delay: "a call or its answer takes long",
    RequestLost: "a request is lost",
    AnswerLost: "an answer is lost, the request carried out",
    RequestLate: "a publish arrives after its sender gave up",
    BatchCut: "a connection is cut in the middle of a batch of publishes",
    DiesBefore: "a process dies before a call is carried out",
    DiesAfter: "a process dies before it hears the answer",
    // Of deliveries.
    AckLost: "an acknowledgement is lost",
    AckLate: "an acknowledgement comes late",
    Duplicate: "a message is delivered again",
    Reorder: "messages are delivered in another order",
    // Of the ledger's transactions.
    SessionCut: "a session is cut in a transaction",
    RaceLost: "a transaction is aborted (40001)",
    CommitLost: "a COMMIT's answer is lost, carried out or not",
    SlowStatement: "a statement takes long",
    // Of processes.
    Kill: "a process is killed",
    Freeze: "a process stands still",
    Restart: "a process is stopped and started",
    ClockJump: "a process' clock jumps",
    // Of servers.
    BrokerAway: "the broker is away",
    BrokerSilent: "the broker is silent",
    BrokerRestart: "the broker starts again, memory lost",
    LedgerAway: "the ledger is away",
    LedgerSilent: "the ledger is silent",
    LedgerSetBack: "the ledger is set back",
    StreamLost: "a stream vanishes",
    ConsumerLost: "a consumer vanishes",
    // Of data.
    AccountLocked: "an account is locked by an outsider",
    PaymentLocked: "a payment's row is locked by an outsider",
    Junk: "a message of junk",
    Newer: "a message of a newer version",
    RateMoves: "a rate moves",
    Buried: "a payment is buried, and driven again by somebody",
    // Of sizes and numbers.
    SmallStreams: "streams are full",
    SmallIntake: "the intake is full",
    TwoWorkers: "two workers on one shard",
    TwoJanitors: "two janitors",
}

impl Fault {
    fn place(self) -> usize {
        self as usize
    }

    /// How often it strikes a call, a delivery or a step in a million, where it is enabled.
    fn rate(self) -> u32 {
        match self {
            Fault::Delay => 20_000,
            Fault::RequestLost | Fault::AnswerLost => 6_000,
            Fault::RequestLate | Fault::BatchCut => 20_000,
            Fault::DiesBefore | Fault::DiesAfter => 15_000,
            Fault::AckLost | Fault::AckLate => 50_000,
            Fault::Duplicate => 50_000,
            Fault::Reorder => 300_000,
            Fault::SessionCut => 4_000,
            Fault::RaceLost | Fault::CommitLost => 20_000,
            Fault::SlowStatement => 10_000,
            _ => 0,
        }
    }
}

/// Faults that hurt together: chance alone brings them together too rarely.
const COMPANIES: [&[Fault]; 3] = [
    // Held for long, and refused by another judgement meanwhile.
    &[Fault::AccountLocked, Fault::RateMoves, Fault::StreamLost, Fault::Buried],
    &[Fault::AccountLocked, Fault::RateMoves, Fault::Duplicate, Fault::AckLost],
    // Batches whose rows others insert, and judge again.
    &[Fault::TwoWorkers, Fault::Freeze, Fault::SlowStatement, Fault::Duplicate],
];

/// What may happen in one run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    enabled: Vec<bool>,
}

impl Plan {
    /// A few kinds together, one alone, or a company: who meets everything at once never comes far enough to be hurt.
    pub(crate) fn draw(chance: &Chance) -> Plan {
        let mut enabled = vec![false; Fault::ALL.len()];
        if chance.one_in(6) {
            enabled[chance.pick(Fault::ALL).place()] = true;
        } else if chance.one_in(12) {
            chance.pick(&COMPANIES).iter().for_each(|fault| enabled[fault.place()] = true);
        } else {
            let one_in = chance.between(2..7);
            enabled.iter_mut().for_each(|is_enabled| *is_enabled = chance.one_in(one_in));
        }
        Plan { enabled }
    }

    /// Only these.
    pub(crate) fn of(faults: &[Fault]) -> Plan {
        Plan { enabled: Fault::ALL.iter().map(|fault| faults.contains(fault)).collect() }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.enabled[fault.place()]
    }

    /// Those that are enabled.
    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.has(*fault))
    }

    /// Whether nothing but these is enabled.
    pub(crate) fn is_only(&self, faults: &[Fault]) -> bool {
        self.faults().all(|fault| faults.contains(&fault))
    }

    /// How often a fault strikes in a million.
    pub(crate) fn rate(&self, fault: Fault) -> u32 {
        if self.has(fault) { fault.rate() } else { 0 }
    }
}
