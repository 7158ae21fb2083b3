//! Clients: they send payments through any gateway, try again when they are not answered, use each other's
//! ids, and ask how payments stand, all by chance.

use crate::history::{Answer, History, Standing};
use crate::orders::{Name, Order};
use gateway::border::Answered;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// The way to the gateways, for clients.
pub(crate) trait Door: Clone + Send + Sync + 'static {
    /// How many gateways there are.
    fn gateways(&self) -> usize;

    /// Sends a payment to one of them; nothing when it dies, or is not there.
    fn submit(
        &self,
        gateway: usize,
        body: Vec<u8>,
        key: Option<String>,
    ) -> impl Future<Output = Option<Answered>> + Send;

    /// Asks one of them for a status.
    fn status(&self, gateway: usize, id: String) -> impl Future<Output = Option<Answered>> + Send;

    /// How the payment really stands now. No client can know; the checks compare it with what they are told.
    fn standing(&self, id: &str) -> Standing;
}

/// A client gives up after this, as ours does: shorter than the intake keeps what the ledger has.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a payment is sent until its client lets it be.
const ATTEMPTS_MAX: u32 = 6;

/// How often, and after which pause, the last payments of a run are tried.
const LAST_ATTEMPTS: u32 = 40;
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Between a client's payments, in milliseconds: in most runs, and in those in which all are in a hurry.
const PAUSE: std::ops::Range<u64> = 0..16_000;
const HURRY: std::ops::Range<u64> = 0..300;

/// Between two questions of one who only asks.
const ASK_PAUSE: std::ops::Range<u64> = 500..10_000;

/// All clients of a run, while they live.
pub(crate) struct Clients {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// They begin no more payments, and come to an end with those in hand.
    pub(crate) async fn ended(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Starts clients, and some who only ask.
pub(crate) fn start<D: Door>(door: &D, history: &History) -> Clients {
    let (is_over, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let chance = history.conditions().chance();
    let senders = chance.between(3..7);
    let (pause, payments) =
        if chance.one_in(4) { (HURRY, chance.between(8..16)) } else { (PAUSE, chance.between(4..9)) };
    let shared = Arc::new(Shared {
        orders: Mutex::default(),
        numbers: AtomicU64::new(1),
        ids: senders * payments * 2,
        pause,
    });
    let client = |name: String| Client {
        name,
        door: door.clone(),
        history: history.clone(),
        shared: shared.clone(),
        is_over: is_over.clone(),
    };
    for number in 1..=senders {
        tasks.spawn(client(format!("client-{number}")).pay(payments));
    }
    for number in 1..=2 {
        tasks.spawn(client(format!("asker-{number}")).ask_on());
    }
    Clients { is_over, tasks }
}

/// Asks every gateway for every payment that anyone has named: which, whom, and the answer.
pub(crate) async fn ask_for_all<D: Door>(
    door: &D,
    history: &History,
) -> Vec<(String, usize, Option<Answer>)> {
    let mut answers = Vec::new();
    for id in history.ids() {
        for gateway in 0..door.gateways() {
            let answer = ask(door, history, "auditor", gateway, &id).await;
            answers.push((id.clone(), gateway, answer));
        }
    }
    answers
}

/// Sends one more payment through a gateway, until it is accepted or has been tried often; whether it was.
pub(crate) async fn pay_once<D: Door>(door: &D, history: &History, gateway: usize) -> bool {
    let order = Order::last(gateway);
    for _ in 0..LAST_ATTEMPTS {
        let answer = send_once(door, history, "auditor", &order, gateway).await;
        if answer.is_some_and(|answer| answer.status == 202) {
            return true;
        }
        // A full intake has room again when a minute has passed.
        tokio::time::sleep(LAST_PAUSE).await;
    }
    false
}

/// What all clients of a run know.
struct Shared {
    /// What was sent, to be sent again.
    orders: Mutex<Vec<Order>>,
    numbers: AtomicU64,
    /// So many ids there are to choose from: some are chosen twice.
    ids: u64,
    /// Between a client's payments, in milliseconds.
    pause: std::ops::Range<u64>,
}

struct Client<D> {
    name: String,
    door: D,
    history: History,
    shared: Arc<Shared>,
    is_over: Arc<AtomicBool>,
}

impl<D: Door> Client<D> {
    fn below(&self, bound: u64) -> u64 {
        self.history.conditions().chance().below(bound)
    }

    fn gateway(&self) -> usize {
        usize::try_from(self.below(self.door.gateways() as u64)).unwrap()
    }

    async fn pause(&self, milliseconds: std::ops::Range<u64>) {
        let pause = self.history.conditions().chance().milliseconds(milliseconds);
        // What clients do between two requests; time is paused.
        tokio::time::sleep(pause).await;
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends so many payments.
    async fn pay(self, payments: u64) {
        for _ in 0..payments {
            // Some come one right after the other.
            if self.below(4) > 0 {
                self.pause(self.shared.pause.clone()).await;
            }
            if self.is_over() {
                return;
            }
            let order = self.order();
            let id = match order.name {
                Name::Id(_) if self.below(5) == 0 => self.send_two(order).await,
                _ => self.send(order, self.gateway()).await,
            };
            if let Some(id) = id {
                self.look_at(&id).await;
            }
        }
    }

    /// What is sent next: something new, or what somebody has sent before, or the like of it.
    fn order(&self) -> Order {
        let chance = self.history.conditions().chance();
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let mut orders = self.shared.orders.lock().unwrap();
        if !orders.is_empty() && chance.one_in(5) {
            return chance.pick(&orders).again(number, chance.one_in(2), chance);
        }
        let name = match chance.below(8) {
            0 => Name::None,
            1 => Name::Key(format!("key-{}", chance.below(self.shared.ids))),
            _ => Name::Id(format!("P{}", chance.below(self.shared.ids))),
        };
        let order = Order::any(name, number, chance);
        if order.name != Name::None && order.fingerprint().is_ok() {
            orders.push(order.clone());
        }
        order
    }

    /// One id at two gateways at once, with one content or two.
    async fn send_two(&self, order: Order) -> Option<String> {
        let (chance, number) =
            (self.history.conditions().chance(), self.shared.numbers.fetch_add(1, Ordering::Relaxed));
        let other = order.again(number, chance.one_in(3), chance);
        let first = self.gateway();
        let second = (first + 1) % self.door.gateways();
        if order.fingerprint() != other.fingerprint() {
            self.history.conditions().window("W8");
        }
        let (id, other_id) = tokio::join!(self.send(order, first), self.send(other, second));
        id.or(other_id)
    }

    /// Sends a payment until it is answered for good, or for long enough; its id when it is accepted. Later
    /// attempts go to any gateway.
    async fn send(&self, mut order: Order, mut gateway: usize) -> Option<String> {
        for _ in 0..ATTEMPTS_MAX {
            let answer = send_once(&self.door, &self.history, &self.name, &order, gateway).await;
            match (answer, order.known_id()) {
                (Some(answer), _) if answer.status != 503 => {
                    return answer.id.filter(|_| answer.status == 202);
                }
                // Its gateway has named it, and it is sent again under that name.
                (Some(Answer { id: Some(id), .. }), None) => order = order.named(Name::Id(id)),
                (_, Some(_)) => {}
                // Nobody knows what to ask for: another attempt would be another payment.
                (_, None) => return None,
            }
            self.pause(800..4_000).await;
            gateway = self.gateway();
        }
        None
    }

    /// Whoever has been told that a payment is accepted may ask for it at once, everywhere.
    async fn look_at(&self, id: &str) {
        if self.below(2) == 0 {
            ask(&self.door, &self.history, &self.name, self.gateway(), id).await;
        }
        if self.below(3) == 0 {
            self.pause(10..3_000).await;
            ask(&self.door, &self.history, &self.name, self.gateway(), id).await;
        }
    }

    /// Asks for one payment after the other, also for some that nobody has sent.
    async fn ask_on(self) {
        while !self.is_over() {
            self.pause(ASK_PAUSE).await;
            let nobodys = format!("NEVER-{}", self.below(1_000));
            let id = self.history.some_id().filter(|_| self.below(10) > 0).unwrap_or(nobodys);
            ask(&self.door, &self.history, &self.name, self.gateway(), &id).await;
        }
    }
}

/// Sends a payment, and says what came of it.
async fn send_once<D: Door>(
    door: &D,
    history: &History,
    who: &str,
    order: &Order,
    gateway: usize,
) -> Option<Answer> {
    let standing = |id: Option<String>| id.map(|id| door.standing(&id)).unwrap_or_default();
    let before = standing(order.known_id());
    if before.is_in_ledger && !before.is_in_intake && order.fingerprint().is_ok() {
        history.conditions().window("W9");
    }
    let place = history.sends(who, gateway, order, before);
    let submitting = door.submit(gateway, order.body(), order.key());
    let Ok(Some(answered)) = tokio::time::timeout(PATIENCE, submitting).await else {
        history.hears_nothing(who, place);
        return None;
    };
    let answer = Answer::read(&answered);
    let after = standing(order.known_id().or_else(|| answer.id.clone()));
    history.hears(who, place, &answer, after);
    Some(answer)
}

/// Asks once.
async fn ask<D: Door>(door: &D, history: &History, who: &str, gateway: usize, id: &str) -> Option<Answer> {
    let place = history.asks(who, gateway, id, door.standing(id));
    match tokio::time::timeout(PATIENCE, door.status(gateway, id.to_owned())).await {
        Ok(Some(answered)) => {
            let answer = Answer::read(&answered);
            history.hears(who, place, &answer, door.standing(id));
            Some(answer)
        }
        Ok(None) | Err(_) => {
            history.hears_nothing(who, place);
            None
        }
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
