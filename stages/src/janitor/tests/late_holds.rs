//! What becomes of payments whose money is held for too long.

use super::memory_ledger::held;
use super::*;
use domain::StageName;
use wire::HopMessage;
use wire::header::Headers;

/// What there is of a payment whose row says that its money is held.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hold {
    /// Nothing else.
    Forgotten,
    /// Its message waits for settle.
    Waiting,
    /// Settle has acknowledged its message, and has not settled it.
    Passed,
    /// An open dead letter.
    Dead,
    /// A row that another build has written.
    Unreadable,
    /// More text than a message can have.
    TooLarge,
}
use Hold::{Dead, Forgotten, Passed, TooLarge, Unreadable, Waiting};

const RESERVED: Stream = Stream::Reserved(0);

impl World {
    async fn hold(&self, id: &str, hold: Hold) {
        let bytes = if hold == TooLarge { LARGE } else { 1 };
        self.ledger.record(held(&key(id), at(BEGIN), bytes), at(BEGIN), hold != Unreadable);
        match hold {
            Waiting => self.publish(Hop::Reserved, id, 1).await,
            Passed => {
                self.publish(Hop::Reserved, id, 1).await;
                self.acknowledge_all(RESERVED).await;
            }
            Dead => self.ledger.bury(("default".to_owned(), id.to_owned()), at(BEGIN)),
            Forgotten | Unreadable | TooLarge => {}
        }
    }
}

async fn check(holds: &[(&str, Hold)], second: i64, expected: &[&str]) {
    let mut world = World::new().await;
    for (id, hold) in holds {
        world.hold(id, *hold).await;
    }
    let before = world.tokens(RESERVED).len();
    world.round(second).await.unwrap();
    assert_eq!(world.tokens(RESERVED)[before..], *expected, "{holds:?} at {second} s");
    for message in &world.streams.messages(RESERVED)[before..] {
        let key = Subject::payment(&message.subject).unwrap();
        let payload =
            HopMessage::of_record(held(&key, at(BEGIN), 1), StageName::Reserve).unwrap().encode().unwrap();
        assert_eq!(
            (message.payload.as_ref(), &message.headers),
            (payload.as_slice(), &Headers { trace: Some(TRACE), ..Headers::default() }),
            "as reserve would emit it, in the trace that the row names"
        );
    }
}

#[tokio::test]
async fn a_hold_is_emitted_again_once_it_is_late_and_nothing_leads_it_to_settle() {
    let rows: [(&[(&str, Hold)], i64, &[&str]); 10] = [
        (&[("P", Forgotten)], 30, &[]),
        (&[("P", Forgotten)], 31, &["P"]),
        // Late enough for the other scan, too.
        (&[("P", Forgotten)], 91, &["P"]),
        (&[("P", Forgotten), ("Q", Forgotten)], 31, &["P", "Q"]),
        (&[("P", Waiting)], 31, &[]),
        (&[("P", Passed)], 31, &["P"]),
        (&[("P", Passed), ("Q", Waiting)], 31, &["P"]),
        (&[("P", Dead), ("Q", Forgotten)], 31, &["Q"]),
        // What cannot be read or published keeps nobody from it.
        (&[("P", Unreadable), ("Q", Forgotten)], 31, &["Q"]),
        (&[("P", TooLarge), ("Q", Forgotten)], 31, &["Q"]),
    ];
    for (holds, second, expected) in rows {
        check(holds, second, expected).await;
    }
}

#[tokio::test]
async fn a_hold_is_emitted_ever_less_often_while_settle_has_it_and_nothing_comes_of_it() {
    let mut world = World::new().await;
    world.hold("P", Forgotten).await;
    for (second, times) in [(30, 0), (31, 1), (60, 1), (61, 2), (120, 2), (121, 3)] {
        world.acknowledge_all(RESERVED).await;
        world.round(second).await.unwrap();
        assert_eq!(world.tokens(RESERVED).len(), times, "at {second} s");
        assert_eq!(world.metric("payments_emitted_again_total"), Some(times as f64), "at {second} s");
    }
    // While its message waits nothing is counted, and the looks are frequent.
    world.round(241).await.unwrap();
    world.acknowledge_all(RESERVED).await;
    for (second, times) in [(270, 3), (271, 4)] {
        world.round(second).await.unwrap();
        assert_eq!(world.tokens(RESERVED).len(), times, "at {second} s");
    }
}

/// The round in which the scan passed it is the last one before the ledger is an older one.
#[tokio::test]
async fn a_hold_of_a_ledger_that_was_set_back_right_after_a_scan_is_found_anew() {
    let mut world = World::new().await;
    world.hold("P", Forgotten).await;
    world.round(31).await.unwrap();
    let backup = world.ledger.backup();
    world.ledger.capture(&key("P"), at(BEGIN + 32));
    world.acknowledge_all(RESERVED).await;
    for second in [62, 91] {
        world.round(second).await.unwrap();
    }
    assert_eq!(world.tokens(RESERVED), ["P"]);
    world.ledger.restore(&backup);
    for second in [92, 93] {
        world.round(second).await.unwrap();
    }
    assert_eq!(world.tokens(RESERVED), ["P", "P"]);
}

#[tokio::test]
async fn a_hold_waits_while_the_stream_is_full() {
    let mut world = World::new().await;
    for id in ["A", "B", "C"] {
        world.publish(Hop::Reserved, id, 1).await;
    }
    world.hold("P", Forgotten).await;
    world.hold("Q", Forgotten).await;
    world.round(31).await.unwrap();
    assert_eq!(world.tokens(RESERVED), ["A", "B", "C", "P"]);
    world.acknowledge_all(RESERVED).await;
    let last = world.last_seq(RESERVED).await;
    world.streams.purge_below(RESERVED, last + 1).await.unwrap();
    world.round(60).await.unwrap();
    assert!(world.tokens(RESERVED).is_empty());
    world.round(61).await.unwrap();
    assert_eq!(world.tokens(RESERVED), ["P", "Q"], "the one that waited as soon as the other");
}

#[tokio::test]
async fn a_resolved_letter_lets_the_hold_be_emitted() {
    let mut world = World::new().await;
    world.hold("P", Dead).await;
    world.round(31).await.unwrap();
    assert_eq!(
        world.metric("ledger_oldest_open_hold_seconds"),
        Some(0.0),
        "it waits for somebody, and is not late"
    );
    world.ledger.resolve_letters();
    for (second, times) in [(60, 0), (61, 1)] {
        world.round(second).await.unwrap();
        assert_eq!(world.tokens(RESERVED).len(), times, "at {second} s");
    }
}

/// However long it was dead, and whichever janitor finds it alive again, it is emitted within the shortest
/// patience.
#[tokio::test]
async fn a_hold_goes_on_soon_after_its_letter_is_resolved() {
    // When another janitor begins, and when the letter is resolved.
    for (restarts, resolved) in
        [(&[] as &[i64], 40), (&[], 700), (&[200], 700), (&[705], 700), (&[69, 800], 790)]
    {
        let mut world = World::new().await;
        world.hold("P", Dead).await;
        let mut emitted = None;
        for second in 31..resolved + 31 {
            if restarts.contains(&second) {
                world.restart();
            }
            if second == resolved {
                world.ledger.resolve_letters();
            }
            world.round(second).await.unwrap();
            let is_there = !world.tokens(RESERVED).is_empty();
            emitted = emitted.or(is_there.then_some(second));
        }
        let emitted = emitted.unwrap_or(i64::MAX);
        assert!(emitted >= resolved, "not while it is dead");
        assert!(
            emitted <= resolved + 30,
            "resolved at {resolved} s, janitors since {restarts:?}: {emitted} s"
        );
    }
}

/// A hold that has ended is open again in a ledger that is restored to an older state; this janitor has
/// forgotten it, and has long read past it.
#[tokio::test]
async fn a_restored_ledger_is_read_anew() {
    // Whether the late scan has come to the hold in that state, and when it is emitted. Where it has, the
    // watermark is the same as before, and the line alone tells of the hold.
    for (is_read, emitted) in [(false, 152), (true, 691)] {
        let mut world = World::new().await;
        world.hold("P", Waiting).await;
        let unread = world.ledger.backup();
        world.round(91).await.unwrap();
        assert_eq!(world.ledger.lines(), ["P"]);
        let read = world.ledger.backup();
        world.ledger.capture(&key("P"), at(100));
        for second in [121, 151] {
            world.round(second).await.unwrap();
        }
        assert_eq!(world.ledger.lines(), [""; 0]);
        world.acknowledge_all(RESERVED).await;
        world.ledger.restore(if is_read { &read } else { &unread });
        for second in 152..=emitted {
            assert_eq!(world.tokens(RESERVED), ["P"], "before {second} s");
            world.round(second).await.unwrap();
        }
        assert_eq!(world.tokens(RESERVED), ["P", "P"], "at {emitted} s, as a new janitor would emit it");
    }
}

#[tokio::test]
async fn a_janitor_that_begins_remembers_what_an_earlier_one_found() {
    let mut world = World::new().await;
    world.hold("P", Forgotten).await;
    // Whether the ledger remembers it, and how often it has been emitted.
    for (second, lines, times) in [(31, vec![], 1), (91, vec!["P"], 2)] {
        world.round(second).await.unwrap();
        world.acknowledge_all(RESERVED).await;
        assert_eq!(
            (world.ledger.lines(), world.tokens(RESERVED).len()),
            (lines.into_iter().map(str::to_owned).collect(), times)
        );
        assert_eq!(world.metric("ledger_oldest_open_hold_seconds"), Some((second - BEGIN) as f64));
    }
    world.restart();
    world.round(92).await.unwrap();
    assert_eq!(world.tokens(RESERVED).len(), 3, "at once, with fresh patience");
    world.ledger.capture(&key("P"), at(93));
    world.round(93).await.unwrap();
    assert_eq!(
        (world.ledger.lines(), world.tokens(RESERVED).len()),
        (Vec::new(), 3),
        "the oldest is looked at in each round"
    );
    assert_eq!(world.metric("ledger_oldest_open_hold_seconds"), Some(0.0));
}
