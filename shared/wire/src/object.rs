//! Request objects read field by field, so that each thing that can be wrong with one has its own clear
//! answer.

use crate::{Code, Problem, own_object};
use domain::money::AmountError;
use domain::{AccountId, Currency, Metadata, Money};
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of one JSON object, taken out one by one; what is left at the end is unknown.
#[derive(Debug)]
pub struct RequestObject {
    fields: Vec<(String, Box<RawValue>)>,
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom("a field occurs twice"));
            }
            fields.push((name, value));
        }
        Ok(fields)
    }
}

/// The items of a list as they are written, so many at most; what is beyond is only counted.
struct Items {
    max: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut beyond) = (Vec::new(), 0);
        while items.len() < self.max {
            match sequence.next_element()? {
                Some(item) => items.push(item),
                None => return Ok((items, beyond)),
            }
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {
            beyond += 1;
        }
        Ok((items, beyond))
    }
}

/// The items of a list that has from 1 to `max`, each as it is written.
pub fn items<'r>(name: &str, list: &'r RawValue, max: usize) -> Result<Vec<&'r RawValue>, Problem> {
    let read = serde_json::Deserializer::from_str(list.get()).deserialize_seq(Items { max });
    match read {
        Ok((items, 0)) if !items.is_empty() => Ok(items),
        Ok((items, beyond)) => {
            Err(malformed(format!("{name} must have from 1 to {max} items, not {}", items.len() + beyond)))
        }
        Err(_) => Err(malformed(format!("{name} must be a list"))),
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Code::MalformedJson, detail)
}

impl RequestObject {
    /// Reads one JSON object; anything else, or anything after it, is malformed.
    pub fn parse(body: &[u8]) -> Result<RequestObject, Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let read =
            deserializer.deserialize_map(Fields).and_then(|fields| deserializer.end().map(|()| fields));
        match read {
            Ok(fields) => Ok(RequestObject { fields }),
            Err(error) if error.is_data() => {
                Err(malformed("the body must be one JSON object, each field once"))
            }
            Err(error) => {
                Err(malformed(format!("not JSON at line {} column {}", error.line(), error.column())))
            }
        }
    }

    /// An object with these text fields, for requests that arrive as a query string.
    pub fn from_texts(texts: Vec<(String, String)>) -> Result<RequestObject, Problem> {
        let fields = texts.into_iter().map(|(name, text)| {
            let json = serde_json::to_string(&text).and_then(RawValue::from_string);
            json.map(|raw| (name, raw)).map_err(|_| malformed("a parameter is not text"))
        });
        Ok(RequestObject { fields: fields.collect::<Result<_, _>>()? })
    }

    /// Takes a field; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let place = self.fields.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.fields.swap_remove(place);
        (value.get() != "null").then_some(value)
    }

    /// Takes a required field as it is written.
    pub fn require(&mut self, name: &str) -> Result<Box<RawValue>, Problem> {
        self.take(name).ok_or_else(|| missing(name))
    }

    /// Takes an optional text field.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let read = |raw: Box<RawValue>| {
            serde_json::from_str(raw.get()).map_err(|_| malformed(format!("{name} must be a string")))
        };
        self.take(name).map(read).transpose()
    }

    /// Takes a required text field.
    pub fn require_text(&mut self, name: &str) -> Result<String, Problem> {
        self.take_text(name)?.ok_or_else(|| missing(name))
    }

    /// Takes the digits of an optional amount: a decimal string or a JSON number, as written.
    pub fn take_decimal(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let read = |raw: Box<RawValue>| match raw.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw.get())
                .map_err(|_| malformed(format!("{name} must be a decimal string"))),
            Some(b'-' | b'0'..=b'9') => Ok(raw.get().to_owned()),
            _ => Err(malformed(format!("{name} must be a decimal string or a number"))),
        };
        self.take(name).map(read).transpose()
    }

    /// Takes the digits of a required amount.
    pub fn require_decimal(&mut self, name: &str) -> Result<String, Problem> {
        self.take_decimal(name)?.ok_or_else(|| missing(name))
    }

    /// Takes an optional JSON object of the client's own, as it is written.
    pub fn take_object(&mut self, name: &str) -> Result<Option<Metadata>, Problem> {
        let read = |raw: Box<RawValue>| {
            own_object::read(raw).map_err(|objection| malformed(format!("{name} {objection}")))
        };
        self.take(name).map(read).transpose()
    }

    /// Everything known has been taken: a field that is left is unknown.
    pub fn finish(self) -> Result<(), Problem> {
        let known = |name: &str| {
            name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        match self.fields.first() {
            None => Ok(()),
            Some((name, _)) if known(name) => {
                Err(Problem::new(Code::UnknownField, format!("{name} is not a field of this request")))
            }
            Some(_) => Err(Problem::new(Code::UnknownField, "the request has a field that it does not know")),
        }
    }
}

fn missing(name: &str) -> Problem {
    Problem::new(Code::MissingField, format!("{name} is required"))
}

/// Reads a currency code.
pub fn currency(name: &str, text: &str) -> Result<Currency, Problem> {
    Currency::parse(text).map_err(|error| Problem::new(Code::UnknownCurrency, format!("{name} is {error}")))
}

/// Reads an account id.
pub fn account(name: &str, text: String) -> Result<AccountId, Problem> {
    AccountId::parse(text).map_err(|error| Problem::new(Code::InvalidAccount, format!("{name} {error}")))
}

/// Reads an amount that is to be moved.
pub fn amount(name: &str, text: &str, currency: Currency) -> Result<Money, Problem> {
    Money::parse_payable(text, currency).map_err(|error| {
        let code = match error {
            AmountError::Malformed => Code::MalformedJson,
            AmountError::NotPositive => Code::AmountNotPositive,
            AmountError::Precision => Code::AmountPrecision,
            AmountError::TooLarge => Code::AmountTooLarge,
        };
        Problem::new(code, format!("{name} {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Result<Option<String>, Code> {
        let read = || {
            let mut object = RequestObject::parse(body.as_bytes())?;
            let text = object.take_text("text")?;
            object.take_decimal("amount")?;
            object.finish().map(|()| text)
        };
        read().map_err(|problem: Problem| problem.code)
    }

    #[test]
    fn a_list_has_as_many_items_as_it_may() {
        let rows = [
            ("[1]", Ok(1)),
            (r#"[{"a":[1,2]}, "x", null]"#, Ok(3)),
            ("[]", Err("x must have from 1 to 3 items, not 0")),
            ("[1,2,3,4,5]", Err("x must have from 1 to 3 items, not 5")),
            ("{}", Err("x must be a list")),
            ("\"[1]\"", Err("x must be a list")),
            ("7", Err("x must be a list")),
        ];
        for (list, expected) in rows {
            let raw: &RawValue = serde_json::from_str(list).unwrap();
            let found = items("x", raw, 3).map(|items| items.len()).map_err(|problem| problem.detail);
            assert_eq!(found, expected.map_err(str::to_owned), "{list}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_object_is_said() {
        let deep = format!("{{\"text\":{}", "[".repeat(10_000));
        let rows = [
            (r#"{"text":"a","amount":1.50}"#, Ok(Some("a"))),
            (r#"{"amount":"1.50"}"#, Ok(None)),
            (r#"{"text":null}"#, Ok(None)),
            (r#"{"text":"a","state":1}"#, Err(Code::UnknownField)),
            (r#"{"text":1}"#, Err(Code::MalformedJson)),
            (r#"{"amount":true}"#, Err(Code::MalformedJson)),
            (r#"{"text":"a","text":"b"}"#, Err(Code::MalformedJson)),
            (r#"{}x"#, Err(Code::MalformedJson)),
            (r#"{}{}"#, Err(Code::MalformedJson)),
            (r#"{"text":"a",}"#, Err(Code::MalformedJson)),
            ("", Err(Code::MalformedJson)),
            ("{", Err(Code::MalformedJson)),
            ("[]", Err(Code::MalformedJson)),
            ("null", Err(Code::MalformedJson)),
            (r#"{"amount":NaN}"#, Err(Code::MalformedJson)),
            ("\u{feff}{}", Err(Code::MalformedJson)),
            (deep.as_str(), Err(Code::MalformedJson)),
        ];
        for (body, expected) in rows {
            assert_eq!(
                check(body),
                expected.map(|text| text.map(str::to_owned)),
                "{}",
                &body[..body.len().min(40)]
            );
        }
    }
}
