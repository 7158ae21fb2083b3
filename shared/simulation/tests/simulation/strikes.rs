//! Faults that come from time to time, to processes, servers and data, until they end.

use crate::buried;
use crate::faults::Fault;
use crate::process::{Process, Reach, Server};
use crate::world::World;
use domain::facts::RecordState;
use domain::{PaymentKey, StageName};
use runtime::broker::{Outgoing, Streams};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::memory::{MemoryLedger, Outsider};
use wire::{Hop, Stream, Subject};

/// Of the many kinds, those that come like this.
const KINDS: [Fault; 19] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::Restart,
    Fault::ClockJump,
    Fault::BrokerAway,
    Fault::BrokerSilent,
    Fault::BrokerRestart,
    Fault::LedgerAway,
    Fault::LedgerSilent,
    Fault::LedgerSetBack,
    Fault::StreamLost,
    Fault::ConsumerLost,
    Fault::AccountLocked,
    Fault::PaymentLocked,
    Fault::Junk,
    Fault::Newer,
    Fault::RateMoves,
    Fault::Buried,
    Fault::Duplicate,
];

/// What of the ledger is lost when it is set back is younger than this: younger than what is purged from the
/// intake.
const SET_BACK_SECONDS_MAX: u64 = 45;

/// How the ids of messages begin that nobody can read.
pub(crate) const JUNK: &str = "JUNK";

/// What a release writes that knows more than this one.
pub(crate) const NEWER: &[u8] = br#"{"v":1000}"#;

/// Strikes until faults end.
pub(crate) async fn strike(world: Arc<World>) {
    let conditions = world.conditions.clone();
    let kinds: Vec<Fault> = KINDS.into_iter().filter(|fault| conditions.plan().has(*fault)).collect();
    if kinds.is_empty() {
        return;
    }
    // Fewer kinds, more of each.
    let pause_max = 4_000 + 1_500 * kinds.len() as u64;
    while !conditions.is_healed() {
        conditions.lasts(conditions.chance().milliseconds(500..pause_max)).await;
        if conditions.is_healed() {
            return;
        }
        let fault = *conditions.chance().pick(&kinds);
        strike_once(&world, fault).await;
    }
}

async fn strike_once(world: &Arc<World>, fault: Fault) {
    let (conditions, chance) = (&world.conditions, world.conditions.chance());
    conditions.struck(fault);
    let process = chance.pick(&world.processes).clone();
    match fault {
        Fault::Kill => {
            conditions.tell(&process.name, || "is killed");
            process.die();
        }
        Fault::Freeze => freeze(&process),
        Fault::Restart => process.stop(),
        Fault::ClockJump => world.spawn(jump(process)),
        Fault::BrokerAway => world.spawn(cut_off(world.clone(), Server::Broker, Reach::Away)),
        Fault::BrokerSilent => world.spawn(cut_off(world.clone(), Server::Broker, Reach::Silent)),
        Fault::LedgerAway => world.spawn(cut_off(world.clone(), Server::Ledger, Reach::Away)),
        Fault::LedgerSilent => world.spawn(cut_off(world.clone(), Server::Ledger, Reach::Silent)),
        Fault::BrokerRestart => restart_broker(world).await,
        Fault::LedgerSetBack => world.spawn(set_back(world.clone())),
        Fault::StreamLost => lose_stream(world),
        Fault::ConsumerLost => lose_consumer(world),
        Fault::AccountLocked => lock_account(world),
        Fault::PaymentLocked => lock_payment(world),
        Fault::Junk => inject(world, JUNK, b"not a message").await,
        Fault::Newer => inject(world, "NEWER", NEWER).await,
        Fault::RateMoves => {
            world.rates.change(conditions);
            world.observed.rate_moved();
        }
        Fault::Buried => world.spawn(buried::bury_for_a_while(world.clone())),
        Fault::Duplicate => publish_again(world).await,
        _ => {}
    }
}

fn freeze(process: &Arc<Process>) {
    let duration = process.conditions.chance().milliseconds(200..60_000);
    process.conditions.tell(&process.name, || format!("stands still for {duration:?}"));
    process.freeze(duration);
}

/// Ahead or back, for a while.
async fn jump(process: Arc<Process>) {
    let conditions = process.conditions.clone();
    let by = i64::try_from(conditions.chance().between(1..7_200)).unwrap();
    let seconds = if conditions.chance().one_in(2) { by } else { -by };
    conditions.tell(&process.name, || format!("has a clock that is {seconds} s ahead"));
    process.set_clock_ahead(seconds * 1_000_000);
    conditions.lasts(conditions.chance().seconds(1..60)).await;
    process.set_clock_ahead(0);
    conditions.tell(&process.name, || "has the right time again");
}

/// A server is away or silent, for one process or for all.
async fn cut_off(world: Arc<World>, server: Server, reach: Reach) {
    let conditions = &world.conditions;
    let all: &[Arc<Process>] = &world.processes;
    let cut: Vec<Arc<Process>> = if conditions.chance().one_in(2) {
        all.to_vec()
    } else {
        vec![conditions.chance().pick(all).clone()]
    };
    let who = if cut.len() == 1 { cut[0].name.clone() } else { "everyone".to_owned() };
    conditions.tell("world", || format!("{server:?} is {reach:?} for {who}"));
    cut.iter().for_each(|process| process.set_reach(server, reach));
    conditions.lasts(conditions.chance().milliseconds(200..60_000)).await;
    cut.iter().for_each(|process| process.set_reach(server, Reach::Up));
    conditions.tell("world", || format!("{server:?} is Up for {who}"));
}

/// Streams in memory vanish with the server.
async fn restart_broker(world: &Arc<World>) {
    world.conditions.tell("world", || "the broker ends");
    world.processes.iter().for_each(|process| process.set_reach(Server::Broker, Reach::Away));
    if holds_wait(world) {
        world.conditions.window("W28");
    }
    world.streams.restart();
    world.conditions.lasts(world.conditions.chance().milliseconds(50..10_000)).await;
    world.processes.iter().for_each(|process| process.set_reach(Server::Broker, Reach::Up));
    world.conditions.tell("world", || "the broker is there again");
}

/// The ledger is restored from a copy that is some seconds old.
async fn set_back(world: Arc<World>) {
    // One at a time: who has gone back and forth between two states could lose what is older than any copy.
    let Ok(_only) = world.copying.try_lock() else { return };
    let backup = world.ledger.backup();
    world.conditions.tell("world", || "a copy is made of the ledger");
    let age = world.conditions.chance().seconds(1..SET_BACK_SECONDS_MAX);
    world.conditions.lasts(age).await;
    if !world.conditions.is_healed() {
        world.ledger.restore(&backup);
        world.was_set_back();
    }
}

/// Whether money is held of which settle has yet to hear.
fn holds_wait(world: &World) -> bool {
    let mut is_any = false;
    world.ledger.each_record(|record, _| {
        is_any |= matches!(record.state, RecordState::Reserved(_));
    });
    is_any
}

fn lose_stream(world: &Arc<World>) {
    let derived: Vec<Stream> =
        Stream::all(world.config.pipeline.shards).into_iter().filter(|stream| stream.is_derived()).collect();
    let stream = *world.conditions.chance().pick(&derived);
    world.conditions.tell("world", || format!("{stream} vanishes"));
    if stream.hop() == Some(Hop::Reserved) && holds_wait(world) {
        world.conditions.window("W28");
    }
    world.streams.lose(stream);
}

fn lose_consumer(world: &Arc<World>) {
    let consumed: Vec<Stream> = Stream::all(world.config.pipeline.shards)
        .into_iter()
        .filter(|stream| stream.consumer().is_some())
        .collect();
    let stream = *world.conditions.chance().pick(&consumed);
    world.conditions.tell("world", || format!("the consumer of {stream} vanishes"));
    world.conditions.window("W11");
    world.streams.lose_consumer(stream);
}

/// An outsider has a lock for a while.
fn hold<F>(world: &Arc<World>, what: String, lock: impl FnOnce(MemoryLedger) -> F)
where
    F: Future<Output = Option<Outsider>> + Send + 'static,
{
    let (conditions, duration) = (world.conditions.clone(), world.lock_duration());
    let locking = lock(world.ledger.clone());
    world.spawn(async move {
        conditions.tell("outsider", || format!("locks {what} for {duration:?}"));
        let lock = locking.await;
        conditions.lasts(duration).await;
        drop(lock);
        conditions.tell("outsider", || format!("lets go of {what}"));
    });
}

fn lock_account(world: &Arc<World>) {
    let key = world.conditions.chance().pick(&world.accounts).clone();
    world.locked.lock().unwrap().insert(key.id.to_string());
    let what = format!("account {}", key.id);
    hold(world, what, |ledger| async move { ledger.lock_account(&key).await });
}

/// The row of a payment, or the key of one that has none yet: as by somebody who inserts it and never comes to
/// an end.
fn lock_payment(world: &Arc<World>) {
    let is_new = world.conditions.chance().one_in(2);
    let mut keys: Vec<PaymentKey> = Vec::new();
    if is_new {
        let messages = world.streams.messages(Stream::Accepted);
        let accepted = messages.iter().filter_map(|message| Subject::payment(&message.subject).ok());
        keys.extend(accepted.filter(|key| !is_strangers(key.id.as_str()) && !world.ledger.has_record(key)));
    } else {
        world.ledger.each_record(|record, _| keys.push(record.facts.payment.key()));
    }
    if keys.is_empty() {
        return;
    }
    let key = world.conditions.chance().pick(&keys).clone();
    match is_new {
        true => hold(world, format!("the key of {}", key.id), |ledger| async move {
            ledger.lock_new_payment(&key).await
        }),
        false => {
            hold(
                world,
                format!("payment {}", key.id),
                |ledger| async move { ledger.lock_payment(&key).await },
            )
        }
    }
}

/// Somebody publishes what is no payment.
async fn inject(world: &Arc<World>, name: &str, payload: &'static [u8]) {
    let hops = [Hop::Accepted, Hop::Screened, Hop::Quoted, Hop::Reserved, Hop::Rejected];
    let hop = *world.conditions.chance().pick(&hops);
    let id = format!("{name}-{}", world.conditions.chance().below(1_000));
    let subject = Subject::of(hop, 0, &PaymentKey::from_token(&id).unwrap());
    world.conditions.tell("stranger", || format!("publishes {subject}"));
    // It may be refused, where the stream is missing or full.
    let stored = world.streams.publish(&Outgoing::new(subject.into_string(), payload)).await;
    if stored.is_ok() && name == JUNK {
        world.observed.junk_stored(id);
    }
}

/// Somebody publishes a stored message once more.
async fn publish_again(world: &Arc<World>) {
    let stages = [StageName::Fx, StageName::Reserve, StageName::Settle, StageName::SettleRejected];
    let stage = *world.conditions.chance().pick(&stages);
    let consumed = |stream: &Stream| stream.consumer() == Some(stage);
    let Some(stream) = Stream::all(world.config.pipeline.shards).into_iter().find(consumed) else { return };
    let messages = world.streams.messages(stream);
    if !messages.is_empty() {
        let message = world.conditions.chance().pick(&messages).clone();
        world.conditions.tell("stranger", || format!("publishes {} again", message.subject));
        let _ = world.streams.publish(&message).await;
    }
}

/// Whether an id is one of those that no client sends.
pub(crate) fn is_strangers(id: &str) -> bool {
    id.starts_with(JUNK) || id.starts_with("NEWER")
}

/// Everything that lasts comes to its end.
pub(crate) fn end(world: &World) {
    world.conditions.heal();
    for process in &world.processes {
        process.set_reach(Server::Broker, Reach::Up);
        process.set_reach(Server::Ledger, Reach::Up);
        process.set_clock_ahead(0);
        process.thaw();
    }
}

/// The shortest time that a lock is held for, and the longest.
pub(crate) const LOCK_SECONDS: std::ops::Range<u64> = 1..90;

/// How long a lock is held where nothing else goes wrong: longer than anything may wait for it.
pub(crate) const LONG_LOCK: Duration = Duration::from_secs(400);
