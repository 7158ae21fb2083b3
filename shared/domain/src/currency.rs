//! Currencies of ISO 4217 that people hold money in.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::sync::LazyLock;

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
        place(code).and_then(|place| USABLE[place]).ok_or(UnknownCurrency)
    }

    /// The currency, if it is one that people hold money in.
    fn usable(currency: iso_currency::Currency) -> Option<Currency> {
        let is_usable = currency.exponent().is_some()
            && !currency.is_fund()
            && !currency.is_special()
            && currency.is_superseded().is_none();
        is_usable.then_some(Currency(currency))
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

/// The usable currencies, each at the place of its code: the list itself is searched from its beginning, and
/// every message names two.
static USABLE: LazyLock<Vec<Option<Currency>>> = LazyLock::new(|| {
    let mut usable = vec![None; 26 * 26 * 26];
    // ISO's numbers have three digits.
    for currency in (0..1_000).filter_map(iso_currency::Currency::from_numeric) {
        if let Some(place) = place(currency.code()) {
            usable[place] = Currency::usable(currency);
        }
    }
    usable
});

/// The place of a code of three capital letters among all of those.
fn place(code: &str) -> Option<usize> {
    let letter = |byte: u8| byte.is_ascii_uppercase().then(|| usize::from(byte - b'A'));
    let [first, second, third] = *code.as_bytes() else { return None };
    Some((letter(first)? * 26 + letter(second)?) * 26 + letter(third)?)
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
    fn every_code_is_what_the_list_says() {
        let letters = || 'A'..='Z';
        let pairs = letters().flat_map(|first| letters().map(move |second| (first, second)));
        let mut count = 0;
        for (first, second) in pairs {
            for third in letters() {
                let code = String::from_iter([first, second, third]);
                let listed = iso_currency::Currency::from_code(&code).and_then(Currency::usable);
                assert_eq!(Currency::parse(&code).ok(), listed, "{code}");
                count += usize::from(listed.is_some());
            }
        }
        assert!(count > 140, "{count}");
    }

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
