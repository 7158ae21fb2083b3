//! The names of what runs: stages consume a stream, roles are what a process can be told to play.

use serde::{Deserialize, Serialize};

/// A consumer of one stream. The name is its durable consumer's, its metrics label and its token in dead subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// Screens accepted payments.
    Risk,
    /// Quotes screened payments.
    Fx,
    /// Holds the money of quoted payments.
    Reserve,
    /// Posts reserved payments.
    Settle,
    /// Records the refusals of risk and fx.
    SettleRejected,
}

impl StageName {
    /// Every stage, in the order a payment meets them.
    pub const ALL: [StageName; 5] = [StageName::Risk, StageName::Fx, StageName::Reserve, StageName::Settle, StageName::SettleRejected];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            StageName::Risk => "risk",
            StageName::Fx => "fx",
            StageName::Reserve => "reserve",
            StageName::Settle => "settle",
            StageName::SettleRejected => "settle_rejected",
        }
    }
}

impl std::fmt::Display for StageName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a process plays: the `service` label of its metrics, and for all but the gateway an argument of `stages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The HTTP border.
    Gateway,
    /// Screening and `risk.score`.
    Risk,
    /// Quoting, `fx.rate` and `fx.convert`.
    Fx,
    /// Holds.
    Reserve,
    /// Postings, and the record of refusals.
    Settle,
    /// Balances, accounts and deposits by request-reply.
    Wallet,
    /// Purges, drives again, emits again.
    Janitor,
}

impl Role {
    /// The roles that the `stages` program plays.
    pub const STAGES: [Role; 6] = [Role::Risk, Role::Fx, Role::Reserve, Role::Settle, Role::Wallet, Role::Janitor];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Risk => "risk",
            Role::Fx => "fx",
            Role::Reserve => "reserve",
            Role::Settle => "settle",
            Role::Wallet => "wallet",
            Role::Janitor => "janitor",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
