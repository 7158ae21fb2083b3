//! A janitor whose own clock is set wrong, and right again. What servers write down goes by theirs.

use super::*;

const HOUR: i64 = 3_600;

/// When, by seconds that pass, the janitor has driven a lost payment again, purged a recorded one and emitted
/// a forgotten hold, where its clock is off by so much in the rounds before a second.
async fn done_at(off: i64, until: i64) -> [Option<i64>; 3] {
    let mut world = World::new().await;
    world.publish(Hop::Accepted, "R", 1).await;
    world.publish(Hop::Accepted, "L", 1).await;
    world.publish(Hop::Screened, "L", 1).await;
    world.publish(Hop::Reserved, "H", 1).await;
    world.acknowledge_all(Stream::Accepted).await;
    world.record("R", BEGIN);
    world.ledger.record(held(&key("H"), at(BEGIN), 0), at(BEGIN), true);
    let mut done = [None; 3];
    for second in (5..300).step_by(5) {
        if second == 100 {
            world.streams.lose(Stream::Screened(0));
            world.streams.lose(Stream::Reserved(0));
        }
        world.set_now(second);
        let wall = if second < until { second + off } else { second };
        world.janitor.round(now_where_wall_shows(wall, second)).await.unwrap();
        let intake = world.intake();
        let events = [
            intake.contains(&"L1".to_owned()),
            !intake.iter().any(|payment| payment.starts_with('R')),
            !world.tokens(Stream::Reserved(0)).is_empty() && second > 100,
        ];
        for (done, happened) in done.iter_mut().zip(events) {
            *done = done.or(happened.then_some(second));
        }
    }
    done
}

#[tokio::test]
async fn a_clock_that_jumps_holds_nothing_up() {
    let expected = done_at(0, 0).await;
    assert!(expected.iter().all(Option::is_some), "{expected:?}");
    for (off, until) in [(HOUR, 40), (HOUR, 100), (HOUR, 300), (-HOUR, 40), (-HOUR, 100), (-HOUR, 300)] {
        for (place, (done, expected)) in done_at(off, until).await.into_iter().zip(expected).enumerate() {
            // A look may come a patience later, or earlier, than it would have come.
            let late = done.zip(expected).map(|(done, expected)| (done - expected).abs());
            assert!(
                late.is_some_and(|late| late <= 35),
                "{place}: {done:?} in the place of {expected:?}, off by {off} until {until}"
            );
        }
    }
}
