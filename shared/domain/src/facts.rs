//! What becomes known of a payment on its way, and the payment as the ledger records it.

use crate::fx::{self, BookRate, Rate};
use crate::{Currency, Fingerprint, Money, Payment, Refusal, StageName, Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

/// What is known of a payment from its acceptance on; every message and row after that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What the sender asked for.
    pub payment: Payment,
    /// What a second request under the same id is compared with.
    pub fingerprint: Fingerprint,
    /// The sequence of the accepted message that all else was derived from.
    pub accepted_seq: u64,
    /// When the first copy was accepted.
    pub accepted_at: Timestamp,
}

/// What risk found of a payment that may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screening {
    /// Percent of the tightest limit used.
    pub score: u8,
    /// When risk judged it.
    pub at: Timestamp,
}

/// What will arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Net of the spread, in the destination account's currency.
    pub destination_amount: Money,
    /// Absent within one currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<AppliedRate>,
    /// When fx quoted it.
    pub at: Timestamp,
}

/// A conversion as it was applied; with it the destination amount can be computed again exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRate {
    /// The mid-market rate between minor units.
    pub rate: Rate,
    /// What the house keeps of it, in basis points.
    pub spread_bps: u32,
    /// At the mid-market rate, in minor units of the destination.
    pub gross_minor: i64,
    /// What rounding cut off, in `1 / (denominator * 10_000)` of a minor unit.
    pub residue: i64,
    /// When the rate was true.
    pub as_of: Timestamp,
}

impl Quote {
    /// What a payment of this amount gets in `arrives`, at a rate of the book less the spread. Within one
    /// currency nothing is converted, and nothing is kept.
    pub fn of(
        amount: Money,
        arrives: Currency,
        found: BookRate,
        spread_bps: u32,
        at: Timestamp,
    ) -> Result<Quote, Refusal> {
        if amount.currency == arrives {
            return Ok(Quote { destination_amount: amount, conversion: None, at });
        }
        let converted = fx::convert(amount, found.rate, spread_bps)?;
        let conversion = AppliedRate {
            rate: found.rate,
            spread_bps,
            gross_minor: converted.gross,
            residue: converted.residue,
            as_of: found.as_of,
        };
        let destination_amount = Money::new(converted.net, arrives);
        Ok(Quote { destination_amount, conversion: Some(conversion), at })
    }

    /// Whether a conversion was quoted so long ago that the house need not stand by it any more. Within one
    /// currency a quote promises nothing that could change.
    pub fn is_outdated(&self, now: Timestamp, age_seconds_max: i64) -> bool {
        let age_micros = now.micros().saturating_sub(self.at.micros());
        self.conversion.is_some() && age_micros > age_seconds_max.saturating_mul(1_000_000)
    }

    /// What the amount is worth at the mid-market rate, in what arrives.
    pub fn gross(&self) -> Money {
        let net = self.destination_amount;
        let minor = self.conversion.as_ref().map_or(net.minor, |applied| applied.gross_minor);
        Money::new(minor, net.currency)
    }

    /// What the house keeps of that.
    pub fn fee(&self) -> Money {
        let net = self.destination_amount;
        Money::new(self.gross().minor.saturating_sub(net.minor), net.currency)
    }

    /// The rate between major units, for people; absent within one currency.
    pub fn rate_text(&self, source: Currency) -> Option<String> {
        self.conversion
            .as_ref()
            .map(|applied| applied.rate.to_major_string(source, self.destination_amount.currency))
    }
}

/// Who refused a payment and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The stage that refused.
    pub stage: StageName,
    /// The stable code.
    pub reason: Refusal,
    /// The risk rules behind it, if any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// When the stage refused.
    pub at: Timestamp,
}

/// A payment in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRecord {
    /// What is known since it was accepted.
    pub facts: Facts,
    /// How far it has come.
    pub state: RecordState,
    /// The span at the stage that recorded it, where the payment is traced.
    pub trace: Option<TraceContext>,
}

/// What is known of a payment whose money is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// What risk found.
    pub screening: Screening,
    /// What will arrive, and how it was worked out.
    pub quote: Quote,
    /// When the hold was made.
    pub at: Timestamp,
}

/// How far a payment in the ledger has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    /// Its money is held.
    Reserved(Reserved),
    /// The money moved.
    Captured {
        /// The hold that it moved from.
        reserved: Reserved,
        /// When the postings were written.
        finished_at: Timestamp,
    },
    /// It was refused, and no money moved.
    Failed {
        /// What risk found, unless risk itself refused.
        screening: Option<Screening>,
        /// What would have arrived, unless risk or fx refused.
        quote: Option<Quote>,
        /// When its money was held, if settle refused: the hold was released.
        reserved_at: Option<Timestamp>,
        /// Who refused and why.
        rejection: Rejection,
        /// When it was recorded.
        finished_at: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_conversions_grow_old() {
        let usd = Currency::parse("USD").unwrap();
        let found = BookRate { rate: Rate { numerator: 11, denominator: 10 }, as_of: Timestamp::default() };
        let quoted = Timestamp::from_micros(1_000_000_000);
        // What arrives, how long after the quote in microseconds, and whether it is outdated then.
        let rows = [
            (usd, 0, false),
            (usd, 60_000_000, false),
            (usd, 60_000_001, true),
            // The clock of another machine was ahead.
            (usd, -1_000_000_000_000, false),
            (Currency::EUR, 60_000_001, false),
        ];
        for (arrives, after, expected) in rows {
            let quote = Quote::of(Money::new(500, Currency::EUR), arrives, found, 0, quoted).unwrap();
            let now = Timestamp::from_micros(quoted.micros() + after);
            assert_eq!(quote.is_outdated(now, 60), expected, "{arrives} after {after} us");
        }
    }
}
