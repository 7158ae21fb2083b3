//! The envelope: a JSON object whose first field `v` is the format's version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that this build writes and reads.
pub const VERSION: u32 = 1;

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
    #[derive(Serialize)]
    struct Enveloped<'a, T> {
        v: u32,
        #[serde(flatten)]
        message: &'a T,
    }
    serde_json::to_vec(&Enveloped { v: VERSION, message })
}

/// Reads a message of the version that this build knows.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    let version: Version = serde_json::from_slice(payload)?;
    if version.v != VERSION {
        return Err(DecodeError::UnknownVersion(version.v));
    }
    Ok(serde_json::from_slice(payload)?)
}
