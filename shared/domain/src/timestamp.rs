//! Instants: RFC 3339 in UTC with microseconds, the precision that Postgres keeps.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 instant of the years that the type can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to this instant; negative when it is the earlier one.
    pub const fn seconds_since(self, earlier: Timestamp) -> i64 {
        (self.0 - earlier.0) / 1_000_000
    }

    /// Parses an RFC 3339 instant; digits below the microsecond are cut off.
    pub fn parse(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        OffsetDateTime::parse(text, &Rfc3339).map(Timestamp::from).map_err(|_| InvalidTimestamp)
    }

    /// As a calendar date and time in UTC.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Timestamp {
        Timestamp(i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.to_datetime();
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        let micro = at.microsecond();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_instants_agree() {
        let rows = [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2026-11-22T01:02:03.456789Z", 1_795_309_323_456_789),
            ("1969-12-31T23:59:59.999999Z", -1),
        ];
        for (text, micros) in rows {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp::from_micros(micros)));
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
        assert_eq!(
            Timestamp::parse("2026-11-22T02:02:03.4567899+01:00"),
            Timestamp::parse("2026-11-22T01:02:03.456789Z")
        );
        assert_eq!(Timestamp::parse("yesterday"), Err(InvalidTimestamp));
    }
}
