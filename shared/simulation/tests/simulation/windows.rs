//! The crash windows of this architecture, as they are numbered in the research on reliability, and how a run
//! recognises that one was struck.

/// A window, what it is, and whether memory can show it.
pub(crate) const WINDOWS: [(&str, &str); 23] = [
    ("W1", "gateway dies before it stores anything"),
    ("W4", "gateway gets no PubAck, stored or not"),
    ("W6", "gateway dies between PubAck and 202"),
    ("W7", "a publish arrives after its 503"),
    ("W8", "one id, two gateways, two contents"),
    ("W9", "an id again after its payment has left the intake"),
    ("W10", "a stream or the intake is full"),
    ("W11", "a consumer is gone and declared again"),
    ("W13", "a worker dies between delivery and commit"),
    ("W14", "a worker dies between commit and publish"),
    ("W15", "a worker dies between publish and acknowledgement"),
    ("W18", "a COMMIT's answer is lost"),
    ("W19", "a transaction is rolled back under its owner"),
    ("W20", "a transaction is aborted in favour of another"),
    ("W21", "a batch with a message of junk in it"),
    ("W23", "an acknowledgement is lost or late"),
    ("W24", "two workers have one message at once"),
    ("W25", "fx is asked again after the rate has moved"),
    ("W26", "five deliveries of one message, and more"),
    ("W27", "a batch takes longer than the acknowledgement time"),
    ("W28", "a hold whose message is lost for good"),
    ("W29", "a payment comes to reserve again after it has ended"),
    ("W32", "an older worker reads a newer version"),
];

/// The windows of the list that do not exist here, and why.
pub(crate) const ABSENT: [(&str, &str); 9] = [
    ("W2", "the intake is written first, not the ledger"),
    ("W3", "there is no outbox to relay"),
    ("W5", "202 can only be made from a PubAck: a type, not a run"),
    ("W12", "every publish awaits its PubAck"),
    ("W16", "publish before commit: the order is the harness' own"),
    ("W17", "acknowledge before commit: the guard of that name is taken out instead"),
    ("W22", "every delivery is acknowledged by itself"),
    ("W30", "there are no webhooks yet"),
    ("W31", "status is read from the primary alone"),
];

/// What a fault has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    DiedBefore,
    DiedAfter,
    /// What it did not hear is that nothing was done.
    DiedAfterError,
    NoAnswer,
    Late,
}

/// The window that a call of some role was in when it was struck.
pub(crate) fn of_call(role: &str, call: &str, struck: Struck) -> Option<&'static str> {
    let is_write = matches!(call, "reserve" | "settle" | "record_rejections");
    let is_publish = matches!(call, "publish" | "publish_batch" | "publish_singles");
    match (role, struck) {
        ("gateway", Struck::DiedBefore) if is_publish => Some("W1"),
        ("gateway", Struck::DiedAfter) if is_publish => Some("W6"),
        ("gateway", Struck::NoAnswer) if is_publish => Some("W4"),
        ("gateway", Struck::Late) if is_publish => Some("W7"),
        ("gateway" | "janitor", _) => None,
        (_, Struck::DiedBefore) if is_write => Some("W13"),
        (_, Struck::DiedAfter) if is_write => Some("W14"),
        (_, Struck::DiedBefore) if is_publish => Some("W14"),
        (_, Struck::DiedAfter) if is_publish => Some("W15"),
        _ => None,
    }
}
