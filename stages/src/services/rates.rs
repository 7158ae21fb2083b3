//! `fx.rate` and `fx.convert`: the mid-market rate, and what a payment would get. Nothing is quoted or kept.

use crate::pipeline::rate_book::RateBooks;
use domain::facts::Quote;
use domain::fx::{self, BookRate};
use domain::{Currency, Money, Refusal};
use runtime::broker::{Call, Reply, ServiceHandler};
use std::sync::Arc;
use wire::object::{RequestObject, amount, currency};
use wire::service::{ConvertReply, Endpoint, RateReply};
use wire::{Code, Problem};

pub(crate) struct RateService {
    /// The rates known now.
    pub(crate) rates: Arc<RateBooks>,
    /// What payments pay for a conversion.
    pub(crate) spread_bps: u32,
}

impl ServiceHandler for RateService {
    async fn answer(&self, endpoint: Endpoint, calls: Vec<Call>) -> Vec<Result<Reply, Problem>> {
        let answer = |call: &Call| match endpoint {
            Endpoint::Rate => self.rate(&call.body),
            Endpoint::Convert => self.convert(&call.body),
            Endpoint::Balance | Endpoint::Open | Endpoint::Deposit | Endpoint::Score => {
                Err(Problem::new(Code::NotFound, "the fx service has no such endpoint"))
            }
        };
        calls.iter().map(answer).collect()
    }
}

impl RateService {
    fn rate(&self, body: &[u8]) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(body)?;
        let (base, quote) = (request.require_text("base")?, request.require_text("quote")?);
        request.finish()?;
        let (base, quote) = (currency("base", &base)?, currency("quote", &quote)?);
        let found = self.find(base, quote)?;
        reply(&RateReply { base, quote, rate: found.rate.to_major_string(base, quote), as_of: found.as_of })
    }

    fn convert(&self, body: &[u8]) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(body)?;
        let (from, to) = (request.require_text("from")?, request.require_text("to")?);
        let digits = request.require_decimal("amount")?;
        request.finish()?;
        let (from, to) = (currency("from", &from)?, currency("to", &to)?);
        let asked = amount("amount", &digits, from)?;
        let found = self.find(from, to)?;
        let [converted, gross, fee] = match Quote::of(asked, to, found, self.spread_bps, found.as_of) {
            Ok(quote) => [quote.destination_amount, quote.gross(), quote.fee()],
            // A payment of it is refused. That nothing would arrive is an answer here.
            Err(Refusal::AmountTooSmall) => {
                let gross = fx::convert(asked, found.rate, 0).map_or(0, |conversion| conversion.gross);
                [Money::new(0, to), Money::new(gross, to), Money::new(gross, to)]
            }
            Err(_) => {
                return Err(Problem::new(
                    Code::AmountTooLarge,
                    "the converted amount is larger than one operation may move",
                ));
            }
        };
        reply(&ConvertReply {
            from,
            to,
            amount: asked.to_decimal_string(),
            converted: converted.to_decimal_string(),
            rate: found.rate.to_major_string(from, to),
            gross: gross.to_decimal_string(),
            fee: fee.to_decimal_string(),
            spread_bps: if from == to { 0 } else { self.spread_bps },
            as_of: found.as_of,
        })
    }

    fn find(&self, from: Currency, to: Currency) -> Result<BookRate, Problem> {
        if !self.rates.is_loaded() {
            return Err(Problem::new(Code::Unavailable, "the rates are not loaded yet"));
        }
        self.rates.rate(from, to, runtime::clock::now()).map_err(|refusal| match refusal {
            Refusal::FxRateStale => {
                Problem::new(Code::FxRateStale, format!("the newest rate from {from} to {to} is too old"))
            }
            _ => Problem::new(Code::FxRateUnavailable, format!("there is no rate from {from} to {to}")),
        })
    }
}

/// A reply with this JSON body.
pub(crate) fn reply<T: serde::Serialize>(body: &T) -> Result<Reply, Problem> {
    let body =
        serde_json::to_vec(body).map_err(|_| Problem::new(Code::Internal, "the answer cannot be written"))?;
    Ok(Reply { body: body.into(), replayed: false })
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
