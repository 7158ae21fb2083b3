use super::*;
use domain::{AccountId, Currency, Payment, PaymentId, PaymentKey, PaymentRecord, Tenant};
use runtime::broker::{MemoryStreams, Outgoing, Since, Stored};
use runtime::config::{Config, StackConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Answer, HoldRequest, PaymentPage, RecentPayment, SettleRequest, Settlement, StoreError};
use wire::header::Headers;
use wire::message::PaymentAccepted;
use wire::{Hop, HopMessage, Stream};

/// The velocities are rebuilt in this second.
const NOW: i64 = 10_000;

/// The largest page that a rebuild may ask for: what it holds at once of the ledger.
const PAGE_ROWS_MAX: u32 = 10_000;

/// So many seconds before the velocities are rebuilt.
fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_micros((NOW - seconds) * 1_000_000)
}

fn pipeline() -> PipelineConfig {
    Config::on(StackConfig::shifted(0)).pipeline
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
    Facts { fingerprint: payment.fingerprint(), payment, accepted_seq, accepted_at: ago(0) }
}

/// What was recorded lately, and nothing else. Clones share what was asked.
#[derive(Clone, Default)]
struct RecentRows {
    /// By the instant in which each was recorded: a second after it was accepted.
    rows: Arc<Vec<RecentPayment>>,
    /// A page has no more rows than this, but for those of the last one's instant.
    page_rows: u32,
    /// Every question that is the so manieth is not answered.
    fails_every: Option<usize>,
    /// No question is ever answered.
    is_silent: bool,
    asked: Arc<Mutex<Vec<(Timestamp, u32)>>>,
}

impl RecentRows {
    /// Ids, and how many seconds ago each payment was accepted.
    fn of<'r>(rows: impl IntoIterator<Item = (&'r str, i64)>) -> RecentRows {
        let row = |(id, seconds)| {
            let Payment { tenant, id, source_account, amount, .. } = facts(id, 1).payment;
            let key = PaymentKey { tenant, id };
            RecentPayment { key, source: source_account, amount, accepted_at: ago(seconds) }
        };
        let mut rows: Vec<RecentPayment> = rows.into_iter().map(row).collect();
        rows.sort_by_key(|row| row.accepted_at);
        RecentRows { rows: Arc::new(rows), page_rows: PAGE_ROWS_MAX, ..RecentRows::default() }
    }

    fn recorded_at(row: &RecentPayment) -> Timestamp {
        Timestamp::from_micros(row.accepted_at.micros() + 1_000_000)
    }
}

impl StageLedger for RecentRows {
    async fn recent_payments(&self, after: Timestamp, rows_max: u32) -> Result<PaymentPage, StoreError> {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((after, rows_max));
            asked.len()
        };
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        if self.fails_every.is_some_and(|every| asked.is_multiple_of(every)) {
            return Err(StoreError::Silent(Duration::from_secs(1)));
        }
        let rows_max = rows_max.min(self.page_rows) as usize;
        let later: Vec<&RecentPayment> =
            self.rows.iter().filter(|row| RecentRows::recorded_at(row) > after).collect();
        let last = later.get(rows_max.min(later.len()).wrapping_sub(1)).copied();
        let read_to = last.map_or(after, RecentRows::recorded_at);
        let page = later.into_iter().filter(|row| RecentRows::recorded_at(row) <= read_to);
        let payments: Vec<RecentPayment> = page.cloned().collect();
        Ok(PaymentPage { read_to, is_full: payments.len() >= rows_max, payments })
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

/// A message of the intake: its payment, how many seconds ago it was stored, and how many its first copy was,
/// if it is a later one.
type Accepted<'r> = (&'r str, i64, Option<i64>);

/// Stores a message as the gateway and the janitor do; a later copy takes the place of the earlier.
async fn accept(streams: &MemoryStreams, (id, stored, first): Accepted<'_>) {
    let Facts { payment, fingerprint, .. } = facts(id, 1);
    let subject = wire::Subject::of(Hop::Accepted, 0, &payment.key()).into_string();
    let payload = HopMessage::from(PaymentAccepted { payment, fingerprint }).encode().unwrap();
    let mut message = Outgoing::new(subject, payload);
    message.headers = first.map_or_else(Headers::default, |first| Headers::redriven(1, ago(first)));
    streams.set_now(ago(stored));
    streams.publish(&message).await.unwrap();
}

/// Messages with the sequences from 1 on, of which risk was given those up to one.
async fn intake(messages: &[Accepted<'_>], delivered: Option<u64>) -> MemoryStreams {
    let streams = MemoryStreams::default();
    streams.declare_all(&pipeline()).await.unwrap();
    for message in messages {
        accept(&streams, *message).await;
    }
    if let Some(delivered) = delivered {
        streams.acknowledge(Stream::Accepted, delivered);
    }
    streams
}

/// Counts what was not delivered when the velocities were rebuilt, as risk does; what each payment saw.
async fn deliver(velocities: &Velocities, streams: &MemoryStreams, delivered: Option<u64>) -> Vec<u64> {
    let from = Since::Sequence(delivered.unwrap_or(0) + 1);
    let mut seen = Vec::new();
    let mut count = |stored: Stored| {
        let facts = Facts { accepted_at: stored.accepted_at(), ..facts("P", stored.seq) };
        seen.push(velocities.count(&facts, stored.headers.redrive.is_some()).count);
    };
    streams.accepted_since(from, u64::MAX, &mut count).await.unwrap();
    seen
}

async fn rebuild(velocities: &Velocities, streams: &MemoryStreams, ledger: &RecentRows) {
    assert!(velocities.rebuild(streams, ledger, &pipeline(), ago(0), &Drain::default()).await);
    assert!(velocities.are_rebuilt());
}

/// How many payments are counted.
fn payments(velocities: &Velocities) -> u64 {
    let seen = velocities.lock().book.observe(&facts("P", 1).payment.source_key(), Currency::EUR, ago(0));
    assert_eq!(u64::try_from(seen.sum_minor).unwrap(), seen.count * 5);
    seen.count
}

#[tokio::test]
async fn each_payment_of_the_window_counts_once_wherever_it_is_found() {
    const A: Accepted<'_> = ("A", 10, None);
    const B: Accepted<'_> = ("B", 8, None);
    const C: Accepted<'_> = ("C", 6, None);
    const D: Accepted<'_> = ("D", 4, None);
    // What was accepted, below which sequence that is purged, what was delivered of it and what is recorded;
    // how many are counted at the start, and how many when the rest has come.
    let rows: [(&[Accepted<'_>], u64, Option<u64>, &[(&str, i64)], u64, u64); 20] = [
        (&[], 0, None, &[], 0, 0),
        (&[], 0, None, &[("A", 10)], 1, 1),
        (&[A, B], 0, Some(2), &[], 2, 2),
        (&[A, B], 0, Some(2), &[("A", 10), ("C", 11)], 3, 3),
        // What was not delivered is counted when it comes, but for the first.
        (&[A, B, C], 0, Some(1), &[], 2, 3),
        (&[A, B, C], 0, Some(0), &[("X", 20)], 2, 4),
        // A server that was killed has forgotten that the first was delivered, and it is recorded.
        (&[A, B, C], 0, Some(0), &[("A", 10)], 1, 3),
        // To a consumer that was just made all is delivered again, and some of it may be recorded.
        (&[A, B, C], 0, None, &[("A", 10)], 3, 3),
        // Purged: all that was delivered, some of it, and all there was.
        (&[A, B, C, D], 3, Some(2), &[("A", 10), ("B", 8)], 3, 4),
        (&[A, B, C, D], 3, Some(3), &[("A", 10), ("B", 8)], 4, 4),
        (&[A, B], 3, Some(2), &[("A", 10), ("B", 8)], 2, 2),
        // Before the window, by the first copy where there are more.
        (&[("A", 70, None)], 0, Some(1), &[("B", 70)], 0, 0),
        (&[("A", 10, Some(80))], 0, Some(1), &[], 0, 0),
        (&[("A", 10, Some(80))], 0, Some(0), &[], 0, 0),
        (&[("A", 10, Some(20))], 0, Some(1), &[], 1, 1),
        // Driven again in the place of a message that was delivered: delivered too, and not yet.
        (&[B, ("A", 5, Some(20))], 0, Some(2), &[], 2, 2),
        (&[B, ("A", 5, Some(20))], 0, Some(1), &[], 2, 2),
        (&[B, D, ("A", 2, Some(20))], 0, Some(1), &[], 2, 3),
        (&[B, D, ("A", 2, Some(20)), ("C", 1, Some(21))], 0, Some(1), &[("X", 30)], 3, 5),
        (&[B, ("A", 5, Some(20))], 0, Some(2), &[("A", 20), ("B", 8)], 2, 2),
    ];
    for (accepted, purged_below, delivered, recorded, at_start, in_the_end) in rows {
        let (streams, velocities) = (intake(accepted, delivered).await, Velocities::new(60));
        streams.purge_below(Stream::Accepted, purged_below).await.unwrap();
        rebuild(&velocities, &streams, &RecentRows::of(recorded.iter().copied())).await;
        let about = format!("{accepted:?} to {delivered:?}, purged {purged_below}, and {recorded:?}");
        assert_eq!(payments(&velocities), at_start, "at the start: {about}");
        deliver(&velocities, &streams, delivered).await;
        assert_eq!(payments(&velocities), in_the_end, "in the end: {about}");
    }
}

#[tokio::test]
async fn a_backlog_older_than_the_window_is_judged_by_what_was_sent_when_it_was_accepted() {
    // The bucket of an instant, so many seconds before the velocities are rebuilt: each has five seconds.
    let bucket = |seconds: i64| (NOW - seconds).div_euclid(5);
    // How many messages are accepted at once and in how many seconds again, how often, and how many of those
    // that were not delivered are counted with the first: all that are stored within a second after it, but no
    // more than a server that is killed can forget.
    for (at_once, step, times, ahead) in
        [(1, 7, 40, 1), (1, 1, 300, 2), (100, 1, 80, 200), (3_000, 1, 3, 4_096)]
    {
        // Some were judged before risk was down for longer than its window.
        let judged = at_once * 2;
        let down = 1_000;
        let seconds = |place: i64| down + step * (times - 1 - (place - judged).div_euclid(at_once));
        let ids: Vec<(String, i64)> =
            (0..judged + times * at_once).map(|place| (format!("P{place}"), seconds(place))).collect();
        let accepted: Vec<Accepted<'_>> =
            ids.iter().map(|(id, seconds)| (id.as_str(), *seconds, None)).collect();
        let judged = usize::try_from(judged).unwrap();
        // Half of what was judged is purged; what a server that was killed forgot has its row too.
        let recorded = ids[..judged + ahead].iter().map(|(id, seconds)| (id.as_str(), *seconds));
        let delivered = Some(judged as u64);
        let (streams, velocities) = (intake(&accepted, delivered).await, Velocities::new(60));
        streams.purge_below(Stream::Accepted, judged as u64 / 2).await.unwrap();
        rebuild(&velocities, &streams, &RecentRows::of(recorded)).await;
        let seen = deliver(&velocities, &streams, delivered).await;
        assert_eq!(seen.len(), ids.len() - judged);
        for (place, seen) in (judged..).zip(seen) {
            let last = bucket(ids[place].1);
            let counted = (place + 1).max(judged + ahead);
            let first = ids.partition_point(|(_, seconds)| bucket(*seconds) < last - 11);
            let expected = ids.partition_point(|(_, seconds)| bucket(*seconds) <= last).min(counted) - first;
            assert_eq!(seen, expected as u64, "{at_once} every {step} s, the {place}th");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_read_in_pages_and_none_twice() {
    // Four payments in each second, every third of them in the intake too. The oldest bucket that is seen
    // begins 3,400 seconds ago.
    let ids: Vec<(String, i64)> = (0..16_000).map(|place| (format!("P{place}"), place / 4)).collect();
    let all = || ids.iter().map(|(id, seconds)| (id.as_str(), *seconds));
    let accepted: Vec<Accepted<'_>> =
        all().take(600).step_by(3).map(|(id, seconds)| (id, seconds, None)).collect();
    let streams = intake(&accepted, Some(200)).await;
    for (page_rows, fails_every) in
        [(1, None), (5, None), (1_000, None), (1_000, Some(2)), (PAGE_ROWS_MAX, Some(2)), (1_000_000, None)]
    {
        let velocities = Velocities::new(3_600);
        let ledger = RecentRows { page_rows, fails_every, ..RecentRows::of(all()) };
        let rebuilding = rebuild(&velocities, &streams, &ledger);
        tokio::time::timeout(Duration::from_secs(600), rebuilding).await.expect("it comes to an end");
        assert_eq!(payments(&velocities), 4 * 3_401, "pages of {page_rows}, failing {fails_every:?}");
        let mut asked = std::mem::take(&mut *ledger.asked.lock().unwrap());
        let questions = asked.len();
        assert!(asked.is_sorted() && asked.iter().all(|(_, rows_max)| *rows_max <= PAGE_ROWS_MAX));
        asked.dedup();
        assert_eq!(asked[0].0, Timestamp::from_micros(ago(3_600).micros() - 1));
        let attempts = if fails_every.is_some() { 2 } else { 1 };
        assert!(questions <= asked.len() * attempts, "{questions} questions for {} pages", asked.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_an_outage_interrupts_it_is_counted_once_too() {
    const RECORDED: &[(&str, i64)] = &[("A", 10), ("B", 9)];
    // What is recorded, what happens meanwhile, and how many payments there are in the end.
    let rows: [(&[(&str, i64)], &str, u64); 6] = [
        (&[], "nothing", 3),
        (RECORDED, "nothing", 3),
        (RECORDED, "a purge", 3),
        (&[], "a payment", 4),
        (&[], "a re-drive", 3),
        // What was in it is lost, and with it what was counted of it.
        (&[], "another intake", 1),
    ];
    // It asks for streams, how far they were read, what waits, what they hold, and for the messages twice.
    for (calls, (recorded, event, expected)) in (0..6).flat_map(|calls| rows.map(|row| (calls, row))) {
        let delivered = Some(2);
        let streams = intake(&[("A", 10, None), ("B", 9, None), ("C", 8, None)], delivered).await;
        let (velocities, ledger) = (Velocities::new(60), RecentRows::of(recorded.iter().copied()));
        streams.begin_outage_after(calls);
        let meanwhile = async {
            // Time is paused: it goes on when the rebuilding waits.
            tokio::time::sleep(Duration::from_millis(100)).await;
            streams.end_outage();
            match event {
                "a purge" => drop(streams.purge_below(Stream::Accepted, 3).await.unwrap()),
                "a payment" => accept(&streams, ("D", 7, None)).await,
                "a re-drive" => accept(&streams, ("A", 7, Some(10))).await,
                "another intake" => {
                    streams.lose(Stream::Accepted);
                    streams.declare_all(&pipeline()).await.unwrap();
                    accept(&streams, ("D", 7, None)).await;
                }
                _ => {}
            }
        };
        tokio::join!(rebuild(&velocities, &streams, &ledger), meanwhile);
        deliver(&velocities, &streams, delivered.filter(|_| event != "another intake")).await;
        assert_eq!(payments(&velocities), expected, "{event} after {calls} calls, and {recorded:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_drain_and_leaves_what_was_counted() {
    let streams = intake(&[("A", 10, None)], Some(1)).await;
    let velocities = Velocities::new(60);
    rebuild(&velocities, &streams, &RecentRows::of([])).await;
    let silent = RecentRows { is_silent: true, ..RecentRows::of([]) };
    // Whatever it waits for: the ledger, or the next attempt.
    for calls in [None, Some(0)] {
        if let Some(calls) = calls {
            streams.begin_outage_after(calls);
        }
        let drain = Drain::default();
        let begins = async {
            // Time is paused: it goes on when the rebuilding waits.
            tokio::time::sleep(Duration::from_millis(100)).await;
            drain.begin();
        };
        let pipeline = pipeline();
        let rebuilding = velocities.rebuild(&streams, &silent, &pipeline, ago(0), &drain);
        let both = async { tokio::join!(rebuilding, begins) };
        let (is_rebuilt, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it ends");
        assert!(!is_rebuilt);
        assert_eq!(payments(&velocities), 1);
    }
}

#[tokio::test]
async fn what_was_counted_is_not_counted_when_it_is_delivered() {
    let streams = intake(&[("A", 10, None), ("B", 9, None)], None).await;
    let junk = Outgoing::new("pay.accepted.0.junk".to_owned(), "{}");
    streams.publish(&junk).await.unwrap();
    let velocities = Velocities::new(60);
    let one_more = || {
        let Payment { amount, .. } = facts("P", 1).payment;
        velocities.with_one_more(&facts("P", 1).payment.source_key(), amount, ago(0))
    };
    assert_eq!((velocities.are_rebuilt(), one_more()), (false, None));
    rebuild(&velocities, &streams, &RecentRows::of([])).await;
    assert_eq!(one_more(), Some(Velocity { count: 3, sum_minor: 15 }));
    // The sequence of a delivery, whether it is a later copy, and how many payments are counted then.
    for (seq, is_redriven, count) in
        [(1, false, 2), (3, false, 2), (4, false, 3), (4, false, 3), (5, true, 3), (6, false, 4)]
    {
        velocities.count(&facts("P", seq), is_redriven);
        assert_eq!(payments(&velocities), count, "sequence {seq}");
    }
}

#[test]
fn each_sequence_is_seen_first_once_in_whatever_order_it_comes() {
    let velocities = Velocities::new(60);
    let mut state = velocities.lock();
    state.counted_to = 10;
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
