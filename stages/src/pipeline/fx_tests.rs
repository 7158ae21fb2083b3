use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, account, currency, errors, euros, facts, input, payment, screening,
};

/// A book with one rate: EUR into USD, of the instant zero, which is stale after an hour.
fn books() -> Arc<RateBooks> {
    Arc::new(RateBooks::of(&[("EUR.USD", "1.1")], Timestamp::default(), 3_600))
}

fn stage(rates: Arc<RateBooks>, ledger: ScriptedLedger) -> Fx<ScriptedLedger> {
    let config = FxConfig { spread_bps: 100, rate_age_seconds_max: 3_600, account_cache_size: 1 };
    Fx::new(rates, ledger, Traces::inert(), &config)
}

fn ledger() -> ScriptedLedger {
    ScriptedLedger::with_accounts(&[("E", Currency::EUR), ("U", currency("USD")), ("J", currency("JPY"))])
}

fn message(destination: &str, minor: i64, wanted: Option<&str>) -> PaymentScreened {
    let payment = domain::Payment {
        destination_currency: wanted.map(currency),
        ..payment("P", destination, euros(minor))
    };
    PaymentScreened { facts: facts(payment), screening: screening() }
}

#[tokio::test]
async fn what_arrives_is_quoted_or_refused() {
    const HOUR: i64 = 3_600_000_000;
    use Refusal::{AccountNotFound, AmountTooSmall, CurrencyMismatch, FxRateStale, FxRateUnavailable};
    // Destination, minor units, the currency asked for, the time, and expected: what arrives and its gross,
    // or the refusal.
    let rows: [(&str, i64, Option<&str>, i64, Result<(i64, Option<i64>), Refusal>); 9] = [
        ("E", 200, None, 0, Ok((200, None))),
        ("E", 200, Some("EUR"), 2 * HOUR, Ok((200, None))),
        ("U", 200, None, 0, Ok((217, Some(220)))),
        ("U", 200, Some("USD"), HOUR, Ok((217, Some(220)))),
        ("U", 200, Some("EUR"), 0, Err(CurrencyMismatch)),
        ("U", 200, None, HOUR + 1_000_000, Err(FxRateStale)),
        ("U", 0, None, 0, Err(AmountTooSmall)),
        ("J", 200, None, 0, Err(FxRateUnavailable)),
        ("NOBODY", 200, None, 0, Err(AccountNotFound)),
    ];
    for (destination, minor, wanted, micros, expected) in rows {
        let (message, now) = (message(destination, minor, wanted), Timestamp::from_micros(micros));
        let verdicts = stage(books(), ledger()).advance(&[input(&message)], now).await.unwrap();
        let seen = match &verdicts[0] {
            Verdict::Forward(quoted) => {
                assert_eq!(
                    (&quoted.facts, &quoted.screening, quoted.quote.at),
                    (&message.facts, &message.screening, now)
                );
                Ok((
                    quoted.quote.destination_amount.minor,
                    quoted.quote.conversion.as_ref().map(|applied| applied.gross_minor),
                ))
            }
            Verdict::Reject(rejected) => {
                assert_eq!(
                    (&rejected.facts, rejected.screening.as_ref()),
                    (&message.facts, Some(&message.screening))
                );
                assert_eq!((rejected.rejection.stage, rejected.rejection.at), (StageName::Fx, now));
                Err(rejected.rejection.reason)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(seen, expected, "{minor} to {destination} as {wanted:?} at {micros}");
    }
}

#[tokio::test]
async fn an_account_is_asked_for_once_and_a_missing_one_each_time() {
    let ledger = ledger();
    let stage = stage(books(), ledger.clone());
    let batch = [input(&message("E", 1, None)), input(&message("NOBODY", 1, None))];
    for _ in 0..2 {
        stage.advance(&batch, NOW).await.unwrap();
    }
    let asked = ledger.asked().currencies;
    assert_eq!(
        asked,
        [BTreeSet::from([account("E"), account("NOBODY")]), BTreeSet::from([account("NOBODY")])]
    );
}

#[tokio::test]
async fn without_rates_or_ledger_nothing_is_judged() {
    let batch = [input(&message("E", 1, None))];
    let unloaded = Arc::new(RateBooks::new(3_600));
    assert!(matches!(stage(unloaded, ledger()).advance(&batch, NOW).await, Err(Fault::Outage(_))));
    for (error, is_outage) in errors() {
        let fault = stage(books(), ScriptedLedger::failing(error)).advance(&batch, NOW).await.unwrap_err();
        assert_eq!(matches!(fault, Fault::Outage(_)), is_outage, "{fault}");
    }
}
