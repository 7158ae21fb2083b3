use super::*;
use devstack::testing::TestPostgres;
use domain::facts::{Quote, Screening};
use domain::ledger::{LedgerAccount, PostingError};
use domain::{AccountId, AccountKey, Currency, Facts, Money, OperationId, Payment, PaymentId, Refusal, Tenant, Timestamp};
use std::time::Duration;
use store::{Answer, Deposit, HoldRequest, StoreOptions};
use wire::HopMessage;
use wire::message::FinalStatus;

const LONG: Duration = Duration::from_secs(30);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

fn euros(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

fn message(id: &str, destination: &str, minor: i64) -> PaymentReserved {
    let payment = Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: account("S"),
        destination_account: account(destination),
        amount: euros(minor),
        destination_currency: None,
        description: Some("as it was sent".to_owned()),
        metadata: None,
    };
    PaymentReserved {
        facts: Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 7, accepted_at: at(1_000) },
        screening: Screening { score: 1, at: at(2_000) },
        quote: Quote { destination_amount: euros(minor), conversion: None, at: at(3_000) },
        reserved_at: at(4_000),
    }
}

/// A ledger in which `S` has money, `FULL` can take 10 more, and these payments are held.
async fn ledger(held: &[PaymentReserved]) -> Store {
    let url = TestPostgres::shared().await.fresh_database().await;
    store::migrate(&url).await.unwrap();
    let options = StoreOptions::for_service(&url.replace(devstack::OWNER, "kilat_app"), "settle test", 2, LONG, LONG, LONG);
    let store = Store::connect_lazily(&options).unwrap();
    for (id, minor) in [("FULL", i64::MAX - 10), ("S", 1_000), ("D", 1)] {
        let key = AccountKey { tenant: Tenant::default(), id: account(id) };
        store.open_account(&key, Currency::EUR).await.unwrap();
        let deposit = Deposit { account: key, id: OperationId::parse(id).unwrap(), amount: euros(minor) };
        store.deposit(vec![deposit], at(0)).await.unwrap();
    }
    let holds = held.iter().cloned().map(|message| {
        let PaymentReserved { facts, screening, quote, .. } = message;
        HoldRequest { facts, screening, quote }
    });
    let answers = store.reserve(holds.collect(), at(4_000)).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))), "{answers:?}");
    store
}

fn input(message: &PaymentReserved) -> Input<PaymentReserved> {
    Input { message: message.clone(), seq: 1, accepted_at: at(9_000), is_redriven: false }
}

#[tokio::test]
async fn the_row_says_how_a_payment_ends() {
    let held = [message("GOOD", "D", 5), message("LIMIT", "FULL", 11)];
    let stage = Settle { store: ledger(&held).await, shard: 0 };
    let lost = message("LOST", "D", 5);
    let batch = [input(&held[0]), input(&lost), input(&held[1])];
    // And again, as a redelivery after the commit.
    for _ in 0..2 {
        let verdicts = stage.advance(&batch).await.unwrap();
        let ended = |verdict: &Verdict| match verdict {
            Verdict::Emit(message) => match message.as_ref() {
                HopMessage::Finished(finished) => Some((finished.key.id.to_string(), finished.status, finished.reason)),
                _ => None,
            },
            _ => None,
        };
        assert_eq!(ended(&verdicts[0]), Some(("GOOD".to_owned(), FinalStatus::Captured, None)), "{verdicts:?}");
        assert_eq!(ended(&verdicts[2]), Some(("LIMIT".to_owned(), FinalStatus::Failed, Some(Refusal::DestinationLimit))), "{verdicts:?}");
        let accepted = PaymentAccepted { payment: lost.facts.payment.clone(), fingerprint: lost.facts.fingerprint };
        assert_eq!(verdicts[1], Verdict::PutBack(Box::new(PutBack { accepted, accepted_at: lost.facts.accepted_at })));
    }
}

#[test]
fn what_is_locked_waits_and_what_cannot_be_posted_is_buried() {
    let message = message("P", "D", 5);
    assert!(matches!(verdict(&message, Settlement::Locked), Verdict::Later(_)));
    let missing = PostingError::UnknownAccount(LedgerAccount::customer(&account("D")));
    assert_eq!(verdict(&message, Settlement::Unpostable(missing)), Verdict::Bury("account D is not in the ledger".to_owned()));
}
