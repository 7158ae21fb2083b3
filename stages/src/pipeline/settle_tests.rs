use super::*;
use crate::pipeline::testing::{
    NOW, ScriptedLedger, account, at, currency, errors, euros, facts, held, input, payment, quote, screening,
};
use devstack::testing::TestPostgres;
use domain::facts::RecordState;
use domain::ledger::{LedgerAccount, PostingError};
use domain::{Currency, Money, OperationId, Refusal};
use std::time::Duration;
use store::{Answer, Deposit, HoldRequest, Store, StoreOptions};

const LONG: Duration = Duration::from_secs(30);

fn message(id: &str, destination: &str, minor: i64) -> PaymentReserved {
    let facts = facts(payment(id, destination, euros(minor)));
    PaymentReserved { facts, screening: screening(), quote: quote(euros(minor)), reserved_at: at(4_000) }
}

/// A ledger in which `S` has money, `FULL` can take 10 more, and these payments are held.
async fn ledger(held: &[PaymentReserved]) -> Store {
    let url = TestPostgres::shared().await.fresh_database().await;
    store::migrate(&url).await.unwrap();
    let options = StoreOptions::for_service(
        &url.replace(devstack::OWNER, "kilat_app"),
        "settle test",
        2,
        LONG,
        LONG,
        LONG,
    );
    let store = Store::connect_lazily(&options).unwrap();
    for (id, minor) in [("FULL", i64::MAX - 10), ("S", 1_000), ("D", 1)] {
        let key = account(id);
        store.open_account(&key, Currency::EUR).await.unwrap();
        let deposit = Deposit { account: key, id: OperationId::parse(id).unwrap(), amount: euros(minor) };
        store.deposit(vec![deposit], at(0)).await.unwrap();
    }
    let holds = held.iter().cloned().map(|message| {
        let PaymentReserved { facts, screening, quote, .. } = message;
        HoldRequest { facts, screening, quote, is_quote_outdated: false, trace: None }
    });
    let answers = store.reserve(holds.collect(), at(4_000)).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))), "{answers:?}");
    store
}

fn put_back(message: &PaymentReserved) -> Verdict<PaymentFinished> {
    let accepted =
        PaymentAccepted { payment: message.facts.payment.clone(), fingerprint: message.facts.fingerprint };
    Verdict::PutBack(Box::new(PutBack { accepted, accepted_at: message.facts.accepted_at }))
}

#[tokio::test]
async fn the_row_says_how_a_payment_ends() {
    let held = [message("GOOD", "D", 5), message("LIMIT", "FULL", 11)];
    let stage = Settle { ledger: ledger(&held).await, shard: 0 };
    let lost = message("LOST", "D", 5);
    let batch = [input(&held[0]), input(&lost), input(&held[1])];
    // The payment and why it failed, if it did.
    let ended = |verdict: &Verdict<PaymentFinished>| match verdict {
        Verdict::Retell(record) => match &record.state {
            RecordState::Captured { .. } => Some((record.facts.payment.id.to_string(), None)),
            RecordState::Failed { rejection, .. } => {
                Some((record.facts.payment.id.to_string(), Some(rejection.reason)))
            }
            RecordState::Reserved(_) => None,
        },
        _ => None,
    };
    // And again, as a redelivery after the commit.
    for _ in 0..2 {
        let verdicts = stage.advance(&batch, NOW).await.unwrap();
        assert_eq!(ended(&verdicts[0]), Some(("GOOD".to_owned(), None)), "{verdicts:?}");
        assert_eq!(
            ended(&verdicts[2]),
            Some(("LIMIT".to_owned(), Some(Refusal::DestinationLimit))),
            "{verdicts:?}"
        );
        assert_eq!(verdicts[1], put_back(&lost));
    }
}

#[tokio::test]
async fn each_settlement_has_its_verdict() {
    let message = message("P", "D", 5);
    let row = held(message.facts.clone());
    let missing = PostingError::UnknownAccount(LedgerAccount::customer(&account("D").id));
    let rows = [
        (Settlement::Recorded(row.clone()), Verdict::Retell(row)),
        (Settlement::NoRow, put_back(&message)),
        (Settlement::Locked, Verdict::Later("another transaction's lock on its row or an account")),
        (
            Settlement::Unpostable(missing),
            Verdict::Bury("a customer's account is not in the ledger".to_owned()),
        ),
    ];
    for (settlement, expected) in rows {
        let stage = Settle { ledger: ScriptedLedger::settling(vec![settlement]), shard: 0 };
        assert_eq!(stage.advance(&[input(&message)], NOW).await.unwrap(), [expected]);
    }
}

#[tokio::test]
async fn the_ledger_is_told_which_rows_a_settlement_needs() {
    let plain = message("A", "D", 5);
    let dollars = Money::new(6, currency("USD"));
    let converted = PaymentReserved { quote: quote(dollars), ..message("B", "E", 5) };
    let ledger = ScriptedLedger::settling(vec![Settlement::Locked; 2]);
    let stage = Settle { ledger: ledger.clone(), shard: 3 };
    stage.advance(&[input(&plain), input(&converted)], NOW).await.unwrap();
    let expected = [("A", "D", None), ("B", "E", Some((Currency::EUR, dollars.currency)))].map(
        |(id, destination, conversion)| {
            let [source, destination] = ["S", destination].map(|id| account(id).id);
            SettleRequest { payment: payment(id, "D", euros(5)).key(), source, destination, conversion }
        },
    );
    let asked = ledger.asked().settlements;
    assert_eq!(asked, [(expected.to_vec(), NOW, 3)]);
}

#[tokio::test]
async fn an_error_of_the_ledger_is_an_outage_or_a_fault() {
    for (error, is_outage) in errors() {
        let stage = Settle { ledger: ScriptedLedger::failing(error), shard: 0 };
        let fault = stage.advance(&[input(&message("A", "D", 5))], NOW).await.unwrap_err();
        assert_eq!(matches!(fault, Fault::Outage(_)), is_outage, "{fault}");
    }
}
