//! Headers of our own on messages. Names are case-sensitive in NATS.

/// How many times the janitor has published this accepted payment again; absent on the first copy.
pub const REDRIVE: &str = "Kilat-Redrive";
/// The stream time of the first copy, RFC 3339; absent on the first copy, whose own stream time it is.
pub const ACCEPTED_AT: &str = "Kilat-Accepted-At";
/// On a service's reply: `true` when the operation had been done before and this is its answer again.
pub const REPLAYED: &str = "Kilat-Replayed";
/// On a buried message: why.
pub const DEAD_REASON: &str = "Kilat-Dead-Reason";
