//! The names of what runs.

/// What a process plays: the `service` label of its metrics, and for all but the gateway an argument of `stages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The HTTP border.
    Gateway,
    /// Screening and `risk.score`.
    Risk,
    /// Quoting, `fx.rate` and `fx.convert`.
    Fx,
    /// Holds money on the source accounts.
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
