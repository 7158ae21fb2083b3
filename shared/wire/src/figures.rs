//! What a role has counted, told to gateways while somebody looks at `/live`. A gateway asks all roles at once,
//! and each answers under a subject of its own: one answer is for everyone who asked meanwhile, and nobody can have
//! an answer sent to where it does not belong.

use crate::Role;
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The figures of one player of a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleFigures {
    /// What it plays.
    pub role: Role,
    /// Tells it from others that play the same, and from what it was before a restart.
    pub instance: String,
    /// When they were gathered.
    pub at: Timestamp,
    /// Empty where nothing is recorded.
    pub series: Vec<Series>,
}

/// A metric with one choice of labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The metric's.
    pub name: String,
    /// Each with its value.
    pub labels: BTreeMap<String, String>,
    /// Where it stands now.
    #[serde(flatten)]
    pub figure: Figure,
}

/// What a series says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Of a counter or a gauge.
    Value(f64),
    /// Of a histogram.
    Histogram {
        /// How many observations are no greater than each bound of the metric, and at last how many there are.
        counts: Vec<u64>,
        /// Of all observations.
        sum: f64,
    },
}
