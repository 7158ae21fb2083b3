//! The payment as its sender asked for it.

use crate::{AccountId, AccountKey, Currency, Metadata, Money, PaymentId, PaymentKey, Tenant};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A request to move money, checked for form. Whether it can be done is for the stages to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The tenant whose payment it is.
    pub tenant: Tenant,
    /// Which one; unique per tenant for ever.
    pub id: PaymentId,
    /// Where the money leaves.
    pub source_account: AccountId,
    /// Where it arrives; never the source.
    pub destination_account: AccountId,
    /// How much leaves, in the source account's currency.
    pub amount: Money,
    /// The currency that must arrive; absent: the destination account's, whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_currency: Option<Currency>,
    /// The sender's text, kept verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The sender's JSON object, kept as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl Payment {
    /// The payment over all tenants.
    pub fn key(&self) -> PaymentKey {
        PaymentKey { tenant: self.tenant.clone(), id: self.id.clone() }
    }

    /// The account that the money leaves, over all tenants.
    pub fn source_key(&self) -> AccountKey {
        AccountKey { tenant: self.tenant.clone(), id: self.source_account.clone() }
    }

    /// The account that the money reaches, over all tenants.
    pub fn destination_key(&self) -> AccountKey {
        AccountKey { tenant: self.tenant.clone(), id: self.destination_account.clone() }
    }

    /// What makes two requests under one id the same request: a hash of the parsed content, so that `1.50`
    /// and `1.5` agree.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Sha256::new();
        // Each field is preceded by its length, so that no two contents share one byte string.
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(self.source_account.as_str().as_bytes());
        field(self.destination_account.as_str().as_bytes());
        field(&self.amount.minor.to_be_bytes());
        field(self.amount.currency.code().as_bytes());
        field(self.destination_currency.map_or("", Currency::code).as_bytes());
        field(self.description.as_deref().unwrap_or("").as_bytes());
        field(self.metadata.as_ref().map(Metadata::canonical).unwrap_or_default().as_bytes());
        Fingerprint(hasher.finalize().into())
    }
}

/// SHA-256 over a payment's parsed content; hexadecimal in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint of 64 hexadecimal digits")]
pub struct InvalidFingerprint;

/// Digits of a fingerprint in text.
const DIGITS: usize = 64;

impl Fingerprint {
    /// Its digits, without an allocation: every message carries one.
    fn digits(&self) -> [u8; DIGITS] {
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEXADECIMAL[usize::from(byte >> 4)];
            pair[1] = HEXADECIMAL[usize::from(byte & 0xf)];
        }
        digits
    }

    fn parse(text: &str) -> Result<Fingerprint, InvalidFingerprint> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut bytes = [0_u8; 32];
        if text.len() != DIGITS {
            return Err(InvalidFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(digit);
            *byte = high.ok_or(InvalidFingerprint)? << 4 | low.ok_or(InvalidFingerprint)?;
        }
        Ok(Fingerprint(bytes))
    }
}

const HEXADECIMAL: [u8; 16] = *b"0123456789abcdef";

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        /// Reads the digits in place, without a copy per message.
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Fingerprint;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("64 hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, digits: &str) -> Result<Fingerprint, E> {
                Fingerprint::parse(digits).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;
    fn try_from(text: String) -> Result<Fingerprint, InvalidFingerprint> {
        Fingerprint::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(json: serde_json::Value) -> Payment {
        serde_json::from_value(json).unwrap()
    }

    fn base() -> serde_json::Value {
        serde_json::json!({
            "tenant": "default", "id": "P", "source_account": "A", "destination_account": "B",
            "amount": {"currency": "USD", "value": "1.50"}, "description": "x", "metadata": {"a": 1, "b": "2"}
        })
    }

    #[test]
    fn the_fingerprint_follows_the_content_and_nothing_else() {
        let original = payment(base()).fingerprint();
        let rows = [
            ("id", serde_json::json!("Q"), true),
            ("amount", serde_json::json!({"value": "1.5", "currency": "USD"}), true),
            ("metadata", serde_json::json!({"b": "2", "a": 1}), true),
            ("amount", serde_json::json!({"value": "1.51", "currency": "USD"}), false),
            ("amount", serde_json::json!({"value": "1.50", "currency": "EUR"}), false),
            ("source_account", serde_json::json!("C"), false),
            ("destination_account", serde_json::json!("C"), false),
            ("destination_currency", serde_json::json!("USD"), false),
            ("description", serde_json::json!("y"), false),
            ("metadata", serde_json::json!({"a": 1}), false),
        ];
        for (field, value, same) in rows {
            let mut changed = base();
            changed[field] = value;
            assert_eq!(payment(changed).fingerprint() == original, same, "{field}");
        }
        let text = String::from(original);
        assert_eq!(Fingerprint::try_from(text), Ok(original));
    }

    #[test]
    fn a_fingerprint_is_64_digits() {
        let digits = "00ff10a5".repeat(8);
        let found = serde_json::from_value::<Fingerprint>(digits.clone().into()).unwrap();
        assert_eq!(found.0[..4], [0x00, 0xff, 0x10, 0xa5]);
        assert_eq!(serde_json::to_value(found).unwrap(), serde_json::json!(digits));
        for wrong in [&digits[1..], &digits.replace('f', "g"), &digits.replace("ff", "+f"), &"é".repeat(32)]
        {
            assert_eq!(Fingerprint::try_from(wrong.to_owned()), Err(InvalidFingerprint), "{wrong}");
        }
    }
}
