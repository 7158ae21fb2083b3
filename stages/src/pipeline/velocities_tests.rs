use super::*;
use domain::{AccountId, Payment, PaymentId, PaymentRecord, Tenant};
use runtime::broker::{MemoryStreams, Outgoing};
use runtime::config::{Config, StackConfig};
use std::collections::HashMap;
use store::{Answer, HoldRequest, RecentPayment, SettleRequest, Settlement};
use wire::header::Headers;
use wire::{Hop, HopMessage};

/// The velocities are rebuilt in this second, over the minute before it.
const NOW: i64 = 100;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn facts(id: &str, accepted_seq: u64) -> Facts {
    let payment = Payment {
        tenant: Tenant::default(),
        id: PaymentId::parse(id).unwrap(),
        source_account: AccountId::parse("S").unwrap(),
        destination_account: AccountId::parse("D").unwrap(),
        amount: Money::new(5, Currency::EUR),
        destination_currency: None,
        description: None,
        metadata: None,
    };
    Facts { fingerprint: payment.fingerprint(), payment, accepted_seq, accepted_at: at(NOW) }
}

/// What was accepted lately, and nothing else.
#[derive(Clone)]
struct RecentRows(Vec<RecentPayment>);

impl RecentRows {
    fn of(rows: &[(&str, i64)]) -> RecentRows {
        let row = |(id, second): &(&str, i64)| {
            let payment = facts(id, 1).payment;
            let (source, amount, payment_id) = (payment.source_key(), payment.amount, payment.id.to_string());
            RecentPayment { source, amount, accepted_seq: 1, accepted_at: at(*second), payment_id }
        };
        RecentRows(rows.iter().map(row).collect())
    }
}

impl StageLedger for RecentRows {
    async fn recent_payments(&self, since: Timestamp) -> Result<Vec<RecentPayment>, StoreError> {
        Ok(self.0.iter().filter(|row| row.accepted_at >= since).cloned().collect())
    }

    async fn account_currencies(
        &self,
        _: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        Ok(HashMap::new())
    }

    async fn reserve(&self, _: Vec<HoldRequest>, _: Timestamp) -> Result<Vec<Answer>, StoreError> {
        Ok(Vec::new())
    }

    async fn settle(
        &self,
        _: Vec<SettleRequest>,
        _: Timestamp,
        _: u16,
    ) -> Result<Vec<Settlement>, StoreError> {
        Ok(Vec::new())
    }

    async fn record_rejections(&self, _: Vec<PaymentRecord>) -> Result<Vec<Answer>, StoreError> {
        Ok(Vec::new())
    }
}

/// A message of the intake: its payment, in which second it was stored, and in which its first copy was, if
/// it is a later one.
type Accepted<'r> = (&'r str, i64, Option<i64>);

async fn intake(messages: &[Accepted<'_>]) -> MemoryStreams {
    let streams = MemoryStreams::default();
    streams.declare_all(&Config::on(StackConfig::shifted(0)).pipeline).await.unwrap();
    for (id, stored, first) in messages {
        let Facts { payment, fingerprint, .. } = facts(id, 1);
        let subject = wire::Subject::of(Hop::Accepted, 0, &payment.key()).into_string();
        let payload = HopMessage::from(PaymentAccepted { payment, fingerprint }).encode().unwrap();
        let mut message = Outgoing::new(subject, payload);
        message.headers = first.map_or_else(Headers::default, |second| Headers::redriven(1, at(second)));
        streams.set_now(at(*stored));
        streams.publish(&message).await.unwrap();
    }
    streams
}

fn payments(velocities: &Velocities) -> (u64, i64) {
    let seen = velocities.observe(&facts("P", 1).payment.source_key(), Currency::EUR, at(NOW));
    (seen.count, seen.sum_minor)
}

#[tokio::test]
async fn each_payment_of_the_window_counts_once_wherever_it_is_found() {
    let rows: [(&[Accepted<'_>], &[(&str, i64)], (u64, i64)); 7] = [
        (&[], &[], (0, 0)),
        (&[("A", 90, None), ("B", 91, None)], &[], (2, 10)),
        (&[], &[("A", 90)], (1, 5)),
        (&[("A", 90, None), ("B", 91, None)], &[("A", 90), ("C", 89)], (3, 15)),
        // Before the window, by the first copy where there are more.
        (&[("A", 30, None)], &[("B", 30)], (0, 0)),
        (&[("A", 90, Some(30))], &[], (0, 0)),
        (&[("A", 90, Some(80))], &[], (1, 5)),
    ];
    for (accepted, recorded, expected) in rows {
        let velocities = Velocities::new(60);
        velocities.rebuild(&intake(accepted).await, &RecentRows::of(recorded), at(NOW)).await.unwrap();
        assert_eq!(payments(&velocities), expected, "{accepted:?} and {recorded:?}");
    }
}

#[tokio::test]
async fn what_was_counted_is_not_counted_when_it_is_delivered() {
    let streams = intake(&[("A", 90, None), ("B", 91, None)]).await;
    let junk = Outgoing::new("pay.accepted.0.junk".to_owned(), "{}");
    streams.publish(&junk).await.unwrap();
    let velocities = Velocities::new(60);
    velocities.rebuild(&streams, &RecentRows::of(&[]), at(NOW)).await.unwrap();
    // The sequence of a delivery, whether it is a later copy, and how many payments are counted then.
    for (seq, is_redriven, count) in
        [(1, false, 2), (3, false, 2), (4, false, 3), (4, false, 3), (5, true, 3), (6, false, 4)]
    {
        velocities.count(&facts("P", seq), is_redriven);
        assert_eq!(payments(&velocities).0, count, "sequence {seq}");
    }
}

#[tokio::test]
async fn a_rebuild_that_fails_leaves_what_was_counted() {
    let streams = intake(&[("A", 90, None)]).await;
    let velocities = Velocities::new(60);
    velocities.rebuild(&streams, &RecentRows::of(&[]), at(NOW)).await.unwrap();
    for calls in 0..2 {
        streams.begin_outage_after(calls);
        assert!(velocities.rebuild(&streams, &RecentRows::of(&[("B", 90)]), at(NOW)).await.is_err());
        assert_eq!(payments(&velocities), (1, 5));
    }
    streams.end_outage();
    velocities.rebuild(&streams, &RecentRows::of(&[("B", 90)]), at(NOW)).await.unwrap();
    assert_eq!(payments(&velocities), (2, 10));
}

#[test]
fn each_sequence_is_seen_first_once_in_whatever_order_it_comes() {
    let mut state = State { book: VelocityBook::new(60), counted_to: 10, skipped: BTreeSet::new() };
    let rows = [
        (9, false),
        (11, true),
        (11, false),
        (15, true),
        (12, true),
        (12, false),
        (14, true),
        (13, true),
        (13, false),
        (16, true),
        (15, false),
    ];
    for (seq, first) in rows {
        assert_eq!(state.is_first_sight(seq), first, "{seq}");
    }
    assert!(state.skipped.is_empty());
    assert!(state.is_first_sight(10_000_000) && state.skipped.len() == SKIPPED_MAX);
}
