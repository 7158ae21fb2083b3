//! The envelope: a JSON object whose first field `v` is the format's version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that this build writes and reads.
pub const VERSION: u32 = 1;

/// How a message of this version begins.
const HEAD: &[u8] = b"{\"v\":1,";
const _: () = assert!(VERSION == 1, "the head names the version");

/// Most messages are shorter.
const BYTES_USUAL: usize = 1 << 10;

/// Why a payload is not a message that this build understands.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not of the message's shape.
    #[error("undecodable message: {}", without_values(.0))]
    Malformed(#[from] serde_json::Error),
    /// Written by a build that knows more.
    #[error("unknown message version {0}")]
    UnknownVersion(u32),
}

/// The parser's words up to where they quote what it has read: logs tell nobody's accounts and amounts. The
/// name of a missing field is our own.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(['"', '`']) {
        Some((said, _)) if !said.starts_with("missing field") => {
            format!("{} at line {} column {}", said.trim_end(), error.line(), error.column())
        }
        _ => text,
    }
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Writes a message with its version in front. The message must serialise to a JSON object.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(BYTES_USUAL);
    bytes.extend_from_slice(HEAD);
    let start = bytes.len();
    serde_json::to_writer(&mut bytes, message)?;
    match bytes[start..] {
        // The fields follow the version's in one object.
        [b'{', b'"', ..] => drop(bytes.remove(start)),
        _ => return Err(serde::ser::Error::custom("not an object with fields")),
    }
    Ok(bytes)
}

/// Reads a message of the version that this build knows.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    // As this build writes it. Anything else is read twice: nothing is known of its shape before its version is.
    if payload.starts_with(HEAD) {
        return Ok(serde_json::from_slice(payload)?);
    }
    let version: Version = serde_json::from_slice(payload)?;
    if version.v != VERSION {
        return Err(DecodeError::UnknownVersion(version.v));
    }
    Ok(serde_json::from_slice(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_message_is_an_object_that_opens_with_its_version() {
        let message = BTreeMap::from([("a", 1), ("b", 2)]);
        let encoded = encode(&message).unwrap();
        assert_eq!(encoded, br#"{"v":1,"a":1,"b":2}"#);
        assert!(encode(&[1, 2]).is_err() && encode(&BTreeMap::<String, u8>::new()).is_err());
        #[derive(Debug, PartialEq, Deserialize)]
        struct Message {
            a: u8,
        }
        // The version may stand anywhere, and a newer one is told from what cannot be read.
        for (payload, expected) in [
            (&encoded[..], Ok(1)),
            (br#"{ "a": 2, "v": 1 }"#, Ok(2)),
            (br#"{"v":1 ,"a":3}"#, Ok(3)),
            (br#"{"v":2,"a":4}"#, Err("unknown message version 2")),
            (br#"{"v":10,"a":5}"#, Err("unknown message version 10")),
            (br#"{"v":2}"#, Err("unknown message version 2")),
            (br#"{"v":1,"b":1}"#, Err("undecodable message: missing field `a` at line 1 column 13")),
            (br#"{"a":1}"#, Err("undecodable message: missing field `v` at line 1 column 7")),
            (br#"{"v":1,"#, Err("undecodable message: EOF while parsing a value at line 1 column 7")),
        ] {
            let found = decode::<Message>(payload).map(|message| message.a);
            assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
    }
}
