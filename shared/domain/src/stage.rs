//! The names of the stages that judge a payment.

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
