//! The names of what runs.

use crate::StageName;
use serde::{Deserialize, Serialize};

domain::closed_set! {
    /// What a process plays: the `service` label of its metrics, and for all but the gateway an argument of
    /// `stages`. The first is the border's, the others are the workers'.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Role {
        /// The HTTP border.
        Gateway = "gateway",
        /// Screening and `risk.score`.
        Risk = "risk",
        /// Quoting, `fx.rate` and `fx.convert`.
        Fx = "fx",
        /// Holds.
        Reserve = "reserve",
        /// Postings, and the record of refusals.
        Settle = "settle",
        /// Balances, accounts and deposits by request-reply.
        Wallet = "wallet",
        /// Purges, drives again, emits again.
        Janitor = "janitor",
    }
}

impl Role {
    /// The roles that the `stages` program plays.
    pub const STAGES: &[Role] = Role::ALL.split_at(1).1;

    /// The role that plays a stage.
    pub const fn playing(stage: StageName) -> Role {
        match stage {
            StageName::Risk => Role::Risk,
            StageName::Fx => Role::Fx,
            StageName::Reserve => Role::Reserve,
            StageName::Settle | StageName::SettleRejected => Role::Settle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_all_but_the_gateway() {
        assert_eq!(Role::ALL[0], Role::Gateway);
        assert!(!Role::STAGES.contains(&Role::Gateway) && Role::STAGES.len() + 1 == Role::ALL.len());
    }
}
