//! The key-value bucket of exchange rates: key `EUR.USD`, value `1.0823` or `{"rate","as_of","source"}`.

use domain::fx::Quotation;
use domain::{Currency, Timestamp};
use serde::{Deserialize, Serialize};

/// The bucket's name.
pub const BUCKET: &str = "fx_rates";

/// What the tools of NATS say of the bucket.
pub const BUCKET_DESCRIPTION: &str = "exchange rates, e.g. EUR.USD = 1.0823";

/// The source of the committed day file, whose rates have no maximum age.
pub const SOURCE_SEED: &str = "ecb_seed";

/// Why an entry of the bucket is not a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateEntryError {
    /// The key is not two currencies.
    #[error("the key must be two currency codes such as EUR.USD")]
    Key,
    /// The value is neither a decimal nor an object with one.
    #[error("the value must be a positive decimal such as 1.0823, or {{\"rate\",\"as_of\",\"source\"}}")]
    Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateObject {
    rate: String,
    as_of: Timestamp,
    #[serde(default)]
    source: Option<String>,
}

/// The key of a pair.
pub fn key(base: Currency, quote: Currency) -> String {
    format!("{base}.{quote}")
}

/// The pair that a key names.
pub fn pair(key: &str) -> Result<(Currency, Currency), RateEntryError> {
    let (base, quote) = key.split_once('.').ok_or(RateEntryError::Key)?;
    let parse = |code: &str| Currency::parse(code).map_err(|_| RateEntryError::Key);
    Ok((parse(base)?, parse(quote)?))
}

/// Reads a value. A bare decimal is as old as its revision; `revised_at` is that time.
pub fn decode(value: &[u8], revised_at: Timestamp) -> Result<Quotation, RateEntryError> {
    let text = std::str::from_utf8(value).map_err(|_| RateEntryError::Value)?.trim();
    let (rate, as_of, source) = if text.starts_with('{') {
        let object: RateObject = serde_json::from_str(text).map_err(|_| RateEntryError::Value)?;
        (object.rate, object.as_of, object.source)
    } else {
        (text.to_owned(), revised_at, None)
    };
    let rate: domain::fx::Decimal = rate.parse().map_err(|_| RateEntryError::Value)?;
    if rate <= domain::fx::Decimal::ZERO {
        return Err(RateEntryError::Value);
    }
    Ok(Quotation { rate, as_of, ageless: source.as_deref() == Some(SOURCE_SEED) })
}

/// The value of a rate of the committed day file.
pub fn encode_seed(rate: &str, as_of: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&RateObject { rate: rate.to_owned(), as_of, source: Some(SOURCE_SEED.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimals_or_objects() {
        let revised_at = Timestamp::from_micros(7);
        let rows = [
            ("1.0823", Ok(("1.0823", 7, false))),
            (" 1.09\n", Ok(("1.09", 7, false))),
            (r#"{"rate":"1.1","as_of":"1970-01-01T00:00:00Z","source":"ecb_seed"}"#, Ok(("1.1", 0, true))),
            (r#"{"rate":"1.1","as_of":"1970-01-01T00:00:00Z"}"#, Ok(("1.1", 0, false))),
            (r#"{"rate":"1.1"}"#, Err(RateEntryError::Value)),
            ("0", Err(RateEntryError::Value)),
            ("-1", Err(RateEntryError::Value)),
            ("1,09", Err(RateEntryError::Value)),
            ("", Err(RateEntryError::Value)),
        ];
        for (value, expected) in rows {
            let read = decode(value.as_bytes(), revised_at)
                .map(|quotation| (quotation.rate.to_string(), quotation.as_of.micros(), quotation.ageless));
            assert_eq!(
                read,
                expected.map(|(rate, as_of, ageless)| (rate.to_owned(), as_of, ageless)),
                "{value}"
            );
        }
        assert_eq!(pair("EUR.USD").map(|(base, quote)| key(base, quote)), Ok("EUR.USD".to_owned()));
        assert_eq!(pair("EURUSD"), Err(RateEntryError::Key));
    }
}
