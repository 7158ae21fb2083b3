//! The simulation: a whole pipeline in one thread, under a clock that is never waited for, with faults from a
//! seed. What is real: acceptance, status, every stage, the harness, the janitor, and how the ledger's
//! transactions are judged. What is in memory: the broker and the ledger's tables.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod broker_link;
mod buried;
mod campaign;
mod chance;
mod changing;
mod checks;
mod clients;
mod conditions;
mod door;
mod ending;
mod faults;
mod guards;
mod history;
mod judged;
mod ledger_link;
mod link;
mod observed;
mod orders;
mod process;
mod rates;
mod roles;
mod run;
mod steps;
mod strikes;
mod tally;
mod weather;
mod windows;
mod worker;
mod world;

use campaign::Campaign;
use guards::Guard;
use run::Run;
use std::io::Write;

/// Seeds of the suite. They are the same ones every time: who changes nothing sees the same outcome.
const SEEDS: u64 = 2_000;
const FIRST: u64 = 1;

/// Failing seeds that are replayed, twice each.
const REPLAYED: usize = 10;

/// What `make simulate` asks for.
struct Wish {
    seeds: u64,
    first: u64,
    is_told: bool,
}

fn wish() -> Wish {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let is_told = std::env::var("KILAT_SIMULATE_TRACE").is_ok_and(|text| text == "1");
    let seeds = number("KILAT_SIMULATE_SEEDS").unwrap_or(SEEDS);
    Wish { seeds, first: number("KILAT_SIMULATE_SEED").unwrap_or(FIRST), is_told }
}

fn say(text: &str) {
    // Past the capture of tests: a campaign's report is what it is run for.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn no_seed_breaks_a_promise() {
    let Wish { seeds, first, is_told } = wish();
    if is_told {
        for seed in first..first.saturating_add(seeds) {
            let outcome = Run { is_told, ..Run::of(seed) }.play();
            say(&format!("seed {seed}\n{}", outcome.steps.join("\n")));
            assert!(outcome.violations.is_empty(), "{}", outcome.complaint());
        }
        return;
    }
    say(&format!("{seeds} seeds from {first} on"));
    let campaign = Campaign::run(first, seeds, None);
    say(&campaign.report());
    if let Some(failure) = &campaign.failure {
        panic!("{}", failure.complaint());
    }
    if seeds >= SEEDS {
        assert!(campaign.tally.missed().is_empty(), "never struck: {:?}", campaign.tally.missed());
    }
}

/// Whatever rule is taken out is missed within the seeds of one run.
#[test]
fn each_guard_is_missed() {
    let (mut missed, documented) = (Vec::new(), include_str!("../../README.md"));
    for guard in Guard::ALL {
        let row = format!("\n| {} |", guard.name());
        assert!(documented.contains(&row), "the table of the README has no row{row}");
        let campaign = Campaign::run(FIRST, SEEDS, Some(guard));
        match &campaign.failure {
            Some(failure) => say(&format!(
                "| {} | {} | {} |",
                guard.name(),
                failure.violations.first().unwrap(),
                failure.seed - FIRST + 1
            )),
            None => missed.push(guard.name()),
        }
    }
    assert!(missed.is_empty(), "taken out, and nothing went wrong: {missed:?}");
}

/// A failing seed is worth something because it fails again in the same way, step by step, in whichever thread.
#[test]
fn a_failing_seed_replays_exactly() {
    let guards = [Guard::SettleState, Guard::OnlyIfAbsent];
    let mut failing = 0;
    for seed in FIRST..FIRST + SEEDS {
        let run = Run { seed, removed: Some(guards[usize::from(seed % 2 == 0)]), is_told: true };
        let first = run.play();
        if first.violations.is_empty() {
            continue;
        }
        for _ in 0..2 {
            let again = std::thread::spawn(move || run.play()).join().unwrap();
            let differs = first.steps.iter().zip(&again.steps).find(|(step, other)| step != other);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(
                (first.steps.len(), &first.violations),
                (again.steps.len(), &again.violations),
                "seed {seed}"
            );
        }
        failing += 1;
        if failing == REPLAYED {
            break;
        }
    }
    assert_eq!(failing, REPLAYED, "too few seeds fail");
}
