use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use wire::message::FinalStatus;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn key(id: &str) -> PaymentKey {
    PaymentKey::from_token(id).unwrap()
}

/// The first so many hops of a payment, a second each.
fn way(id: &str, count: usize) -> Sighting {
    let hops = [Hop::Accepted, Hop::Screened, Hop::Quoted, Hop::Reserved];
    let hops = hops.into_iter().zip((1..).map(at)).take(count).collect();
    Sighting { key: key(id), hops, end: None }
}

fn ended(id: &str, count: usize, second: i64) -> Sighting {
    let reason = (count < 4).then_some(Refusal::RiskRejected);
    let status = if count < 4 { FinalStatus::Failed } else { FinalStatus::Captured };
    Sighting { end: Some(End { status, reason, at: at(second) }), ..way(id, count) }
}

/// The message of a capture, which knows little of what came before.
fn finished(id: &str) -> Sighting {
    Sighting { hops: way(id, 1).hops, ..ended(id, 4, 9) }
}

fn rows(rows: &[Sighting]) -> Look {
    Look::Rows(rows.iter().map(|row| (row.key.clone(), row.clone())).collect())
}

/// As `id:stage` with the first letter of what is not pending.
fn shown(events: &[Event]) -> String {
    let shown = |event: &Event| match event.status {
        "PENDING" => format!("{}:{}", event.id, event.stage),
        status => format!("{}:{}", event.id, status),
    };
    events.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// Rounds, each with what is seen, what the ledger says, and what is told.
#[test]
fn hops_are_told_in_their_order_and_never_less_than_the_ledger_knows() {
    let whole = "P:accepted P:screened P:quoted P:reserved P:CAPTURED";
    let table: Vec<(&str, Vec<(Vec<Sighting>, Look, &str)>)> = vec![
        (
            "hop by hop",
            vec![
                (vec![way("P", 1)], rows(&[]), "P:accepted"),
                (vec![way("P", 2)], rows(&[]), "P:screened"),
                (vec![way("P", 3), way("P", 4)], rows(&[way("P", 4)]), "P:quoted P:reserved"),
                (vec![finished("P")], rows(&[ended("P", 4, 9)]), "P:CAPTURED"),
                (vec![way("P", 2), finished("P")], rows(&[ended("P", 4, 9)]), ""),
            ],
        ),
        ("the row is ahead", vec![(vec![way("P", 1)], rows(&[ended("P", 4, 9)]), whole)]),
        ("only its end was seen", vec![(vec![finished("P")], rows(&[ended("P", 4, 9)]), whole)]),
        (
            "refused after its quote",
            vec![(vec![way("P", 1)], rows(&[ended("P", 2, 9)]), "P:accepted P:screened P:FAILED")],
        ),
        (
            "a silent ledger lets ends pass, and hops with them",
            vec![
                (vec![way("P", 1), way("Q", 2)], Look::Silent, ""),
                (vec![finished("P")], Look::Silent, "P:accepted P:CAPTURED"),
                (vec![], rows(&[]), "Q:accepted Q:screened"),
            ],
        ),
        (
            "what is driven again steps back nowhere",
            vec![
                (vec![way("P", 3)], rows(&[]), "P:accepted P:screened P:quoted"),
                (vec![way("P", 1)], rows(&[]), ""),
                (vec![way("P", 2)], rows(&[]), ""),
                (vec![way("P", 4)], rows(&[ended("P", 2, 9)]), "P:FAILED"),
                (vec![way("P", 1)], rows(&[]), ""),
            ],
        ),
        ("what ended long ago is no news", vec![(vec![way("P", 1)], rows(&[ended("P", 4, -60)]), "")]),
    ];
    for (case, rounds) in table {
        let mut stories = Stories::new();
        for (place, (seen, look, expected)) in rounds.into_iter().enumerate() {
            stories.see(seen);
            let told = stories.tell(&look, EVENTS_PER_ROUND, at(10));
            assert_eq!(shown(&told), expected, "{case}, round {place}");
        }
    }
}

#[test]
fn whole_payments_are_told_and_the_others_not_at_all() {
    let mut stories = Stories::new();
    let ids: Vec<String> = (0..100).map(|number| format!("P{number}")).collect();
    let seen: Vec<Sighting> = ids.iter().map(|id| way(id, 1)).collect();
    let ledger = rows(&ids.iter().map(|id| ended(id, 4, 5)).collect::<Vec<_>>());
    stories.see(seen);
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..40 {
        assert!(stories.to_look_up().len() <= FOLLOWED_MAX);
        let events = stories.tell(&ledger, EVENTS_PER_ROUND, at(10));
        assert!(events.len() <= EVENTS_PER_ROUND);
        for event in events {
            *told.entry(event.id).or_default() += 1;
        }
        stories.see(Vec::new());
    }
    assert_eq!(told.len(), SAVED_EVENTS_MAX / EVENTS_PER_PAYMENT);
    assert!(told.values().all(|count| *count == EVENTS_PER_PAYMENT), "{told:?}");
    assert_eq!(stories.newest_ends().count(), NEWEST_ENDS);
}

#[test]
fn what_is_stuck_leaves_its_place_and_ends_pass_meanwhile() {
    let mut stories = Stories::new();
    for number in 0..200 {
        stories.see(vec![way(&format!("P{number}"), 1)]);
        stories.tell(&rows(&[]), EVENTS_PER_ROUND, at(10));
    }
    assert_eq!(stories.followed.len(), PENDING_MAX);
    stories.see(vec![ended("Q", 1, 5)]);
    let told = stories.tell(&rows(&[ended("Q", 2, 5)]), EVENTS_PER_ROUND, at(10));
    assert_eq!(shown(&told), "Q:accepted Q:screened Q:FAILED");
    (0..=FORGOTTEN_AFTER).for_each(|_| stories.see(Vec::new()));
    assert_eq!((stories.followed.len(), stories.saved_events), (0, SAVED_EVENTS_MAX));
}

#[test]
fn ends_of_before_are_shown_and_nothing_is_told_after_them() {
    let mut stories = Stories::new();
    stories.begin_with((0..30).map(|number| ended(&format!("P{number}"), 4, number)).collect());
    let ids: Vec<&str> = stories.newest_ends().map(|event| event.id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[19]), (20, "P10", "P29"));
    stories.see(vec![way("P29", 1)]);
    assert_eq!(stories.tell(&rows(&[]), EVENTS_PER_ROUND, at(10)), []);
}

/// The truth that a feed is compared with.
struct Model {
    random: StdRng,
    /// How far each payment is; past 4 it has ended.
    ledger: BTreeMap<String, usize>,
    /// What each payment was told to have behind it, and whether it was told to have ended.
    told: BTreeMap<String, (Vec<&'static str>, bool)>,
    seed: u64,
}

impl Model {
    fn of_seed(seed: u64) -> Model {
        let random = StdRng::seed_from_u64(seed);
        Model { random, ledger: BTreeMap::new(), told: BTreeMap::new(), seed }
    }

    /// Payments begin and go on; some of it is seen, some twice, and some from the beginning again.
    fn go_on(&mut self, round: usize, arrivals: usize, share_seen: f64) -> Vec<Sighting> {
        for number in 0..self.random.random_range(0..=arrivals) {
            self.ledger.insert(format!("P{round}-{number}"), 0);
        }
        let mut seen = Vec::new();
        for (id, hops) in &mut self.ledger {
            let (before, steps) = (*hops, self.random.random_range(0..=2));
            *hops = (before + steps).min(5);
            for reached in before + 1..=*hops {
                if self.random.random_bool(share_seen) {
                    seen.push(if reached == 5 { finished(id) } else { way(id, reached) });
                }
            }
            if self.random.random_bool(0.02) {
                seen.push(way(id, 1));
            }
        }
        seen
    }

    fn look(&self, asked: &[PaymentKey]) -> Look {
        let row = |key: &PaymentKey| match self.ledger[key.id.as_str()] {
            0..=3 => None,
            4 => Some(way(key.id.as_str(), 4)),
            _ => Some(ended(key.id.as_str(), 4, 9)),
        };
        rows(&asked.iter().filter_map(row).collect::<Vec<_>>())
    }

    fn check(&mut self, events: &[Event], is_silent: bool) {
        let seed = self.seed;
        for event in events {
            let (stages, has_ended) = self.told.entry(event.id.clone()).or_default();
            assert!(!*has_ended, "seed {seed}: {event:?} after its end");
            assert!(!stages.contains(&event.stage), "seed {seed}: {event:?} twice");
            *has_ended = event.status != "PENDING";
            stages.push(event.stage);
        }
        for event in events {
            let (stages, has_ended) = &self.told[&event.id];
            let order: Vec<Hop> = stages.iter().filter_map(|stage| Hop::named(stage)).collect();
            assert!(order.is_sorted(), "seed {seed}: {stages:?}");
            let reached = self.ledger[&event.id];
            assert!(is_silent || reached < 5 || *has_ended, "seed {seed}: {event:?} although it has ended");
            assert!(reached == 5 || !*has_ended, "seed {seed}: {event:?} although it has not ended");
        }
    }
}

#[test]
fn a_feed_agrees_with_the_truth_in_any_order_of_things() {
    for _ in 0..20 {
        let seed: u64 = rand::random();
        let mut model = Model::of_seed(seed);
        let (arrivals, share_seen) =
            (model.random.random_range(0..=30), model.random.random_range(0.2..=1.0));
        let mut stories = Stories::new();
        for round in 0..260 {
            // At last all come to their ends, and nothing of it is seen.
            let is_over = round >= 60;
            let seen = model.go_on(round, if is_over { 0 } else { arrivals }, share_seen);
            stories.see(if round < 100 { seen } else { Vec::new() });
            let is_silent = !is_over && model.random.random_bool(0.2);
            let asked = stories.to_look_up();
            assert!(asked.len() <= FOLLOWED_MAX, "seed {seed}");
            let look = if is_silent { Look::Silent } else { model.look(&asked) };
            let room = model.random.random_range(if is_over { 5 } else { 0 }..=EVENTS_PER_ROUND);
            let events = stories.tell(&look, room, at(10));
            assert!(events.len() <= room, "seed {seed}");
            model.check(&events, is_silent);
        }
        for (id, (stages, has_ended)) in &model.told {
            assert!(has_ended, "seed {seed}: {id} was told of up to {stages:?}");
        }
    }
}

/// Two payments a second or so, all seen: every hop of every payment is told.
#[test]
fn at_a_low_rate_everything_is_told() {
    let mut model = Model::of_seed(1);
    let mut stories = Stories::new();
    for round in 0..120 {
        stories.see(model.go_on(round, usize::from(round < 100 && round % 2 == 0), 1.0));
        let look = model.look(&stories.to_look_up());
        let events = stories.tell(&look, EVENTS_PER_ROUND, at(10));
        model.check(&events, false);
    }
    assert_eq!(model.told.len(), model.ledger.len());
    assert!(model.told.values().all(|(stages, has_ended)| stages.len() == EVENTS_PER_PAYMENT && *has_ended));
}
