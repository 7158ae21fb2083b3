//! What becomes of accepted payments: driven again, left alone or purged.

use super::memory_ledger::held;
use super::*;
use crate::janitor::redrive::COPIES_MAX;
use crate::janitor::{LOOK_MAX, UNTRACED_MAX};
use wire::dead_letter;

/// How far an accepted payment has come before the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trace {
    /// Risk has not had it.
    Ahead,
    /// Risk has had it, and nothing is left of it.
    Lost,
    /// A derived stream carries it to the next stage.
    Carried(Hop),
    /// The stage after this hop has acknowledged it, and nothing came of it.
    Passed(Hop),
    /// It has a row since this second.
    Recorded(i64),
    /// It has an open dead letter since this second.
    Dead(i64),
}
use Trace::{Ahead, Carried, Dead, Lost, Passed, Recorded};

/// What the intake holds in order, and how often each was driven again.
type Copies<'r> = &'r [(&'r str, u64)];

struct Row<'r> {
    accepted: &'r [(&'r str, usize, Trace)],
    /// The seconds of the rounds.
    rounds: &'r [i64],
    expected: Copies<'r>,
}

fn row<'r>(accepted: &'r [(&'r str, usize, Trace)], rounds: &'r [i64], expected: Copies<'r>) -> Row<'r> {
    Row { accepted, rounds, expected }
}

impl World {
    async fn accept(&self, token: &str, bytes: usize, trace: Trace) {
        self.publish(Hop::Accepted, token, bytes).await;
        match trace {
            Ahead | Lost => {}
            Carried(hop) => self.publish(hop, token, 1).await,
            Passed(hop) => {
                self.publish(hop, token, 1).await;
                self.acknowledge_all(Stream::of(hop, 0)).await;
            }
            Recorded(second) => self.ledger.record(held(&key(token), at(BEGIN), 0), at(second), true),
            Dead(second) => self.ledger.bury(dead_letter::key(token), at(second)),
        }
    }

    fn copies(&self) -> Vec<(String, u64)> {
        let messages = self.streams.messages(Stream::Accepted);
        let counts = messages
            .iter()
            .map(|message| message.headers.redrive.map_or(0, |redrive| u64::from(redrive.times)));
        self.tokens(Stream::Accepted).into_iter().zip(counts).collect()
    }
}

async fn check(Row { accepted, rounds, expected }: &Row<'_>) {
    let mut world = World::new().await;
    for (token, bytes, trace) in *accepted {
        world.accept(token, *bytes, *trace).await;
    }
    for second in *rounds {
        match accepted.iter().position(|(_, _, trace)| *trace == Ahead) {
            Some(place) => world.streams.acknowledge(Stream::Accepted, place as u64),
            None => world.acknowledge_all(Stream::Accepted).await,
        }
        world.round(*second).await.unwrap();
    }
    let copies = world.copies();
    assert_eq!(
        copies.iter().map(|(token, times)| (token.as_str(), *times)).collect::<Vec<_>>(),
        *expected,
        "{accepted:?} at {rounds:?}"
    );
    let redriven = world.metric("payments_redriven_total").unwrap_or_default();
    assert_eq!(
        redriven as u64,
        copies.iter().map(|(_, times)| times).sum::<u64>(),
        "{accepted:?} at {rounds:?}"
    );
    for head in world.streams.accepted_heads(0, 9).await.unwrap() {
        assert_eq!(head.accepted_at, at(BEGIN), "each copy knows when the first was accepted: {head:?}");
    }
    for message in world.streams.messages(Stream::Accepted) {
        let token = Subject::payment_token(&message.subject);
        let (_, bytes, _) = accepted.iter().find(|(accepted, _, _)| *accepted == token).unwrap();
        assert_eq!(message.payload.len(), *bytes, "a copy is the message as it was accepted");
        assert_eq!(message.headers.trace, trace(*bytes), "and goes on in its trace");
    }
}

#[tokio::test]
async fn what_left_no_trace_is_driven_again_with_patience() {
    let rows = [
        row(&[("P", 1, Lost)], &[30], &[("P", 0)]),
        row(&[("P", 1, Lost)], &[31], &[("P", 1)]),
        row(&[("P", 1, Lost)], &[31, 90], &[("P", 1)]),
        row(&[("P", 1, Lost)], &[31, 91], &[("P", 2)]),
        row(&[("P", 1, Lost)], &[31, 91, 210], &[("P", 2)]),
        row(&[("P", 1, Lost)], &[31, 91, 211], &[("P", 3)]),
        row(&[("acme~P", 1, Lost), ("Q", 2, Lost)], &[31], &[("acme~P", 1), ("Q", 1)]),
        // Risk comes first, then whoever else carries it.
        row(&[("Q", 1, Lost), ("P", 1, Ahead)], &[31], &[("P", 0), ("Q", 1)]),
        row(&[("P", 1, Carried(Hop::Screened))], &[31, 61], &[("P", 0)]),
        row(&[("P", 1, Carried(Hop::Quoted))], &[31, 61], &[("P", 0)]),
        row(&[("P", 1, Carried(Hop::Reserved))], &[31, 61], &[("P", 0)]),
        row(&[("P", 1, Carried(Hop::Rejected))], &[31, 61], &[("P", 0)]),
        row(&[("P", 1, Passed(Hop::Screened))], &[31], &[("P", 1)]),
        row(
            &[("P", 1, Passed(Hop::Screened)), ("Q", 1, Carried(Hop::Screened))],
            &[31],
            &[("Q", 0), ("P", 1)],
        ),
        // What cannot be published again keeps nobody from it.
        row(&[("BIG", LARGE, Lost), ("P", 1, Lost)], &[31], &[("BIG", 0), ("P", 1)]),
        row(&[("BIG", LARGE, Lost), ("P", 1, Lost)], &[31, 91], &[("BIG", 0), ("P", 2)]),
    ];
    for row in &rows {
        check(row).await;
    }
}

#[tokio::test]
async fn what_the_ledger_has_is_purged_once_it_is_old_enough() {
    let rows = [
        row(&[("P", 1, Recorded(10))], &[31, 69], &[("P", 0)]),
        row(&[("P", 1, Recorded(10))], &[31, 70], &[]),
        row(&[("P", 1, Recorded(10))], &[70], &[]),
        // Nothing that is dead is driven again.
        row(&[("P", 1, Dead(10))], &[31, 69], &[("P", 0)]),
        row(&[("P", 1, Dead(10))], &[31, 70], &[]),
        // A row outweighs a letter, and only a whole prefix goes.
        row(
            &[("A", 1, Recorded(5)), ("B", 1, Recorded(20)), ("C", 1, Dead(5))],
            &[31, 70],
            &[("B", 0), ("C", 0)],
        ),
        row(
            &[("A", 1, Recorded(5)), ("B", 1, Carried(Hop::Quoted)), ("C", 1, Recorded(5))],
            &[70],
            &[("B", 0), ("C", 0)],
        ),
        row(&[("A", 1, Recorded(5)), ("B", 1, Lost), ("C", 1, Recorded(5))], &[70], &[("C", 0), ("B", 1)]),
        // What names no payment is never driven again.
        row(&[("a~b~c", 1, Dead(10))], &[31, 69], &[("a~b~c", 0)]),
        row(&[("a~b~c", 1, Dead(10))], &[31, 70], &[]),
        row(&[("a~b~c", 1, Lost)], &[30], &[("a~b~c", 0)]),
        row(&[("a~b~c", 1, Lost)], &[31, 32], &[]),
    ];
    for row in &rows {
        check(row).await;
    }
}

#[tokio::test]
async fn a_full_intake_takes_a_copy_after_the_purge_only() {
    let accepted = [
        ("A", LARGE, Recorded(BEGIN)),
        ("P", 1, Lost),
        ("B", LARGE, Ahead),
        ("C", LARGE, Ahead),
        ("D", LARGE - 1 - TRACE_BYTES, Ahead),
    ];
    let rows = [
        row(&accepted, &[31, 60], &[("A", 0), ("P", 0), ("B", 0), ("C", 0), ("D", 0)]),
        row(&accepted, &[31, 61], &[("B", 0), ("C", 0), ("D", 0), ("P", 1)]),
        row(&accepted, &[61], &[("B", 0), ("C", 0), ("D", 0), ("P", 1)]),
    ];
    for row in &rows {
        check(row).await;
    }
}

/// However many copies are larger than what they replace, as those of an older build's payments are: they do
/// not keep a later one from its turn, even where they are due again by then.
#[tokio::test]
async fn copies_that_find_no_room_let_others_come_first() {
    for rounds in [[31, 32], [31, 61]] {
        let mut world = World::new().await;
        for number in 0..=COPIES_MAX {
            world.accept(&format!("OLD{number}"), 1, Lost).await;
        }
        let subject = Subject::accepted("P").into_string();
        let fits = Outgoing { expected_last: Some(0), ..Outgoing::new(subject, "x") };
        world.streams.publish(&fits).await.unwrap();
        world.acknowledge_all(Stream::Accepted).await;
        for place in 0.. {
            let bounds = world.streams.bounds(Stream::Accepted).await.unwrap().unwrap();
            let room = usize::try_from(bounds.bytes_max.unwrap() - bounds.bytes).unwrap();
            if room == 0 {
                break;
            }
            world.accept(&format!("FILL{place}"), room.min(LARGE), Ahead).await;
        }
        for (second, count) in rounds.into_iter().zip([0, 1]) {
            world.round(second).await.unwrap();
            let driven = world.metric("payments_redriven_total").unwrap_or_default();
            assert_eq!(driven, f64::from(count), "at {second} s of {rounds:?}");
        }
        assert_eq!(world.intake().last().map(String::as_str), Some("P1"));
    }
}

#[tokio::test]
async fn what_a_stream_carried_is_driven_again_when_the_stream_has_vanished() {
    let mut world = World::new().await;
    world.accept("P", 1, Carried(Hop::Quoted)).await;
    world.acknowledge_all(Stream::Accepted).await;
    world.round(31).await.unwrap();
    world.streams.lose(Stream::Quoted(0));
    // Looked at again after its patience only; the stream is there again since the first of these rounds.
    for (second, times) in [(60, 0), (61, 1)] {
        world.round(second).await.unwrap();
        assert_eq!(world.copies(), [("P".to_owned(), times)], "at {second} s");
    }
    assert!(world.tokens(Stream::Quoted(0)).is_empty());
}

#[tokio::test]
async fn a_resolved_letter_lets_the_payment_be_driven_again() {
    let mut world = World::new().await;
    world.accept("P", 1, Dead(10)).await;
    world.acknowledge_all(Stream::Accepted).await;
    world.round(31).await.unwrap();
    world.ledger.resolve_letters();
    for (second, times) in [(60, 0), (61, 1)] {
        world.round(second).await.unwrap();
        assert_eq!(world.copies(), [("P".to_owned(), times)], "at {second} s");
    }
}

#[tokio::test]
async fn an_intake_that_begins_anew_is_read_anew() {
    let mut world = World::new().await;
    for token in ["A", "B", "C"] {
        world.accept(token, 1, Lost).await;
    }
    world.round(2).await.unwrap();
    world.streams.lose(Stream::Accepted);
    world.round(3).await.unwrap();
    world.accept("D", 1, Lost).await;
    world.acknowledge_all(Stream::Accepted).await;
    world.round(33).await.unwrap();
    assert_eq!(world.copies(), [("D".to_owned(), 1)]);
}

/// Whichever call an outage begins with: the round ends, and the next does what was left to do, once.
#[tokio::test]
async fn an_outage_ends_the_round_and_the_next_begins_anew() {
    let outages: [(fn(&World, Option<usize>), usize); 2] = [
        (
            |world, calls| match calls {
                Some(calls) => world.streams.begin_outage_after(calls),
                None => world.streams.end_outage(),
            },
            10,
        ),
        (|world, calls| world.ledger.set_outage_after(calls), 8),
    ];
    for (set_outage_after, calls_min) in outages {
        for calls in 0.. {
            let mut world = World::new().await;
            world.accept("A", 1, Recorded(BEGIN)).await;
            world.accept("P", 1, Lost).await;
            world.acknowledge_all(Stream::Accepted).await;
            set_outage_after(&world, Some(calls));
            let ended = world.round(61).await;
            set_outage_after(&world, None);
            if ended.is_ok() {
                assert!(calls >= calls_min, "a round of only {calls} calls");
                break;
            }
            world.round(61).await.unwrap();
            assert_eq!(world.copies(), [("P".to_owned(), 1)], "after {calls} calls");
            assert_eq!(
                world.tokens(Stream::Reserved(0)),
                ["A"],
                "after {calls} calls: its row is held, and nothing carried it"
            );
        }
    }
}

/// Wherever a round breaks off, what is driven again by then is counted, and the next drives the rest.
#[tokio::test]
async fn what_is_driven_again_before_an_outage_counts() {
    let all = ["A1", "B1", "C1"];
    let mut partly = 0;
    for calls in 0.. {
        let mut world = World::new().await;
        for token in ["A", "B", "C"] {
            world.accept(token, 1, Lost).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.streams.begin_outage_after(calls);
        let ended = world.round(31).await;
        world.streams.end_outage();
        let driven = world.intake().iter().filter(|copy| all.contains(&copy.as_str())).count();
        partly += usize::from((1..all.len()).contains(&driven));
        assert_eq!(
            world.metric("payments_redriven_total").unwrap_or_default() as usize,
            driven,
            "after {calls} calls"
        );
        world.round(32).await.unwrap();
        let mut intake = world.intake();
        intake.sort_unstable();
        assert_eq!(intake, all, "after {calls} calls");
        assert_eq!(world.metric("payments_redriven_total"), Some(3.0), "after {calls} calls");
        if ended.is_ok() {
            break;
        }
    }
    assert_eq!(partly, 2, "there were rounds that broke off between two of them");
}

#[tokio::test]
async fn a_copy_whose_answer_is_lost_is_not_stored_twice() {
    // Whether it is stored, and what the intake holds after that round and the next.
    let rows: [(bool, [&str; 2], [&str; 2]); 2] =
        [(true, ["P1", "Q1"], ["P1", "Q1"]), (false, ["P0", "Q1"], ["Q1", "P1"])];
    for (is_stored, first, second) in rows {
        let mut world = World::new().await;
        for token in ["P", "Q"] {
            world.accept(token, 1, Lost).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.streams.lose_next_answer(is_stored);
        assert!(world.round(31).await.is_err());
        assert_eq!(world.intake(), first);
        world.round(32).await.unwrap();
        assert_eq!(world.intake(), second);
    }
}

/// Many are asked for at once, and their answers may be cut short: what is missing there is asked for again.
#[tokio::test]
async fn no_payment_is_forgotten_for_a_short_answer() {
    for found_max in 0..3 {
        let mut world = World::new().await;
        for token in ["A", "B", "C"] {
            world.accept(token, 1, Lost).await;
        }
        world.acknowledge_all(Stream::Accepted).await;
        world.streams.cut_answers_short(found_max);
        world.round(31).await.unwrap();
        assert_eq!(world.intake(), ["A1", "B1", "C1"], "answers of {found_max}");
    }
}

/// So many payments are lost at once that a round does not drive all of them again: it would last, and
/// nothing would be purged or emitted meanwhile.
#[tokio::test]
async fn a_round_drives_only_so_many_again() {
    let count = UNTRACED_MAX + 2 * LOOK_MAX + 1;
    let mut world = World::with(PipelineConfig { accepted_bytes_max: 1 << 30, ..pipeline() }).await;
    for number in 0..count {
        world.accept(&format!("P{number}"), 1, Lost).await;
    }
    world.acknowledge_all(Stream::Accepted).await;
    for (second, driven) in [(31, UNTRACED_MAX), (32, count), (33, count)] {
        world.round(second).await.unwrap();
        assert_eq!(world.metric("payments_redriven_total"), Some(driven as f64), "at {second} s");
    }
}
