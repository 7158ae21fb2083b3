//! Amounts of money: whole minor units of one currency.

use crate::Currency;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// The largest amount of one payment or deposit, in minor units. Nine thousand of them still fit one `i64`
/// balance, and an amount times a rate of 15 digits times 10,000 basis points still fits an `i128`.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000_000;

/// An amount in minor units (cents, yen, fils) of a currency. Never rounded, never a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Whole minor units.
    pub minor: i64,
    /// The currency that they are units of.
    pub currency: Currency,
}

/// Why a text is not an amount that can be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a plain decimal number such as `123.45`.
    #[error("must be a plain decimal number such as 123.45, without exponent")]
    Malformed,
    /// Zero or negative.
    #[error("must be greater than zero")]
    NotPositive,
    /// More decimals than the currency has; trailing zeros do not count.
    #[error("has more decimals than the currency")]
    Precision,
    /// It is above [`AMOUNT_MINOR_MAX`].
    #[error("is larger than one operation may move")]
    TooLarge,
}

/// Money as messages spell it: `{"currency":"USD","value":"123.45"}`.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Money")]
struct MoneyText<'m> {
    currency: Currency,
    #[serde(borrow)]
    value: Cow<'m, str>,
}

/// The longest amount: a sign, 19 digits, a point, and the noughts before a fraction.
const TEXT_BYTES_MAX: usize = 32;

impl Money {
    /// `minor` units of `currency`.
    pub const fn new(minor: i64, currency: Currency) -> Money {
        Money { minor, currency }
    }

    /// Parses an amount in major units to be paid: exact, positive, and within [`AMOUNT_MINOR_MAX`].
    pub fn parse_payable(text: &str, currency: Currency) -> Result<Money, AmountError> {
        let minor = parse_minor(text, currency.exponent())?;
        match minor {
            i128::MIN..=0 => Err(AmountError::NotPositive),
            _ => i64::try_from(minor)
                .ok()
                .filter(|minor| *minor <= AMOUNT_MINOR_MAX)
                .map(|minor| Money { minor, currency })
                .ok_or(AmountError::TooLarge),
        }
    }

    /// Parses any exact amount in major units, negative ones included.
    pub fn parse(text: &str, currency: Currency) -> Result<Money, AmountError> {
        let minor =
            i64::try_from(parse_minor(text, currency.exponent())?).map_err(|_| AmountError::TooLarge)?;
        Ok(Money { minor, currency })
    }

    /// The amount in major units with exactly the currency's decimals, e.g. `123.45`, `500` for JPY.
    pub fn to_decimal_string(self) -> String {
        self.written(&mut [0; TEXT_BYTES_MAX]).to_owned()
    }

    /// The same, written from the end of the buffer: every message carries some.
    fn written(self, buffer: &mut [u8; TEXT_BYTES_MAX]) -> &str {
        let exponent = self.currency.exponent() as usize;
        let (mut rest, mut start, mut digits) = (self.minor.unsigned_abs(), TEXT_BYTES_MAX, 0);
        let mut put = |byte: u8| {
            start -= 1;
            buffer[start] = byte;
        };
        while rest > 0 || digits <= exponent {
            if digits == exponent && exponent > 0 {
                put(b'.');
            }
            put(b'0' + (rest % 10) as u8);
            (rest, digits) = (rest / 10, digits + 1);
        }
        if self.minor < 0 {
            put(b'-');
        }
        std::str::from_utf8(&buffer[start..]).unwrap_or_default()
    }
}

/// Whole minor units of a decimal text in JSON's number grammar without exponent.
fn parse_minor(text: &str, exponent: u32) -> Result<i128, AmountError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) || !fraction.is_none_or(all_digits) {
        return Err(AmountError::Malformed);
    }
    // An i64 has at most 19 digits; 30 keep the arithmetic below inside an i128.
    if whole.len() > 30 {
        return Err(if negative { AmountError::NotPositive } else { AmountError::TooLarge });
    }
    let fraction = fraction.unwrap_or("").trim_end_matches('0');
    let decimals = u32::try_from(fraction.len()).map_err(|_| AmountError::Precision)?;
    if decimals > exponent {
        return Err(if negative { AmountError::NotPositive } else { AmountError::Precision });
    }
    let number = |part: &str| {
        if part.is_empty() { Ok(0) } else { part.parse::<i128>().map_err(|_| AmountError::Malformed) }
    };
    let minor = number(whole)? * 10_i128.pow(exponent) + number(fraction)? * 10_i128.pow(exponent - decimals);
    Ok(if negative { -minor } else { minor })
}

impl std::fmt::Display for Money {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.to_decimal_string(), self.currency)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; TEXT_BYTES_MAX];
        let value = Cow::Borrowed(self.written(&mut buffer));
        MoneyText { currency: self.currency, value }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        let MoneyText { currency, value } = MoneyText::deserialize(deserializer)?;
        Money::parse(&value, currency).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn amounts_parse_exactly_or_say_why_not() {
        use AmountError::{Malformed, NotPositive, Precision, TooLarge};
        let rows = [
            ("123.45", "USD", Ok(12_345)),
            ("123.450000", "USD", Ok(12_345)),
            ("0.01", "USD", Ok(1)),
            ("500", "JPY", Ok(500)),
            ("500.000", "JPY", Ok(500)),
            ("1.234", "KWD", Ok(1_234)),
            ("10000000000000.00", "USD", Ok(AMOUNT_MINOR_MAX)),
            ("10000000000000.01", "USD", Err(TooLarge)),
            ("9007199254740993", "USD", Err(TooLarge)),
            ("9223372036854775808", "JPY", Err(TooLarge)),
            ("1.2345", "KWD", Err(Precision)),
            ("10.001", "USD", Err(Precision)),
            ("10.5", "JPY", Err(Precision)),
            ("0", "USD", Err(NotPositive)),
            ("0.00", "USD", Err(NotPositive)),
            ("-1", "USD", Err(NotPositive)),
            ("-0.001", "USD", Err(NotPositive)),
            ("1e2", "USD", Err(Malformed)),
            ("NaN", "USD", Err(Malformed)),
            ("+5", "USD", Err(Malformed)),
            ("05", "USD", Err(Malformed)),
            (".5", "USD", Err(Malformed)),
            ("1.", "USD", Err(Malformed)),
            ("1,5", "USD", Err(Malformed)),
            (" 1", "USD", Err(Malformed)),
            ("", "USD", Err(Malformed)),
        ];
        for (text, code, expected) in rows {
            assert_eq!(
                Money::parse_payable(text, currency(code)).map(|money| money.minor),
                expected,
                "{text} {code}"
            );
        }
        assert_eq!(Money::parse_payable(&"9".repeat(100), currency("USD")), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn text_and_minor_units_are_the_same_amount(minor in any::<i64>(), code in prop::sample::select(vec!["JPY", "USD", "KWD", "IDR"])) {
            let money = Money::new(minor, currency(code));
            prop_assert_eq!(Money::parse(&money.to_decimal_string(), money.currency), Ok(money));
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        }
    }
}
