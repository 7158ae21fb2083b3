//! Business refusals: values, never errors. A refused payment ends as FAILED with one of these as its reason.

use crate::StageName;
use serde::{Deserialize, Serialize};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal),+ $(,)?) => {
        /// Why a stage refuses a payment. The codes are stable: clients and dashboards rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Refusal {
            $($(#[$doc])* #[serde(rename = $code)] $name,)+
        }

        impl Refusal {
            /// Every refusal there is.
            pub const ALL: &[Refusal] = &[$(Refusal::$name),+];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Refusal::$name => $code),+ }
            }

            /// The refusal with this code.
            pub fn from_code(code: &str) -> Option<Refusal> {
                match code { $($code => Some(Refusal::$name),)+ _ => None }
            }
        }
    };
}

refusals! {
    /// A risk rule refused it; the rules' ids are kept beside.
    RiskRejected = "risk_rejected",
    /// The source or destination account does not exist.
    AccountNotFound = "account_not_found",
    /// The source account is frozen.
    AccountFrozen = "account_frozen",
    /// The payment's currency is not the source account's, or the destination currency not the destination's.
    CurrencyMismatch = "currency_mismatch",
    /// The rate book has no rate for the pair, or one outside the exact arithmetic's range.
    FxRateUnavailable = "fx_rate_unavailable",
    /// The newest rate is older than allowed.
    FxRateStale = "fx_rate_stale",
    /// After conversion less than one minor unit would arrive.
    AmountTooSmall = "amount_too_small",
    /// After conversion more would arrive than one operation may move.
    AmountTooLarge = "amount_too_large",
    /// The source account's available balance is below the amount.
    InsufficientFunds = "insufficient_funds",
    /// The destination account cannot take the amount: its balance would leave the range that a ledger row
    /// can hold.
    DestinationLimit = "destination_limit",
}

impl Refusal {
    /// What a stage can refuse a payment with by its own judgement.
    pub const fn of_stage(stage: StageName) -> &'static [Refusal] {
        match stage {
            StageName::Risk => &[Refusal::RiskRejected],
            StageName::Fx => &[
                Refusal::AccountNotFound,
                Refusal::CurrencyMismatch,
                Refusal::FxRateUnavailable,
                Refusal::FxRateStale,
                Refusal::AmountTooSmall,
                Refusal::AmountTooLarge,
            ],
            StageName::Reserve => &[
                Refusal::AccountNotFound,
                Refusal::AccountFrozen,
                Refusal::CurrencyMismatch,
                Refusal::AmountTooLarge,
                Refusal::InsufficientFunds,
            ],
            StageName::Settle => &[Refusal::DestinationLimit],
            // It records what others have refused.
            StageName::SettleRejected => &[],
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_some_stages() {
        for refusal in Refusal::ALL {
            let stages = StageName::ALL.into_iter();
            let refusing = stages.filter(|stage| Refusal::of_stage(*stage).contains(refusal));
            assert!(refusing.count() > 0, "{refusal}");
        }
    }

    #[test]
    fn every_code_leads_back_to_its_refusal() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(*refusal));
            assert_eq!(serde_json::to_string(refusal).unwrap(), format!("\"{}\"", refusal.code()));
        }
    }
}
