//! An event of `/live`: how every role does, once a second. What is not known is null.

use crate::Role;
use domain::Timestamp;
use serde::{Deserialize, Serialize};

/// One second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReport {
    /// When it was put together.
    pub at: Timestamp,
    /// Whether the gateway is connected to the broker.
    pub broker: bool,
    /// Payments that came in.
    pub accepted_per_s: Option<f64>,
    /// Payments that were captured.
    pub settled_per_s: Option<f64>,
    /// Payments that failed.
    pub failed_per_s: Option<f64>,
    /// From a request to its answer.
    pub accept_p99_s: Option<f64>,
    /// From acceptance to capture.
    pub settle_p99_s: Option<f64>,
    /// Messages that wait for any stage or are in its hands.
    pub in_flight: Option<u64>,
    /// Dead letters that wait for someone.
    pub dead_letters: Option<u64>,
    /// Whether the money is where it belongs.
    pub money: LiveMoney,
    /// The border and the stages, in the order of a payment's life.
    pub stages: Vec<LiveStage>,
    /// Every role.
    pub roles: Vec<LiveRole>,
}

/// What the audit says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveMoney {
    /// Whether the audit answers, and looks at what was posted lately.
    pub is_audited: bool,
    /// How far it is behind.
    pub audit_lag_s: Option<f64>,
    /// What it has found and nobody has resolved.
    pub violations: Option<u64>,
    /// Each currency of the ledger.
    pub currencies: Vec<LiveCurrency>,
}

/// The entries of a currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveCurrency {
    /// Its code.
    pub currency: String,
    /// What they do not sum to zero by.
    pub imbalance_minor: i64,
    /// Whether the audit vouches for them now.
    pub is_conserved: bool,
}

/// The border, or a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStage {
    /// Its name.
    pub stage: String,
    /// Whether anyone who plays it answers.
    pub is_up: bool,
    /// Payments that it took.
    pub per_s: Option<f64>,
    /// How many of them at once, on average.
    pub batch: Option<f64>,
    /// Messages that wait for it or are in its hands.
    pub lag: Option<u64>,
    /// How long a batch takes it; of the border, a request.
    pub p99_s: Option<f64>,
    /// Whether it has so much to bury that it buries nothing.
    pub halted: bool,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveRole {
    /// Which one.
    pub role: Role,
    /// How many players of it answer.
    pub instances: u64,
    /// Whether any does.
    pub is_up: bool,
}
