use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, account, currency, errors, euros, facts, input, payment, screening,
};
use crate::services::rates::RateService;
use domain::Money;
use proptest::prelude::*;
use runtime::broker::{Call, ServiceHandler};
use runtime::config::{Config, StackConfig};
use runtime::ids::RequestId;
use serde_json::{Value, json};
use wire::Caller;
use wire::service::Endpoint;

/// A book with one rate: EUR into USD, of the instant zero, which is stale after an hour.
fn books() -> Arc<RateBooks> {
    Arc::new(RateBooks::of(&[("EUR.USD", "1.1")], Timestamp::default(), 3_600))
}

fn stage(rates: Arc<RateBooks>, ledger: ScriptedLedger) -> Fx<ScriptedLedger> {
    let config =
        FxConfig { spread_bps: 100, account_cache_size: 1, ..Config::on(StackConfig::shifted(0)).fx };
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

/// Of more accounts than are remembered the last in order stay, whatever order the ledger answers in.
#[tokio::test]
async fn which_accounts_are_remembered_is_no_matter_of_chance() {
    let ids: Vec<String> = (10..42).map(|number| format!("A{number}")).collect();
    let accounts: Vec<(&str, Currency)> = ids.iter().map(|id| (id.as_str(), Currency::EUR)).collect();
    let ledger = ScriptedLedger::with_accounts(&accounts);
    let stage = stage(books(), ledger.clone());
    let batch: Vec<_> = ids.iter().map(|id| input(&message(id, 1, None))).collect();
    stage.advance(&batch, NOW).await.unwrap();
    ledger.asked();
    stage.advance(&batch[31..], NOW).await.unwrap();
    assert_eq!(ledger.asked().currencies, [], "the last is remembered");
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

/// What `/convert` says of an amount, and what fx makes of a payment of it to each of the accounts.
async fn told_and_quoted(minor: i64, rate: &str, spread_bps: u32, destination: &str) -> [Option<Value>; 2] {
    let rates = Arc::new(RateBooks::of(&[("EUR.USD", rate), ("EUR.JPY", rate)], NOW, i64::MAX));
    let message = message(destination, minor, None);
    let to = match destination {
        "E" => Currency::EUR,
        "U" => currency("USD"),
        _ => currency("JPY"),
    };
    let amount = message.facts.payment.amount.to_decimal_string();
    let body = json!({ "from": "EUR", "to": to, "amount": amount }).to_string().into();
    let service = RateService { rates: rates.clone(), spread_bps };
    let call = Call { caller: Caller::default(), request_id: RequestId::fresh(), trace: None, body };
    let told = service.answer(Endpoint::Convert, vec![call]).await.remove(0).ok().map(|reply| {
        let mut told: Value = serde_json::from_slice(&reply.body).unwrap();
        told["as_of"].take();
        told
    });
    let config = FxConfig { spread_bps, account_cache_size: 1, ..Config::on(StackConfig::shifted(0)).fx };
    let stage = Fx::new(rates, ledger(), Traces::inert(), &config);
    let verdicts = stage.advance(&[input(&message)], NOW).await.unwrap();
    let quoted = match &verdicts[0] {
        Verdict::Forward(quoted) => Some(json!({
            "from": "EUR", "to": to, "amount": amount,
            "converted": quoted.quote.destination_amount.to_decimal_string(),
            "rate": quoted.quote.rate_text(Currency::EUR).unwrap_or("1".to_owned()),
            "gross": quoted.quote.gross().to_decimal_string(),
            "fee": quoted.quote.fee().to_decimal_string(),
            "spread_bps": quoted.quote.conversion.as_ref().map_or(0, |applied| applied.spread_bps),
            "as_of": null,
        })),
        // Nothing arrives, for which a payment is refused.
        Verdict::Reject(refused) if refused.rejection.reason == Refusal::AmountTooSmall => {
            let nothing = Money::new(0, to).to_decimal_string();
            told.clone().filter(|told| told["converted"] == nothing && told["fee"] == told["gross"])
        }
        _ => None,
    };
    [told, quoted]
}

proptest! {
    #[test]
    fn what_convert_tells_is_what_a_payment_gets(
        minor in prop_oneof![1..100_i64, 1..=domain::money::AMOUNT_MINOR_MAX], rate in 1..2_000_000_u64, scale in 0..10_u32,
        spread_bps in 0..=500_u32, destination in prop_oneof!["E", "U", "J"],
    ) {
        let rate = domain::fx::Decimal::new(rate.try_into().unwrap(), scale).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let [told, quoted] = runtime.block_on(told_and_quoted(minor, &rate, spread_bps, &destination));
        prop_assert_eq!(told, quoted);
    }
}
