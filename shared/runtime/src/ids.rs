//! Fresh ids: the only place that makes them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// The longest request id that is taken from whoever asks.
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// An id that nobody else has, a UUIDv7 in hexadecimal digits: later ones sort later, up to the millisecond.
pub fn fresh() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// The id under which log lines and problems tell of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// One that whoever asks has chosen, if it can stand in headers and log lines as it is.
    pub fn parse(text: &str) -> Option<RequestId> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_short = (1..=REQUEST_ID_LENGTH_MAX).contains(&text.len());
        (is_short && text.bytes().all(is_plain)).then(|| RequestId(text.into()))
    }

    /// One of ours, 16 hexadecimal digits.
    pub fn fresh() -> RequestId {
        RequestId(format!("{:016x}", next_of_sequence()).into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// SplitMix64 from a random start: every process has numbers of its own, none comes twice, none tells how
/// many there were, and the system is asked for randomness once.
fn next_of_sequence() -> u64 {
    static STATE: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(uuid::Uuid::now_v7().as_u64_pair().1.rotate_left(2)));
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut number = STATE.fetch_add(STEP, Ordering::Relaxed);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn only_ids_that_are_safe_in_a_log_line_are_taken() {
        let longest = "a".repeat(64);
        for (text, is_taken) in [
            ("a", true),
            ("Req_1.2-3", true),
            (longest.as_str(), true),
            ("", false),
            ("a b", false),
            ("a\nb", false),
            ("é", false),
            ("a\"", false),
            (&format!("{longest}a"), false),
        ] {
            assert_eq!(RequestId::parse(text).as_ref().map(RequestId::as_str), is_taken.then_some(text));
        }
    }

    #[test]
    fn fresh_ids_differ_and_can_be_read_back() {
        let ids: HashSet<RequestId> = (0..10_000).map(|_| RequestId::fresh()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| RequestId::parse(id.as_str()).as_ref() == Some(id)));
    }
}
