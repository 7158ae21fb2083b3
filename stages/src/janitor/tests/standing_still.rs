//! Janitors that stand still in the middle of a round while another one works, and wake up later.

use super::*;
use futures::poll;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::unconstrained;

/// More calls than any round makes.
const ALL_CALLS: usize = 1_000;

/// Polls that bring a round to where it stands still: each call of the ledger's lets others go first, twice.
const POLLS: usize = 1_000;

/// Calls of the broker's in a round that drives something again, purges and emits.
const CALLS_MIN: usize = 12;

/// Wherever the one stands still, the other drives again, or even purges, what the one has read. Then it goes
/// on with what it knows, and nothing is stored that the other has stored.
#[tokio::test]
async fn who_stood_still_stores_nothing_that_another_has_stored() {
    for calls in 0.. {
        let mut world = World::new().await;
        for token in ["A", "P", "Q"] {
            world.publish(Hop::Accepted, token, 1).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.record("A", BEGIN);
        let permits = Arc::new(Semaphore::new(calls));
        let mut sleeper =
            janitor(&world.streams.with_permits(permits.clone()), &world.ledger, &world.metrics);
        world.set_now(61);
        let mut round = pin!(unconstrained(sleeper.round(now(61))));
        let mut is_over = false;
        for _ in 0..POLLS {
            is_over = is_over || poll!(&mut round).is_ready();
        }
        if is_over {
            assert!(calls >= CALLS_MIN, "a round of only {calls} calls");
            break;
        }
        world.round(61).await.unwrap();
        world.record("P", 62);
        world.acknowledge_all(Stream::Accepted).await;
        for second in [100, 130, 160] {
            world.round(second).await.unwrap();
        }
        let (last, intake) = (world.last_seq(Stream::Accepted).await, world.intake());
        assert_eq!(intake.last().map(String::as_str), Some("Q2"), "after {calls} calls");
        permits.add_permits(ALL_CALLS);
        round.await.unwrap();
        assert_eq!(
            (world.last_seq(Stream::Accepted).await, world.intake()),
            (last, intake),
            "after {calls} calls"
        );
    }
}
