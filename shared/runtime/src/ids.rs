//! Fresh ids: the only place that makes them.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest request id that is taken from whoever asks.
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// An id that nobody else has, a UUIDv7 in hexadecimal digits: later ones sort later, up to the millisecond.
pub fn fresh() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// The id under which log lines and problems tell of a request. Every request has one, so it allocates
/// nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// ASCII, and zeros after it.
    bytes: [u8; REQUEST_ID_LENGTH_MAX],
    length: u8,
}

impl RequestId {
    /// One that whoever asks has chosen, if it can stand in headers and log lines as it is.
    pub fn parse(text: &str) -> Option<RequestId> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_short = (1..=REQUEST_ID_LENGTH_MAX).contains(&text.len());
        (is_short && text.bytes().all(is_plain)).then(|| RequestId::of(text.as_bytes()))
    }

    /// One of ours, 16 hexadecimal digits.
    pub fn fresh() -> RequestId {
        let mut digits = [0; 16];
        let mut number = next_of_sequence();
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(number & 0xf) as usize];
            number >>= 4;
        }
        RequestId::of(&digits)
    }

    /// The text is of ASCII, and not too long.
    fn of(text: &[u8]) -> RequestId {
        let mut bytes = [0; REQUEST_ID_LENGTH_MAX];
        bytes[..text.len()].copy_from_slice(text);
        RequestId { bytes, length: text.len() as u8 }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// SplitMix64 from a random start: in one process none comes twice, those of two processes meet by chance
/// only, and the system is asked for randomness once. They are no secret: each tells which come after it.
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
