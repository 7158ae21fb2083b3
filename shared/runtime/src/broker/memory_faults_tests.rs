//! What only streams in memory can be made to do, or can be asked at an exact instant.

use super::*;
use crate::clock::Clock;
use tokio::time::Instant;

const INTAKE: Stream = Stream::Accepted;
const ACK_WAIT: Duration = Duration::from_secs(3);

fn pipeline(batch_max: usize) -> PipelineConfig {
    let ack_wait_ms = u64::try_from(ACK_WAIT.as_millis()).unwrap();
    PipelineConfig { batch_max, ack_wait_ms, ..Config::on(StackConfig::shifted(0)).pipeline }
}

async fn input(streams: &MemoryStreams, batch_max: usize) -> MemoryTransport {
    opened(streams, INTAKE, &pipeline(batch_max)).await
}

/// Accepts so many payments more, each of its own.
async fn accept(streams: &MemoryStreams, count: u64) {
    let before = streams.bounds(INTAKE).await.unwrap().unwrap().last;
    for number in before + 1..=before + count {
        streams.publish(&Outgoing::new(format!("pay.accepted.0.P{number}"), "x")).await.unwrap();
    }
}

/// What comes next, up to so many: sequences and attempts.
async fn next(input: &mut MemoryTransport, max: usize) -> Vec<(u64, u64)> {
    shown(&input.take(max).await.unwrap())
}

fn shown(batch: &[Delivery<MemoryReceipt>]) -> Vec<(u64, u64)> {
    batch.iter().map(|delivery| (delivery.seq, delivery.attempt)).collect()
}

fn receipts(batch: &[Delivery<MemoryReceipt>]) -> Vec<MemoryReceipt> {
    batch.iter().map(|delivery| delivery.receipt).collect()
}

async fn figures(streams: &MemoryStreams) -> (u64, Option<u64>, u64, u64) {
    let Progress { floor, delivered, pending, in_hand } = streams.progress(INTAKE).await.unwrap().unwrap();
    (floor, delivered, pending, in_hand)
}

#[tokio::test(start_paused = true)]
async fn inputs_of_one_consumer_share_its_messages_and_what_one_drops_comes_to_another_in_its_time() {
    let streams = MemoryStreams::default();
    let (mut one, mut other) = (input(&streams, 4).await, input(&streams, 4).await);
    // Both ask before there is anything.
    let looked = futures::future::join(one.take(1), other.take(4));
    let accepting = accept(&streams, 6);
    let ((first, second), ()) = tokio::join!(looked, accepting);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((shown(&first), shown(&second)), (vec![(1, 1)], vec![(2, 1), (4, 1), (6, 1)]));
    let began = Instant::now();
    other.acknowledge(&receipts(&second[..1])).await.unwrap();
    drop(one);
    // 1 was in the hands of the one that is gone, 3 and 5 lay ahead there.
    assert_eq!(next(&mut other, 9).await, [(1, 2), (3, 2), (4, 2), (5, 2), (6, 2)]);
    assert_eq!(began.elapsed(), ACK_WAIT);
    assert_eq!(streams.state().inboxes.len(), 1, "nothing is left of an input that was dropped");
}

#[tokio::test(start_paused = true)]
async fn what_lies_ahead_is_kept_with_what_is_in_hand_or_comes_again_beside_it() {
    for is_kept in [true, false] {
        let streams = MemoryStreams::default();
        let mut input = input(&streams, 4).await;
        accept(&streams, 3).await;
        let first = input.take(1).await.unwrap();
        for _ in 0..6 {
            tokio::time::advance(ACK_WAIT / 4).await;
            if is_kept {
                input.keep(&receipts(&first)).await.unwrap();
            }
        }
        let expected: &[(u64, u64)] = match is_kept {
            true => &[(2, 1), (3, 1)],
            // As much as it has asked for.
            false => &[(2, 1), (3, 1), (1, 2)],
        };
        assert_eq!(next(&mut input, 3).await, expected, "kept: {is_kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_due_while_nobody_looks_comes_due_at_its_instant() {
    let streams = MemoryStreams::default();
    let mut wide = input(&streams, 9).await;
    accept(&streams, 2).await;
    let began = Instant::now();
    let first = wide.take(2).await.unwrap();
    wide.acknowledge(&receipts(&first[1..])).await.unwrap();
    tokio::time::advance(ACK_WAIT * 5 / 2).await;
    assert_eq!(next(&mut wide, 9).await, [(1, 2), (1, 3)]);
    // Nobody asks from here on, so it comes due and waits; a purge sends it back to its next time.
    wide.close();
    tokio::time::advance(ACK_WAIT).await;
    streams.purge_below(INTAKE, 1).await.unwrap();
    let mut narrow = input(&streams, 1).await;
    assert_eq!((next(&mut narrow, 1).await, began.elapsed()), (vec![(1, 4)], ACK_WAIT * 4));
}

#[tokio::test(start_paused = true)]
async fn who_gives_back_is_given_nothing_more() {
    let streams = MemoryStreams::default();
    let (mut leaving, mut staying) = (input(&streams, 1).await, input(&streams, 9).await);
    accept(&streams, 3).await;
    let taken = leaving.take(1).await.unwrap();
    leaving.give_back(&receipts(&taken)).await.unwrap();
    assert_eq!(figures(&streams).await, (0, Some(1), 2, 1));
    assert_eq!(next(&mut staying, 9).await, [(1, 2), (2, 1), (3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_at_the_instant_when_there_is_something() {
    let streams = MemoryStreams::default();
    let mut input = opened(&streams, INTAKE, &PipelineConfig { ack_pending_max: 1, ..pipeline(4) }).await;
    let began = Instant::now();
    // The clock stands until somebody waits.
    let later = |after: Duration| tokio::time::sleep_until(began + after);
    let second = Duration::from_secs(1);
    let ((), first) = tokio::join!(
        async {
            later(second).await;
            accept(&streams, 2).await
        },
        input.take(4)
    );
    let first = first.unwrap();
    assert_eq!((shown(&first), began.elapsed()), (vec![(1, 1)], second));
    input.postpone(&[(first[0].receipt, second)]).await.unwrap();
    assert_eq!((next(&mut input, 4).await, began.elapsed()), (vec![(1, 2)], 2 * second));
    // Room for another comes with an acknowledgement, through whichever input.
    let other = self::input(&streams, 4).await;
    let acknowledging = async {
        later(3 * second).await;
        other.acknowledge(&receipts(&first)).await.unwrap();
    };
    let ((), next) = tokio::join!(acknowledging, next(&mut input, 4));
    assert_eq!((next, began.elapsed()), (vec![(2, 1)], 3 * second));
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_the_last_tenth_of_a_second_of_the_intake() {
    let streams = MemoryStreams::default();
    let mut input = input(&streams, 1).await;
    accept(&streams, 4).await;
    let early = input.take(1).await.unwrap();
    input.acknowledge(&receipts(&early)).await.unwrap();
    let held = input.take(1).await.unwrap();
    tokio::time::advance(Duration::from_millis(100)).await;
    input.acknowledge(&receipts(&held)).await.unwrap();
    let late = input.take(1).await.unwrap();
    input.acknowledge(&receipts(&late)).await.unwrap();
    assert_eq!(figures(&streams).await, (3, Some(3), 1, 0));
    tokio::time::advance(Duration::from_millis(99)).await;
    streams.restart();
    assert_eq!(figures(&streams).await, (1, Some(2), 2, 1), "2 was open then, and 3 not delivered");
    assert!(matches!(input.take(1).await, Err(BrokerError::Unavailable(_))));
    input.reopen().await.unwrap();
    // What belongs to a delivery that it knows nothing of is no answer.
    input.acknowledge(&receipts(&late)).await.unwrap();
    assert_eq!(next(&mut input, 1).await, [(3, 1)]);
    tokio::time::advance(ACK_WAIT / 2).await;
    assert_eq!(next(&mut input, 1).await, [(2, 2)], "what was open comes again");
    assert_eq!(next(&mut input, 1).await, [(4, 1)]);
    // Nothing is forgotten twice, nor of what is old.
    tokio::time::advance(Duration::from_millis(100)).await;
    streams.restart();
    assert_eq!(figures(&streams).await, (1, Some(4), 0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_repeats_although_nobody_asked() {
    let streams = MemoryStreams::default();
    let mut input = input(&streams, 9).await;
    accept(&streams, 3).await;
    let taken = input.take(2).await.unwrap();
    input.acknowledge(&receipts(&taken[..1])).await.unwrap();
    // 3 lies ahead.
    for (seq, is_there) in [(2, true), (1, true), (4, false), (3, true)] {
        assert_eq!(streams.redeliver(INTAKE, seq), is_there, "{seq}");
    }
    let again = input.take(9).await.unwrap();
    assert_eq!(shown(&again), [(3, 1), (2, 2), (1, 2), (3, 2)]);
    assert_eq!(figures(&streams).await, (1, Some(3), 0, 2), "what is done with is not open again");
    input.acknowledge(&receipts(&again)).await.unwrap();
    assert_eq!(figures(&streams).await, (3, Some(3), 0, 0));
    streams.purge_below(INTAKE, 2).await.unwrap();
    assert!(!streams.redeliver(INTAKE, 1), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_while_the_broker_is_away_and_inputs_open_again_afterwards() {
    let streams = MemoryStreams::default();
    let mut input = input(&streams, 1).await;
    accept(&streams, 2).await;
    let first = input.take(1).await.unwrap();
    streams.begin_outage_after(0);
    assert!(matches!(input.acknowledge(&receipts(&first)).await, Err(BrokerError::Unavailable(_))));
    let waiting = tokio::time::timeout(10 * ACK_WAIT, input.take(1)).await;
    assert!(waiting.is_err(), "{waiting:?} came");
    streams.end_outage();
    assert!(matches!(input.take(1).await, Err(BrokerError::Unavailable(_))));
    input.reopen().await.unwrap();
    assert_eq!(next(&mut input, 1).await, [(1, 2)]);
    assert_eq!(next(&mut input, 1).await, [(2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_stored_at_the_instant_that_the_clock_shows() {
    let began = Instant::now();
    let clock =
        Clock::new(move || Timestamp::from_micros(i64::try_from(began.elapsed().as_micros()).unwrap()));
    let streams = MemoryStreams::with_clock(clock);
    let mut input = input(&streams, 4).await;
    for second in [1, 2] {
        tokio::time::advance(Duration::from_secs(1)).await;
        accept(&streams, 1).await;
        let stored_at = Timestamp::from_micros(second * 1_000_000);
        assert_eq!(input.take(1).await.unwrap()[0].stored_at, stored_at);
    }
}
