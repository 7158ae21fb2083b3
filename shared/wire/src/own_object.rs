//! What a JSON object of a client's own may hold. It travels as it is written, so whatever two readers of it
//! could take in two ways is refused here.

use domain::Metadata;
use domain::metadata::NotAnObject;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::cell::Cell;
use std::collections::HashSet;

/// How deep it may be nested. The parser's own limit is 128, and messages wrap the object.
const DEPTH_MAX: usize = 32;

/// The first whole number that a double cannot tell from its neighbour.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Objection {
    #[error(transparent)]
    NotAnObject(#[from] NotAnObject),
    /// Half of a character, or a number beyond any double.
    #[error("has a text or a number that cannot be read")]
    Unreadable,
    #[error("may be nested {DEPTH_MAX} deep")]
    TooDeep,
    /// A whole number that was rounded when it was read.
    #[error("has a number that does not fit 64 bits")]
    Rounded,
    /// Readers take the first, the last, or both.
    #[error("has a key twice in one object")]
    RepeatedKey,
    /// Text in a database cannot hold it.
    #[error("must not contain the character U+0000")]
    Nul,
}

/// Takes an object as it is written, if everyone reads the same in it.
pub(crate) fn read(raw: Box<RawValue>) -> Result<Metadata, Objection> {
    let object = Metadata::try_from(raw)?;
    let objection = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(object.as_str());
    match (Checked { depth: DEPTH_MAX, objection: &objection }).deserialize(&mut deserializer) {
        Ok(()) => Ok(object),
        Err(_) => Err(objection.get().unwrap_or(Objection::Unreadable)),
    }
}

/// Walks through a value and keeps nothing of it but what is wrong.
#[derive(Clone, Copy)]
struct Checked<'c> {
    /// How many more levels it may have.
    depth: usize,
    objection: &'c Cell<Option<Objection>>,
}

impl Checked<'_> {
    fn refuse<T, E: Error>(self, objection: Objection) -> Result<T, E> {
        self.objection.set(Some(objection));
        Err(E::custom(objection))
    }

    /// For the values inside this one.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Checked { depth, ..self }),
            None => self.refuse(Objection::TooDeep),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if number.abs() < EXACT_MAX { Ok(()) } else { self.refuse(Objection::Rounded) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { self.refuse(Objection::Nul) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut keys: HashSet<String> = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            self.visit_str(&key)?;
            if !keys.insert(key) {
                return self.refuse(Objection::RepeatedKey);
            }
            fields.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), Objection>) {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        let read = super::read(raw);
        assert_eq!(read.as_ref().map(|_| ()).map_err(|objection| *objection), expected, "{text:.80}");
        assert!(read.is_err() || read.unwrap().as_str() == text, "{text:.80}");
    }

    #[test]
    fn objects_are_kept_as_they_are_written_or_refused() {
        use Objection::{Nul, RepeatedKey, Rounded, TooDeep, Unreadable};
        let nested = |open: &str, close: &str, depth: usize| {
            format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth))
        };
        let no_object = Err(Objection::NotAnObject(NotAnObject));
        let rows = [
            ("{}".to_owned(), Ok(())),
            (r#"{ "b" : [1, 2.50, "x",null, {"b":true}],"a":-0, "":{}}"#.to_owned(), Ok(())),
            (r#"{"a":9e15,"b":[9e15,1e2,1E-7,-9007199254740991.0]}"#.to_owned(), Ok(())),
            (r#"{"a":18446744073709551615,"b":-9223372036854775808}"#.to_owned(), Ok(())),
            (r#"{"a":18446744073709551616}"#.to_owned(), Err(Rounded)),
            (r#"{"a":[{"b":-9223372036854775809}]}"#.to_owned(), Err(Rounded)),
            (r#"{"a":9007199254740992.0}"#.to_owned(), Err(Rounded)),
            (r#"{"a":1e300}"#.to_owned(), Err(Rounded)),
            (r#"{"a":1e400}"#.to_owned(), Err(Unreadable)),
            (r#"{"a":"\ud800"}"#.to_owned(), Err(Unreadable)),
            ("[1]".to_owned(), no_object),
            ("\"{}\"".to_owned(), no_object),
            (nested("[", "]", 31), Ok(())),
            (nested("[", "]", 32), Err(TooDeep)),
            (nested("{\"a\":", "}", 31), Ok(())),
            (nested("{\"a\":", "}", 32), Err(TooDeep)),
            (nested("[", "]", 120), Err(TooDeep)),
            (r#"{"a":{"b":1},"b":{"a":1}}"#.to_owned(), Ok(())),
            (r#"{"a":1,"a":1}"#.to_owned(), Err(RepeatedKey)),
            (r#"{"a":1,"\u0061":2}"#.to_owned(), Err(RepeatedKey)),
            (r#"{"a":[{"b":1,"c":2,"b":3}]}"#.to_owned(), Err(RepeatedKey)),
            (r#"{"a":"\u0001\\u0000"}"#.to_owned(), Ok(())),
            (r#"{"a":"x\u0000"}"#.to_owned(), Err(Nul)),
            (r#"{"a":["x",{"b":"\u0000"}]}"#.to_owned(), Err(Nul)),
            (r#"{"\u0000":1}"#.to_owned(), Err(Nul)),
            (r#"{"a":{"x\u0000y":1}}"#.to_owned(), Err(Nul)),
        ];
        for (text, expected) in rows {
            check(&text, expected);
        }
    }
}
