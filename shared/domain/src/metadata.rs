//! A sender's own JSON object: carried as it was written, looked into only to tell two requests apart.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::sync::Arc;

/// A JSON object, byte for byte as its sender wrote it. Writing it anew could make it several times as long
/// (`9e15` becomes `9000000000000000.0`), and messages would outgrow the limits that their requests kept to.
/// Two are equal when they are written alike; whether they mean the same is for the fingerprint to say.
/// Clones share the text.
#[derive(Clone)]
pub struct Metadata(Arc<RawValue>);

/// The text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a JSON object")]
pub struct NotAnObject;

impl Metadata {
    /// Reads the text of an object.
    pub fn parse(text: impl Into<String>) -> Result<Metadata, NotAnObject> {
        RawValue::from_string(text.into()).map_err(|_| NotAnObject)?.try_into()
    }

    /// The object as it was written.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The same text for every way to write one content: keys sorted, numbers and strings in one form, no
    /// white space, and nothing at all for an object without fields.
    pub(crate) fn canonical(&self) -> String {
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(self.as_str()) {
            Ok(object) if object.is_empty() => String::new(),
            Ok(object) => serde_json::to_string(&object).unwrap_or_default(),
            // The border lets through only what can be read; anything else is told apart by how it is
            // written.
            Err(_) => self.as_str().to_owned(),
        }
    }
}

impl TryFrom<Box<RawValue>> for Metadata {
    type Error = NotAnObject;
    fn try_from(raw: Box<RawValue>) -> Result<Metadata, NotAnObject> {
        if raw.get().starts_with('{') { Ok(Metadata(raw.into())) } else { Err(NotAnObject) }
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Metadata) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Metadata {}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Metadata({})", self.as_str())
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        Box::<RawValue>::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_object_is_kept_as_it_is_written() {
        let rows = [
            ("{}", Some("{}")),
            (" {\"b\" : 9e15,\n\"a\":1.50} ", Some("{\"b\" : 9e15,\n\"a\":1.50}")),
            (r#"{"a":"\u0041\/"}"#, Some(r#"{"a":"\u0041\/"}"#)),
            ("[]", None),
            ("null", None),
            ("{", None),
            ("{}{}", None),
            ("", None),
        ];
        for (text, kept) in rows {
            let read = Metadata::parse(text);
            assert_eq!(read.as_ref().ok().map(Metadata::as_str), kept, "{text}");
            // In a message, too, read and written.
            let inside: Option<BTreeMap<String, Metadata>> =
                serde_json::from_str(&format!("{{\"m\":{text}}}")).ok();
            let written = inside.map(|inside| serde_json::to_string(&inside).unwrap());
            assert_eq!(written, kept.map(|kept| format!("{{\"m\":{kept}}}")), "{text}");
        }
    }
}
