//! What a client may ask beside the path: an answer only if it differs from the one that the client has
//! (RFC 9110, section 13), and only once there is something to tell (`Prefer: wait`, RFC 7240).

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_NONE_MATCH};
use sha2::{Digest, Sha256};
use std::time::Duration;

const PREFER: &str = "prefer";
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest that a request may wait, in seconds: shorter than proxies and clients give up by themselves.
const WAIT_SECONDS_MAX: u64 = 30;

/// Bytes of a body's hash that tell it apart from the few others of one payment.
const TAG_BYTES: usize = 8;

/// What tells one body from another: the same for the same bytes, whoever answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// That of a body.
    pub(super) fn of(body: &[u8]) -> EntityTag {
        let hash = Sha256::digest(body);
        let digits = hash.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}"));
        EntityTag(format!("\"{}\"", digits.collect::<String>()))
    }

    /// One that is known, in its quotes.
    pub(super) fn written(tag: &str) -> EntityTag {
        EntityTag(tag.to_owned())
    }

    /// As the header has it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(&self.0).ok()
    }
}

/// The bodies that a client has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IfNoneMatch(Vec<String>);

impl IfNoneMatch {
    /// What the request says; nothing where it says none.
    pub(super) fn of(headers: &HeaderMap) -> Option<IfNoneMatch> {
        headers.contains_key(IF_NONE_MATCH).then(|| IfNoneMatch(items(headers, IF_NONE_MATCH.as_str(), ',')))
    }

    /// Whether the client has the body of this tag. The comparison is the weak one, which is this header's.
    pub(super) fn has(&self, tag: &EntityTag) -> bool {
        self.0.iter().any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag.0)
    }
}

/// How long the request would wait, at most so long as a request may. Of preferences that are given more than
/// once the first counts; one that is malformed is ignored.
pub(super) fn wait(headers: &HeaderMap) -> Duration {
    let preferences = items(headers, PREFER, ',');
    let named = preferences.iter().find_map(|preference| {
        // What follows a semicolon are parameters; this preference has none.
        let (preference, _) = split(preference, ';');
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().to_owned())
    });
    Duration::from_secs(named.and_then(|value| seconds(&value)).unwrap_or(0))
}

/// A number of seconds, bare or quoted; too many are as many as there may be.
fn seconds(value: &str) -> Option<u64> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().unwrap_or(WAIT_SECONDS_MAX).min(WAIT_SECONDS_MAX))
}

/// How long was waited at most, as the answer says it.
pub(super) fn applied(wait: Duration) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok()
}

/// The items of a list that may come in several headers, those that are not text left out.
fn items(headers: &HeaderMap, name: &str, separator: char) -> Vec<String> {
    let mut items = Vec::new();
    for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        let mut rest = Some(value);
        while let Some(text) = rest {
            let (item, further) = split(text, separator);
            items.push(item.trim().to_owned());
            rest = further;
        }
    }
    items
}

/// What stands before the first separator outside of quotes, and after it.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    for (place, character) in text.char_indices() {
        match character {
            '"' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                let (item, rest) = text.split_at(place);
                return (item, rest.get(separator.len_utf8()..));
            }
            _ => {}
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let value = |value: &&str| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        values.iter().map(value).collect()
    }

    #[test]
    fn a_client_may_wait_for_so_long_and_no_longer() {
        let rows: [(&[&str], u64); 20] = [
            (&[], 0),
            (&["wait=5"], 5),
            (&["Wait = 5"], 5),
            (&["wait=\"5\""], 5),
            (&["wait=5; x=y"], 5),
            (&["respond-async, wait=5;a=\"b,wait=9\", foo"], 5),
            (&["foo=\"a, wait=9\", wait=5"], 5),
            (&["respond-async", "wait=5"], 5),
            (&["wait=5", "wait=9"], 5),
            (&["wait=31"], 30),
            (&["wait=99999999999999999999"], 30),
            (&["wait=0"], 0),
            (&["wait"], 0),
            (&["wait="], 0),
            (&["wait=-1"], 0),
            (&["wait=5s, foo"], 0),
            (&["wait=1.5"], 0),
            (&["waiting=5"], 0),
            (&["\u{e9}, wait=5", "wait=6"], 6),
            (&["foo=\"open, wait=5"], 0),
        ];
        for (values, expected) in rows {
            assert_eq!(wait(&headers("prefer", values)), Duration::from_secs(expected), "{values:?}");
        }
        assert_eq!(applied(Duration::from_secs(30)).unwrap(), "wait=30");
    }

    #[test]
    fn a_client_says_which_bodies_it_has() {
        let tag = EntityTag::of(b"body");
        assert_eq!(tag.0, "\"230d8358dc8e8890\"");
        assert_ne!(EntityTag::of(b"another"), tag);
        let rows: [(&[&str], Option<bool>); 10] = [
            (&[], None),
            (&["\"230d8358dc8e8890\""], Some(true)),
            (&["W/\"230d8358dc8e8890\""], Some(true)),
            (&["\"a,b\", \"230d8358dc8e8890\""], Some(true)),
            (&["\"a\"", "\"230d8358dc8e8890\""], Some(true)),
            (&["*"], Some(true)),
            (&["\"a\""], Some(false)),
            (&["230d8358dc8e8890"], Some(false)),
            (&["\"a, \"230d8358dc8e8890\""], Some(false)),
            (&[""], Some(false)),
        ];
        for (values, expected) in rows {
            let known = IfNoneMatch::of(&headers("if-none-match", values));
            assert_eq!(known.map(|known| known.has(&tag)), expected, "{values:?}");
        }
    }
}
