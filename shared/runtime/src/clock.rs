//! The wall clock: the only place that reads it for facts that are written down.

use domain::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in microseconds.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
