//! Fx: consumes screened payments, forwards quoted ones.
//!
//! The destination account's currency is what arrives. Refuses with `account_not_found`, `currency_mismatch`,
//! `fx_rate_unavailable`, `fx_rate_stale`, `amount_too_small` or `amount_too_large`. Asked again it may quote
//! another rate; the ledger keeps the first quote that reserve saw.

use crate::pipeline::rate_book::RateBooks;
use domain::facts::{Quote, Rejection};
use domain::{AccountKey, Currency, Refusal, StageName, Timestamp};
use host::fault;
use lru::LruCache;
use runtime::config::FxConfig;
use runtime::stage::{Fault, Input, Stage, Verdict};
use runtime::telemetry::{LedgerOperation, Traces};
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use store::StageLedger;
use wire::message::{PaymentQuoted, PaymentRejected, PaymentScreened};

/// The stage.
pub(crate) struct Fx<L> {
    rates: Arc<RateBooks>,
    ledger: L,
    traces: Traces,
    spread_bps: u32,
    /// An account's currency never changes, so it may be remembered. That an account is missing may not.
    currencies: Mutex<LruCache<AccountKey, Currency>>,
}

impl<L: StageLedger> Fx<L> {
    /// The stage as it is configured; it remembers no account yet.
    pub(crate) fn new(rates: Arc<RateBooks>, ledger: L, traces: Traces, config: &FxConfig) -> Fx<L> {
        let cache_size = NonZeroUsize::new(config.account_cache_size).unwrap_or(NonZeroUsize::MIN);
        let currencies = Mutex::new(LruCache::new(cache_size));
        Fx { rates, ledger, traces, spread_bps: config.spread_bps, currencies }
    }

    /// The currencies of the batch's destinations, those that exist: remembered, or read at once.
    async fn destinations(
        &self,
        batch: &[Input<PaymentScreened>],
    ) -> Result<HashMap<AccountKey, Currency>, Fault> {
        let mut found = HashMap::new();
        let mut unknown = BTreeSet::new();
        {
            let mut remembered = self.currencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for input in batch {
                let key = input.message.facts.payment.destination_key();
                if let Some(currency) = remembered.get(&key) {
                    found.insert(key, *currency);
                } else {
                    unknown.insert(key);
                }
            }
        }
        if !unknown.is_empty() {
            let is_asked = |input: &&Input<PaymentScreened>| {
                input.trace.is_some() && unknown.contains(&input.message.facts.payment.destination_key())
            };
            let traced = batch.iter().filter(is_asked).filter_map(|input| input.trace);
            let asking = self.traces.ask_ledger(traced, LedgerOperation::AccountCurrencies, unknown.len());
            let read = self.ledger.account_currencies(&unknown).await.map_err(|error| {
                let fault = fault(&error);
                asking.into_iter().for_each(|mut span| span.failed(fault.kind()));
                fault
            })?;
            let mut remembered = self.currencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // In the order of the keys, so that what is forgotten for them is no matter of chance.
            for key in unknown {
                if let Some(currency) = read.get(&key) {
                    remembered.put(key.clone(), *currency);
                    found.insert(key, *currency);
                }
            }
        }
        Ok(found)
    }

    fn quote(
        &self,
        message: &PaymentScreened,
        arrives: Option<Currency>,
        now: Timestamp,
    ) -> Result<Quote, Refusal> {
        let payment = &message.facts.payment;
        let arrives = arrives.ok_or(Refusal::AccountNotFound)?;
        if payment.destination_currency.is_some_and(|wanted| wanted != arrives) {
            return Err(Refusal::CurrencyMismatch);
        }
        let found = self.rates.rate(payment.amount.currency, arrives, now)?;
        Quote::of(payment.amount, arrives, found, self.spread_bps, now)
    }
}

impl<L: StageLedger> Stage for Fx<L> {
    const NAME: StageName = StageName::Fx;
    type In = PaymentScreened;
    type Out = PaymentQuoted;

    async fn advance(
        &self,
        batch: &[Input<PaymentScreened>],
        now: Timestamp,
    ) -> Result<Vec<Verdict<PaymentQuoted>>, Fault> {
        if !self.rates.is_loaded() {
            return Err(Fault::Outage("the rates are not loaded yet".to_owned()));
        }
        let destinations = self.destinations(batch).await?;
        let judge = |input: &Input<PaymentScreened>| {
            let PaymentScreened { facts, screening } = input.message.clone();
            match self.quote(&input.message, destinations.get(&facts.payment.destination_key()).copied(), now)
            {
                Ok(quote) => Verdict::Forward(PaymentQuoted { facts, screening, quote }),
                Err(reason) => {
                    let rejection = Rejection { stage: StageName::Fx, reason, rules: Vec::new(), at: now };
                    Verdict::Reject(Box::new(PaymentRejected {
                        facts,
                        screening: Some(screening),
                        quote: None,
                        rejection,
                    }))
                }
            }
        };
        Ok(batch.iter().map(judge).collect())
    }
}

#[cfg(test)]
#[path = "fx_tests.rs"]
mod tests;
