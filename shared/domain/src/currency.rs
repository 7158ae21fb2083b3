//! Currencies of ISO 4217 that people hold money in.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// A current ISO 4217 currency with a minor unit. Funds (`USN`), metals and test codes (`XAU`, `XTS`) and
/// withdrawn codes (`DEM`) are not currencies here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency(iso_currency::Currency);

/// The text is not the code of a currency that payments can be made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a current ISO 4217 currency code of three capital letters")]
pub struct UnknownCurrency;

impl Currency {
    /// The euro: the base of the reference rates.
    pub const EUR: Currency = Currency(iso_currency::Currency::EUR);

    /// Parses a code such as `USD`; capitals only, nothing around them.
    pub fn parse(code: &str) -> Result<Currency, UnknownCurrency> {
        let currency = iso_currency::Currency::from_code(code).ok_or(UnknownCurrency)?;
        let usable = code == currency.code()
            && currency.exponent().is_some()
            && !currency.is_fund()
            && !currency.is_special()
            && currency.is_superseded().is_none();
        if usable { Ok(Currency(currency)) } else { Err(UnknownCurrency) }
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal digits of the minor unit: 0 for JPY, 2 for USD, 3 for KWD.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        /// Reads the code in place, without a copy per message.
        struct Code;
        impl Visitor<'_> for Code {
            type Value = Currency;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an ISO 4217 code")
            }
            fn visit_str<E: serde::de::Error>(self, code: &str) -> Result<Currency, E> {
                Currency::parse(code).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_current_currencies_in_capitals_parse() {
        let rows = [
            ("USD", Some(2)),
            ("JPY", Some(0)),
            ("KWD", Some(3)),
            ("IDR", Some(2)),
            ("CLP", Some(0)),
            ("usd", None),
            ("US", None),
            ("USDD", None),
            ("USD\n", None),
            ("XXX", None),
            ("XTS", None),
            ("XAU", None),
            ("ZZZ", None),
            ("DEM", None),
            ("USN", None),
            ("", None),
        ];
        for (code, exponent) in rows {
            assert_eq!(Currency::parse(code).ok().map(Currency::exponent), exponent, "{code:?}");
        }
    }
}
