//! What the janitor remembers of the ledger is asked again before anything is purged for it.

use super::*;
use crate::janitor::LOOK_MAX;
use wire::dead_letter;

/// What the ledger has of a payment when the janitor looks, and what becomes of it before the purge.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// It has a row, and keeps it.
    Recorded,
    /// Its row is gone: the ledger was restored to an older state.
    Vanished,
    /// Its row is gone, and it is recorded anew at this second.
    RecordedAnew(i64),
    /// It has a dead letter, and keeps it.
    Dead,
    /// Its dead letter is resolved.
    Resolved,
    /// Its dead letter is resolved, and it is buried again at this second.
    BuriedAgain(i64),
}
use Change::{BuriedAgain, Dead, Recorded, RecordedAnew, Resolved, Vanished};

/// When each is recorded or buried first; it may be purged a minute later.
const FIRST: i64 = 10;

impl World {
    async fn accept_and_trace(&self, token: &str, change: Change) {
        self.publish(Hop::Accepted, token, 1).await;
        match change {
            Recorded | Vanished | RecordedAnew(_) => self.record(token, FIRST),
            Dead | Resolved | BuriedAgain(_) => self.ledger.bury(dead_letter::key(token), at(FIRST)),
        }
    }

    fn change(&self, token: &str, change: Change) {
        match change {
            Recorded | Dead => {}
            Vanished => self.ledger.lose(&key(token)),
            RecordedAnew(second) => self.record(token, second),
            Resolved => self.ledger.resolve(&dead_letter::key(token)),
            BuriedAgain(second) => {
                self.ledger.resolve(&dead_letter::key(token));
                self.ledger.bury(dead_letter::key(token), at(second));
            }
        }
    }
}

#[tokio::test]
async fn only_what_the_ledger_still_has_is_purged() {
    // The payments, and what the intake holds after rounds at these seconds.
    type Row<'r> = (&'r [(&'r str, Change)], &'r [(i64, &'r [&'r str])]);
    let rows: [Row<'_>; 9] = [
        (&[("P", Recorded)], &[(70, &[])]),
        (&[("P", Dead)], &[(70, &[])]),
        // It is not lost, and is driven again as soon as that is known.
        (&[("P", Vanished)], &[(70, &["P0"]), (71, &["P1"])]),
        (&[("P", Resolved)], &[(60, &["P0"]), (70, &["P1"])]),
        (&[("P", RecordedAnew(40))], &[(70, &["P0"]), (99, &["P0"]), (100, &[])]),
        (&[("P", BuriedAgain(40))], &[(70, &["P0"]), (99, &["P0"]), (100, &[])]),
        // The first that is gone ends the prefix, and all are driven again.
        (
            &[("A", Recorded), ("P", Vanished), ("B", Recorded), ("Q", Vanished)],
            &[(70, &["P0", "B0", "Q0"]), (71, &["B0", "P1", "Q1"]), (75, &["P1", "Q1"])],
        ),
        (
            &[("A", Dead), ("P", RecordedAnew(40)), ("B", Recorded)],
            &[(70, &["P0", "B0"]), (75, &["P0", "B0"]), (100, &[])],
        ),
        // What names no payment has no row, and no letter once that is resolved.
        (&[("a~b~c", Resolved), ("P", Recorded)], &[(70, &["a~b~c0", "P0"]), (71, &[])]),
    ];
    for (payments, rounds) in rows {
        let mut world = World::new().await;
        for (token, change) in payments {
            world.accept_and_trace(token, *change).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.round(31).await.unwrap();
        for (token, change) in payments {
            world.change(token, *change);
        }
        for (second, expected) in rounds {
            world.round(*second).await.unwrap();
            assert_eq!(world.intake(), *expected, "{payments:?} at {second} s");
        }
    }
}

/// A purge asks for one part after the other: it ends where the ledger has something no more, and purges
/// nothing at all where the ledger is away.
#[tokio::test]
async fn a_long_prefix_is_asked_for_in_parts() {
    let count = LOOK_MAX + 3;
    let last = |place: usize| (place..count).map(|number| format!("P{number}")).collect::<Vec<_>>();
    // Which of them vanish, after how many calls the ledger is away, and from which on they are kept.
    let rows: [(&[usize], Option<usize>, usize); 5] = [
        (&[], None, count),
        (&[LOOK_MAX + 1], None, LOOK_MAX + 1),
        (&[7, LOOK_MAX + 1], None, 7),
        (&[], Some(0), 0),
        (&[], Some(1), 0),
    ];
    for (vanished, calls, kept) in rows {
        let mut world = World::new().await;
        for number in 0..count {
            let token = format!("P{number}");
            world.publish(Hop::Accepted, &token, 16).await;
            world.record(&token, FIRST);
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.round(31).await.unwrap();
        for number in vanished {
            world.ledger.lose(&key(&format!("P{number}")));
        }
        world.ledger.set_outage_after(calls);
        assert_eq!(world.round(70).await.is_err(), calls.is_some());
        assert_eq!(world.tokens(Stream::Accepted), last(kept), "{vanished:?} vanish, {calls:?}");
        assert!(world.ledger.looks_max() <= 4, "each row is read four times at most");
    }
}

/// The intake is made anew while the janitor runs, or restored from an older snapshot, and has grown past
/// what was read of it: other payments have the sequences of those that are recorded.
#[tokio::test]
async fn an_intake_that_is_another_one_is_read_anew_and_not_purged() {
    // What the one held, when what the other holds was accepted, and what it holds after two more rounds.
    type Row<'r> = ([&'r str; 3], [(&'r str, i64); 3], [&'r [&'r str]; 2]);
    let rows: [Row<'_>; 4] = [
        (["A", "B", "C"], [("X", 40), ("Y", 40), ("Z", 40)], [&["X1", "Y1", "Z1"]; 2]),
        // One has the sequence that it had before, and yet is another copy.
        (["A", "B", "C"], [("X", 40), ("Y", 40), ("C", 40)], [&["C0", "X1", "Y1"], &["X1", "Y1"]]),
        (["A", "B", "a~b~c"], [("X", 40), ("Y", 40), ("Z", 40)], [&["X1", "Y1", "Z1"]; 2]),
        // The snapshot had the first of them.
        (["A", "B", "C"], [("A", BEGIN), ("X", 40), ("Y", 40)], [&["X1", "Y1"]; 2]),
    ];
    for (before, after, expected) in rows {
        let mut world = World::new().await;
        for token in before {
            world.publish(Hop::Accepted, token, 1).await;
            match PaymentKey::from_token(token) {
                Ok(_) => world.record(token, FIRST),
                Err(_) => world.ledger.bury(dead_letter::key(token), at(FIRST)),
            }
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.round(31).await.unwrap();
        world.streams.lose(Stream::Accepted);
        world.streams.declare_all(&pipeline()).await.unwrap();
        for (token, second) in after {
            world.set_now(second);
            world.publish(Hop::Accepted, token, 1).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.round(70).await.unwrap();
        assert_eq!(world.intake(), after.map(|(token, _)| format!("{token}0")), "{before:?}, {after:?}");
        for (second, expected) in [71, 72].into_iter().zip(expected) {
            world.round(second).await.unwrap();
            assert_eq!(world.intake(), expected, "{before:?}, then {after:?}: at {second} s");
        }
    }
}

/// The intake became another one while the janitor was away, and has grown past what it had read. One of the
/// new payments is lost: it is found among the sequences that were read before.
#[tokio::test]
async fn what_an_intake_has_on_old_sequences_is_read_and_kept() {
    // The rounds before: all that was read is still there, or nothing is.
    let rows: [(&[i64], usize); 2] = [(&[31], 2), (&[31, 70], 0)];
    for (before, left) in rows {
        let mut world = World::new().await;
        for token in ["A", "B"] {
            world.accept_and_trace(token, Recorded).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        for second in before {
            world.round(*second).await.unwrap();
        }
        assert_eq!(world.intake().len(), left);
        world.streams.lose(Stream::Accepted);
        world.streams.declare_all(&pipeline()).await.unwrap();
        world.set_now(100);
        for token in ["LOST", "X", "Y", "Z"] {
            world.publish(Hop::Accepted, token, 1).await;
        }
        for token in ["X", "Y", "Z"] {
            world.record(token, 100);
        }
        world.acknowledge_all(Stream::Accepted).await;
        for second in 200..203 {
            world.round(second).await.unwrap();
        }
        assert_eq!(world.intake(), ["LOST1"], "after rounds at {before:?}");
    }
}
