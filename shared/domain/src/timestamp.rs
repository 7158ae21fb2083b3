//! Instants: RFC 3339 in UTC with microseconds, the precision that Postgres keeps.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime};

/// The first day of the Unix epoch, and how long each is: there are no leap seconds in it.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// An instant in text, such as `2026-11-22T01:02:03.456789Z`.
type Text = [u8; 27];

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
        if let Some(timestamp) = text.as_bytes().try_into().ok().and_then(Timestamp::read) {
            return Ok(timestamp);
        }
        OffsetDateTime::parse(text, &Rfc3339).map(Timestamp::from).map_err(|_| InvalidTimestamp)
    }

    /// Reads what [`Timestamp::written`] writes; nothing else, and nothing that is no instant.
    fn read(text: &Text) -> Option<Timestamp> {
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
        if !separators.iter().all(|(place, separator)| text[*place] == *separator) {
            return None;
        }
        let number = |places: Range<usize>| {
            let digits = text[places].iter();
            digits.into_iter().try_fold(0, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
            })
        };
        let (year, month) = (i32::try_from(number(0..4)?).ok()?, u8::try_from(number(5..7)?).ok()?);
        let day = u8::try_from(number(8..10)?).ok()?;
        let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = i64::from(date.to_julian_day() - EPOCH_JULIAN_DAY);
        let seconds = days * DAY_SECONDS + hour * 3_600 + minute * 60 + second;
        Some(Timestamp(seconds * 1_000_000 + number(20..26)?))
    }

    /// The instant in text, if its year has four digits: without an allocation and without the machinery of
    /// formats, since every message carries several.
    fn written(self) -> Option<Text> {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        let julian_day = i32::try_from(days).ok()?.checked_add(EPOCH_JULIAN_DAY)?;
        let (year, month, day) = Date::from_julian_day(julian_day).ok()?.to_calendar_date();
        let year = u32::try_from(year).ok().filter(|year| *year <= 9_999)?;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut write = |places: Range<usize>, number: i64| {
            let mut rest = number;
            for digit in text[places].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        write(0..4, year.into());
        write(5..7, u8::from(month).into());
        write(8..10, day.into());
        write(11..13, second / 3_600);
        write(14..16, second / 60 % 60);
        write(17..19, second % 60);
        write(20..26, micros);
        Some(text)
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
        if let Some(text) = self.written() {
            return formatter.write_str(std::str::from_utf8(&text).unwrap_or_default());
        }
        let at = self.to_datetime();
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        let micro = at.microsecond();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.written() {
            Some(text) => serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => serializer.collect_str(self),
        }
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
    use proptest::prelude::*;

    /// As the library of formats has it.
    fn formatted(at: Timestamp) -> String {
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        at.to_datetime().format(format).unwrap()
    }

    proptest! {
        #[test]
        fn every_instant_is_written_and_read_as_the_library_does(
            micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000,
        ) {
            let at = Timestamp::from_micros(micros);
            let text = at.to_string();
            prop_assert_eq!(&text, &formatted(at));
            prop_assert_eq!(Timestamp::parse(&text), Ok(at));
            let theirs = OffsetDateTime::parse(&text, &Rfc3339).map(Timestamp::from);
            prop_assert_eq!(theirs.ok(), Some(at));
        }

        #[test]
        fn no_text_is_read_that_the_library_refuses(
            text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z",
        ) {
            let theirs = OffsetDateTime::parse(&text, &Rfc3339).map(Timestamp::from);
            prop_assert_eq!(Timestamp::parse(&text).ok(), theirs.ok());
        }
    }

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
