//! The end of a run: whether those went on who had nothing in their way, and how everything comes to rest once
//! nothing goes wrong any more.

use crate::checks::{self, Truth};
use crate::clients;
use crate::door::Street;
use crate::faults::Fault;
use crate::history::History;
use crate::judged;
use crate::strikes::is_strangers;
use crate::world::{GATEWAYS, World};
use domain::PaymentRecord;
use domain::facts::RecordState;
use runtime::broker::Streams;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wire::message::PaymentAccepted;
use wire::{Stream, Subject, envelope};

/// Everything has come to rest so long after the last fault. What was lost again and again waits for ten
/// minutes at most between two attempts.
const REST_MAX: Duration = Duration::from_secs(25 * 60);

/// How often it is looked whether everything is at rest.
const GLANCE: Duration = Duration::from_secs(3);

/// Whoever had just died has started again.
const STARTED: Duration = Duration::from_secs(15);

/// Longer than any publish is under way.
const LATE_MAX: Duration = Duration::from_secs(25);

/// Whether nothing but locks of outsiders is in the way of anybody in this run.
pub(crate) fn has_only_locks(world: &World) -> bool {
    let plan = world.conditions.plan();
    plan.has(Fault::AccountLocked) && plan.is_only(&[Fault::AccountLocked, Fault::SmallStreams])
}

/// The payments that are accepted and have not ended.
pub(crate) fn on_their_way(world: &World) -> Vec<PaymentAccepted> {
    let messages = world.streams.messages(Stream::Accepted);
    let accepted = messages.iter().filter_map(|message| envelope::decode(&message.payload).ok());
    accepted
        .filter(|accepted: &PaymentAccepted| world.standing(accepted.payment.id.as_str()).ended.is_none())
        .collect()
}

/// Of those who were on their way long ago nobody still is for whom nothing was locked.
pub(crate) fn check_progress(world: &World, before: &[PaymentAccepted]) {
    let locked = world.locked.lock().unwrap();
    for PaymentAccepted { payment, .. } in before {
        let needs = [&payment.source_account, &payment.destination_account];
        let is_in_the_way = needs.iter().any(|account| locked.contains(account.as_str()));
        if !is_in_the_way && world.standing(payment.id.as_str()).ended.is_none() {
            world.conditions.violated(format!("{} waits for accounts that it does not need", payment.id));
        }
    }
}

/// Waits until everything has ended, and a while longer.
pub(crate) async fn come_to_rest(world: &Arc<World>, history: &History) {
    if !ends(world, || waiting(world)).await {
        return;
    }
    world.conditions.tell("world", || "everything has come to rest");
    tokio::time::sleep(STARTED).await;
    check_service(world, history).await;
    // What was on its way for longer than its sender waited has arrived by then.
    tokio::time::sleep(LATE_MAX).await;
    if ends(world, || waiting(world)).await && !world.conditions.plan().has(Fault::Newer) {
        ends(world, async || kept(world)).await;
    }
}

/// Whoever asks is answered again, and whoever pays is accepted again.
async fn check_service(world: &Arc<World>, history: &History) {
    let street = Street(world.clone());
    for (id, gateway, answer) in clients::ask_for_all(&street, history).await {
        let expected = if world.standing(&id).exists() { 200 } else { 404 };
        if answer.as_ref().map(|answer| answer.status) != Some(expected) {
            let answer = answer.map_or("nothing".to_owned(), |answer| answer.to_string());
            world.conditions.violated(format!("gateway {} says {answer} of {id} at the end", gateway + 1));
        }
    }
    for gateway in 0..GATEWAYS {
        if !clients::pay_once(&street, history, gateway).await {
            world.conditions.violated(format!("gateway {} accepts nothing any more", gateway + 1));
        }
    }
}

/// Waits until nothing is left; whether that comes.
async fn ends(world: &World, left: impl AsyncFn() -> Vec<String>) -> bool {
    let deadline = Instant::now() + REST_MAX;
    loop {
        let left = left().await;
        if left.is_empty() {
            return true;
        }
        if Instant::now() > deadline {
            left.into_iter().for_each(|what| world.conditions.violated(format!("{what} for ever")));
            return false;
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// What the intake has not forgotten. What an older worker cannot read stays, and what was accepted after it.
fn kept(world: &World) -> Vec<String> {
    let kept = world.streams.messages(Stream::Accepted);
    kept.iter().map(|message| format!("{} is kept in the intake", message.subject)).collect()
}

/// What has not come to rest yet.
async fn waiting(world: &World) -> Vec<String> {
    let mut waiting = Vec::new();
    world.ledger.each_record(|record, _| {
        if matches!(record.state, RecordState::Reserved(_)) {
            waiting.push(format!("{} is held", record.facts.payment.id));
        }
    });
    // A hold whose payment is buried waits for somebody.
    waiting.retain(|what| what.split(' ').next().is_none_or(|id| world.letter(id).is_none()));
    // Whoever works off letters is not done yet.
    let buried = world.ledger.buried().into_iter().filter(|(_, id)| !is_strangers(id));
    waiting.extend(buried.map(|(_, id)| format!("{id} is buried")));
    for message in world.streams.messages(Stream::Accepted) {
        let id = Subject::payment_token(&message.subject);
        if !is_strangers(id) && !world.standing(id).is_in_ledger {
            waiting.push(format!("{id} is on its way"));
        }
    }
    if !world.conditions.plan().has(Fault::Newer) {
        for stream in Stream::all(world.config.pipeline.shards) {
            if let Ok(Some(progress)) = world.streams.progress(stream).await
                && progress.pending + progress.in_hand > 0
            {
                waiting.push(format!("{stream} has messages for its stage: {progress:?}"));
            }
        }
    }
    waiting
}

/// Everything that must be true at the end.
pub(crate) fn check(world: &World, history: &History) {
    let conditions = &world.conditions;
    let violations = world.ledger.violations();
    violations.into_iter().for_each(|what| conditions.violated(format!("money: {what}")));
    if world.ledger.lock_cycles() > 0 {
        conditions.violated("transactions of ours wait for each other in a circle");
    }
    if world.ledger.locks_held() > 0 || world.ledger.open_transactions() > 0 {
        conditions.violated("a lock is never let go");
    }
    for (_, id) in world.ledger.buried() {
        if !id.starts_with("JUNK") {
            let letters = world.ledger.open_letters("default", &id);
            let why = letters.first().map(|letter| letter.reason.clone()).unwrap_or_default();
            conditions.violated(format!("{id} is buried: {why}"));
        }
    }
    check_told(world);
    judged::check(world);
    let (found, tally) =
        history.read(|records| (checks::check(records, world), checks::tally(records, world)));
    found.into_iter().for_each(|what| conditions.violated(what));
    tally.into_iter().for_each(|(what, count)| conditions.count(what, count));
}

/// Where nothing makes messages vanish, each end has been told.
fn check_told(world: &World) {
    if !world.observed.tells_ends() {
        return;
    }
    let check = |record: &PaymentRecord| {
        let key = record.facts.payment.key();
        let is_excused = world.observed.is_let_go(&key.token());
        let is_told = is_excused || world.observed.is_told(&key.token());
        if !matches!(record.state, RecordState::Reserved(_)) && !is_told {
            world.conditions.violated(format!("{} has ended, and nobody was told", key.id));
        }
    };
    world.ledger.each_record(|record, _| check(record));
}
