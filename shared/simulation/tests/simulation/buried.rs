//! A release that fails buries payments which are nothing but payments; somebody works their letters off later,
//! as `stages dead replay` does.

use crate::strikes::is_strangers;
use crate::world::World;
use domain::{PaymentKey, StageName};
use runtime::broker::{Outgoing, Streams};
use std::sync::Arc;
use std::time::Duration;
use store::{DeadLetter, DeadLetterLedger};
use wire::header::Headers;
use wire::{Stream, Subject};

/// What such letters say.
pub(crate) const REASON: &str = "a release that fails";

/// How long a payment is dead, in seconds: some leave the intake meanwhile.
const DEAD_SECONDS: std::ops::Range<u64> = 1..120;

/// How often somebody tries until there is room in the intake, and how long he waits between.
const REPLAYS_MAX: u32 = 100;
const REPLAY_EVERY: Duration = Duration::from_secs(5);

/// Buries one of the payments of the intake, and resolves its letter after a while.
pub(crate) async fn bury_for_a_while(world: Arc<World>) {
    let mut messages = world.streams.messages(Stream::Accepted);
    messages.retain(|message| !is_strangers(Subject::payment_token(&message.subject)));
    if messages.is_empty() {
        return;
    }
    let message = world.conditions.chance().pick(&messages).clone();
    let id = Subject::payment_token(&message.subject).to_owned();
    let letter = DeadLetter {
        tenant: "default".to_owned(),
        id: id.clone(),
        stage: world.conditions.chance().pick(&StageName::ALL).as_str(),
        stream: Stream::Accepted.name(),
        seq: world.conditions.chance().below(1 << 32),
        reason: REASON.to_owned(),
        payload: message.payload.to_vec(),
    };
    world.conditions.tell("release", || format!("buries {id}"));
    if world.ledger.bury(&letter).await.is_ok() {
        world.conditions.lasts(world.conditions.chance().seconds(DEAD_SECONDS)).await;
        replay(&world, &id, message).await;
    }
    // A ledger that is set back may have the letter again.
    world.conditions.lasts(Duration::MAX).await;
    if world.ledger.open_letters("default", &id).iter().any(|letter| letter.reason == REASON) {
        replay(&world, &id, letter_message(&letter, &id)).await;
    }
}

fn letter_message(letter: &DeadLetter, id: &str) -> Outgoing {
    let key = PaymentKey::from_token(id).unwrap();
    Outgoing::new(Subject::accepted(&key.token()).into_string(), letter.payload.clone())
}

/// The letter is resolved. The janitor sees to the rest of what it can see; what has left the intake without a
/// row is accepted again.
async fn replay(world: &World, id: &str, message: Outgoing) {
    let key = PaymentKey::from_token(id).unwrap();
    for _ in 0..REPLAYS_MAX {
        if world.ledger.has_record(&key) || world.streams.holds(Stream::Accepted, &message.subject) {
            break;
        }
        let headers = Headers::redriven(1, world.conditions.now());
        let again = Outgoing { headers, expected_last: Some(0), ..message.clone() };
        if world.streams.publish(&again).await.is_ok() {
            break;
        }
        // A full intake: there is room again when it has been purged.
        tokio::time::sleep(REPLAY_EVERY).await;
    }
    world.ledger.resolve_letters("default", id);
    world.conditions.tell("somebody", || format!("has worked off the letter of {id}"));
}
