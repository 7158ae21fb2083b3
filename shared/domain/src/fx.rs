//! Conversion between currencies: exact integer rates, a spread in basis points, rounding in favour of the
//! house.

use crate::money::AMOUNT_MINOR_MAX;
use crate::{Currency, Money, Refusal, Timestamp};
pub use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Basis points in one whole.
pub const BASIS_POINTS: u32 = 10_000;

/// The largest numerator and denominator of a rate: times [`BASIS_POINTS`] it still fits the `i64` that keeps
/// the residue, and times [`AMOUNT_MINOR_MAX`] and basis points it fits the `i128` that the conversion
/// computes in.
const RATE_PART_MAX: i128 = 900_000_000_000_000;

/// A mid-market rate as a reduced fraction: minor units of the destination per minor unit of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Destination minor units.
    pub numerator: i64,
    /// Source minor units; positive.
    pub denominator: i64,
}

/// What a conversion gives, in the destination's minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// At the mid-market rate, rounded down.
    pub gross: i64,
    /// After the spread, rounded down: what arrives. The difference to `gross` is the fee.
    pub net: i64,
    /// What rounding `net` down cut off, in units of `1 / (denominator * 10_000)` of a minor unit.
    pub residue: i64,
}

impl Rate {
    /// The rate that multiplies amounts in major units by `per_major`, or nothing when it is not positive or
    /// not representable within [`RATE_PART_MAX`].
    fn from_major(numerator: Decimal, denominator: Decimal, from: Currency, to: Currency) -> Option<Rate> {
        let power = |digits: u32| 10_i128.checked_pow(digits);
        let top = numerator
            .mantissa()
            .checked_mul(power(denominator.scale())?)?
            .checked_mul(power(to.exponent())?)?;
        let bottom = denominator
            .mantissa()
            .checked_mul(power(numerator.scale())?)?
            .checked_mul(power(from.exponent())?)?;
        if top <= 0 || bottom <= 0 {
            return None;
        }
        let divisor = greatest_common_divisor(top, bottom);
        let (top, bottom) = (top / divisor, bottom / divisor);
        if top > RATE_PART_MAX || bottom > RATE_PART_MAX {
            return None;
        }
        Some(Rate { numerator: i64::try_from(top).ok()?, denominator: i64::try_from(bottom).ok()? })
    }

    /// The rate between major units, for people: up to 12 significant digits, rounded half to even.
    pub fn to_major_string(self, from: Currency, to: Currency) -> String {
        let numerator = Decimal::from(self.numerator) * Decimal::from(10_i64.pow(from.exponent()));
        let denominator = Decimal::from(self.denominator) * Decimal::from(10_i64.pow(to.exponent()));
        let rate = numerator.checked_div(denominator).unwrap_or_default();
        rate.round_sf(12).unwrap_or(rate).normalize().to_string()
    }
}

fn greatest_common_divisor(mut left: i128, mut right: i128) -> i128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// Converts `source` at `rate` less `spread_bps`. Both results are rounded down, so rounding never creates
/// money.
pub fn convert(source: Money, rate: Rate, spread_bps: u32) -> Result<Conversion, Refusal> {
    let mid = i128::from(source.minor) * i128::from(rate.numerator);
    let gross = mid / i128::from(rate.denominator);
    let share = i128::from(BASIS_POINTS.saturating_sub(spread_bps));
    let unit = i128::from(rate.denominator) * i128::from(BASIS_POINTS);
    let (net, residue) = (mid * share / unit, mid * share % unit);
    if gross > i128::from(AMOUNT_MINOR_MAX) {
        return Err(Refusal::AmountTooLarge);
    }
    if net <= 0 {
        return Err(Refusal::AmountTooSmall);
    }
    let narrow = |value: i128| i64::try_from(value).map_err(|_| Refusal::AmountTooLarge);
    Ok(Conversion { gross: narrow(gross)?, net: narrow(net)?, residue: narrow(residue)? })
}

/// One published rate of a pair, between major units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotation {
    /// Major units of the quote currency for one of the base.
    pub rate: Decimal,
    /// When it was true.
    pub as_of: Timestamp,
    /// Rates of the committed day file have no maximum age.
    pub ageless: bool,
}

impl Quotation {
    /// Where it comes from.
    pub const fn source(&self) -> RateSource {
        if self.ageless { RateSource::Seed } else { RateSource::Live }
    }
}

crate::closed_set! {
    /// Where rates come from.
    RateSource {
        /// The committed day file.
        Seed = "seed",
        /// Whoever writes into the book while it is in use.
        Live = "live",
    }
}

/// The rates of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFigures {
    /// Which one.
    pub source: RateSource,
    /// How many pairs it quotes.
    pub count: usize,
    /// The age of its oldest, if it has any.
    pub age_seconds: Option<i64>,
}

/// The rates known now. A pair is answered directly, from its inverse, or as a cross over the euro, in that
/// order.
#[derive(Debug, Clone, Default)]
pub struct RateBook {
    quotations: HashMap<(Currency, Currency), Quotation>,
}

/// A rate found in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookRate {
    /// The mid-market rate.
    pub rate: Rate,
    /// When the older of the quotations behind it was true.
    pub as_of: Timestamp,
}

impl RateBook {
    /// Puts a pair's newest quotation in the place of the one before.
    pub fn insert(&mut self, base: Currency, quote: Currency, quotation: Quotation) {
        self.quotations.insert((base, quote), quotation);
    }

    /// Forgets a pair.
    pub fn remove(&mut self, base: Currency, quote: Currency) {
        self.quotations.remove(&(base, quote));
    }

    /// What is quoted of a pair, in this direction.
    pub fn quotation(&self, base: Currency, quote: Currency) -> Option<&Quotation> {
        self.quotations.get(&(base, quote))
    }

    /// What the book has of each source.
    pub fn figures(&self, now: Timestamp) -> Vec<SourceFigures> {
        let of_source = |source| {
            let quotations = self.quotations.values().filter(move |quotation| quotation.source() == source);
            SourceFigures {
                source,
                count: quotations.clone().count(),
                age_seconds: quotations.map(|quotation| now.seconds_since(quotation.as_of)).max(),
            }
        };
        RateSource::ALL.map(of_source).to_vec()
    }

    /// How many pairs are quoted.
    pub fn len(&self) -> usize {
        self.quotations.len()
    }

    /// Whether no pair is quoted.
    pub fn is_empty(&self) -> bool {
        self.quotations.is_empty()
    }

    /// The rate from one currency to another, refused when there is none or it is older than
    /// `age_seconds_max`.
    pub fn rate(
        &self,
        from: Currency,
        to: Currency,
        now: Timestamp,
        age_seconds_max: i64,
    ) -> Result<BookRate, Refusal> {
        if from == to {
            return Ok(BookRate { rate: Rate { numerator: 1, denominator: 1 }, as_of: now });
        }
        let legs = self
            .leg(from, to)
            .map(|(leg, numerator, denominator)| (vec![leg], numerator, denominator))
            .or_else(|| self.cross(from, to))
            .ok_or(Refusal::FxRateUnavailable)?;
        let (quotations, numerator, denominator) = legs;
        let stale = |quotation: &&Quotation| {
            !quotation.ageless && now.seconds_since(quotation.as_of) > age_seconds_max
        };
        if quotations.iter().any(stale) {
            return Err(Refusal::FxRateStale);
        }
        let as_of = quotations.iter().map(|quotation| quotation.as_of).min().unwrap_or(now);
        let rate = Rate::from_major(numerator, denominator, from, to).ok_or(Refusal::FxRateUnavailable)?;
        Ok(BookRate { rate, as_of })
    }

    /// A pair's quotation with its numerator and denominator in the asked direction.
    fn leg(&self, from: Currency, to: Currency) -> Option<(&Quotation, Decimal, Decimal)> {
        let direct = self.quotations.get(&(from, to)).map(|found| (found, found.rate, Decimal::ONE));
        direct.or_else(|| self.quotations.get(&(to, from)).map(|found| (found, Decimal::ONE, found.rate)))
    }

    fn cross(&self, from: Currency, to: Currency) -> Option<(Vec<&Quotation>, Decimal, Decimal)> {
        let (first, first_top, first_bottom) = self.leg(from, Currency::EUR)?;
        let (second, second_top, second_bottom) = self.leg(Currency::EUR, to)?;
        let top = first_top.checked_mul(second_top)?;
        let bottom = first_bottom.checked_mul(second_bottom)?;
        Some((vec![first, second], top, bottom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn book() -> RateBook {
        let mut book = RateBook::default();
        let rows = [
            ("EUR", "USD", "1.0823", false),
            ("EUR", "IDR", "17543.21", true),
            ("EUR", "JPY", "163.05", true),
            ("EUR", "KWD", "0.3325", true),
            ("USD", "SGD", "1.30", true),
        ];
        for (base, quote, rate, dated) in rows {
            let quotation =
                Quotation { rate: rate.parse().unwrap(), as_of: Timestamp::from_micros(0), ageless: dated };
            book.insert(currency(base), currency(quote), quotation);
        }
        book
    }

    #[test]
    fn rates_come_directly_inverted_or_crossed_and_go_stale() {
        use Refusal::{FxRateStale, FxRateUnavailable};
        let rows = [
            ("EUR", "USD", 10, Ok("1.0823")),
            ("USD", "EUR", 10, Ok("0.923958237088")),
            ("USD", "IDR", 10, Ok("16209.1933845")),
            ("IDR", "JPY", 10, Ok("0.00929419416401")),
            ("JPY", "KWD", 10, Ok("0.00203925176326")),
            ("USD", "SGD", 10, Ok("1.3")),
            ("USD", "USD", 10, Ok("1")),
            ("USD", "CHF", 10, Err(FxRateUnavailable)),
            ("CHF", "SEK", 10, Err(FxRateUnavailable)),
            ("EUR", "USD", 101, Err(FxRateStale)),
            ("EUR", "JPY", 101, Ok("163.05")),
            ("USD", "JPY", 101, Err(FxRateStale)),
        ];
        for (from, to, now_seconds, expected) in rows {
            let (from, to) = (currency(from), currency(to));
            let found = book().rate(from, to, Timestamp::from_micros(now_seconds * 1_000_000), 100);
            let text = found.map(|found| found.rate.to_major_string(from, to));
            assert_eq!(text, expected.map(str::to_owned), "{from} {to} after {now_seconds} s");
        }
    }

    #[test]
    fn each_source_has_its_count_and_the_age_of_its_oldest_rate() {
        let live = |base, seconds: i64| {
            let as_of = Timestamp::from_micros(seconds * 1_000_000);
            (currency(base), Quotation { rate: Decimal::ONE, as_of, ageless: false })
        };
        let mut book = book();
        for (base, quotation) in [live("CHF", 40), live("SEK", 90)] {
            book.insert(base, Currency::EUR, quotation);
        }
        let found = |book: &RateBook, seconds: i64| {
            let figures = book.figures(Timestamp::from_micros(seconds * 1_000_000));
            figures.iter().map(|of| (of.source, of.count, of.age_seconds)).collect::<Vec<_>>()
        };
        use RateSource::{Live, Seed};
        assert_eq!(found(&book, 100), [(Seed, 4, Some(100)), (Live, 3, Some(100))]);
        book.remove(Currency::EUR, currency("USD"));
        assert_eq!(found(&book, 100), [(Seed, 4, Some(100)), (Live, 2, Some(60))]);
        assert_eq!(found(&RateBook::default(), 100), [(Seed, 0, None), (Live, 0, None)]);
    }

    #[test]
    fn conversions_round_down_and_book_the_spread_as_a_fee() {
        use Refusal::{AmountTooLarge, AmountTooSmall};
        let rows = [
            ("EUR", "100.00", "USD", 0, Ok((10_823, 10_823))),
            ("EUR", "100.00", "USD", 25, Ok((10_823, 10_795))),
            ("EUR", "0.01", "USD", 0, Ok((1, 1))),
            ("EUR", "0.01", "USD", 800, Err(AmountTooSmall)),
            ("IDR", "0.01", "USD", 0, Err(AmountTooSmall)),
            ("JPY", "1", "KWD", 0, Ok((2, 2))),
            ("EUR", "1.00", "JPY", 0, Ok((163, 163))),
            ("EUR", "10000000000000.00", "IDR", 0, Err(AmountTooLarge)),
        ];
        for (from, amount, to, spread_bps, expected) in rows {
            let (from, to) = (currency(from), currency(to));
            let rate = book().rate(from, to, Timestamp::from_micros(0), 1).unwrap().rate;
            let converted = convert(Money::parse_payable(amount, from).unwrap(), rate, spread_bps);
            assert_eq!(converted.map(|done| (done.gross, done.net)), expected, "{amount} {from} to {to}");
        }
    }

    proptest! {
        #[test]
        fn a_conversion_creates_nothing(
            minor in 1..=AMOUNT_MINOR_MAX, numerator in 1..=900_000_000_000_000_i64, denominator in 1..=900_000_000_000_000_i64, bps in 0..=500_u32,
        ) {
            let source = Money::new(minor, currency("USD"));
            let rate = Rate { numerator, denominator };
            if let Ok(done) = convert(source, rate, bps) {
                prop_assert!(done.net > 0 && done.net <= done.gross);
                // Recomputed the other way round: net and residue together are exactly the amount times rate
                // and share.
                let unit = i128::from(denominator) * 10_000;
                let exact = i128::from(minor) * i128::from(numerator) * i128::from(10_000 - bps);
                prop_assert_eq!(i128::from(done.net) * unit + i128::from(done.residue), exact);
                prop_assert!(i128::from(done.residue) < unit);
            }
        }
    }
}
