//! A process as the others see it: it can die at any call, stand still, be cut off from a server, and have a
//! clock of its own.

use crate::changing::Changing;
use crate::conditions::Conditions;
use crate::faults::Fault;
use domain::Timestamp;
use runtime::clock::Clock;
use runtime::drain::Drain;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How a process reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Up,
    /// Refused at once.
    Away,
    /// Neither answered nor refused.
    Silent,
}

/// The two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Broker,
    Ledger,
}

/// How long a stopped process may take until it has ended.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What may keep a process from stopping for longer.
const HOLD_UP: [Fault; 6] = [
    Fault::Freeze,
    Fault::BrokerAway,
    Fault::BrokerSilent,
    Fault::BrokerRestart,
    Fault::LedgerAway,
    Fault::LedgerSilent,
];

pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) conditions: Conditions,
    broker: Changing<Reach>,
    ledger: Changing<Reach>,
    /// Which of its lives it is in, if in any.
    life: Changing<Option<u64>>,
    state: Mutex<State>,
    /// It has been killed.
    killed: Notify,
    /// It is to be stopped in order.
    stopped: Notify,
}

struct State {
    frozen_until: Instant,
    clock_ahead_micros: i64,
    drain: Drain,
    /// How often it has started.
    starts: u64,
    /// What else ends with it.
    at_its_end: Option<Box<dyn FnOnce() + Send>>,
}

impl Process {
    pub(crate) fn new(name: String, role: &'static str, conditions: Conditions) -> Arc<Process> {
        let drain = Drain::default();
        let state =
            State { frozen_until: Instant::now(), clock_ahead_micros: 0, drain, starts: 0, at_its_end: None };
        let (broker, ledger) = (Changing::new(Reach::Up), Changing::new(Reach::Up));
        let (killed, stopped) = (Notify::new(), Notify::new());
        let (life, state) = (Changing::new(None), Mutex::new(state));
        Arc::new(Process { name, role, conditions, broker, ledger, life, state, killed, stopped })
    }

    /// Its own clock.
    pub(crate) fn clock(self: &Arc<Self>) -> Clock {
        let process = self.clone();
        Clock::new(move || {
            let ahead = process.state.lock().unwrap().clock_ahead_micros;
            Timestamp::from_micros(process.conditions.now().micros() + ahead)
        })
    }

    pub(crate) fn set_clock_ahead(&self, micros: i64) {
        self.state.lock().unwrap().clock_ahead_micros = micros;
    }

    /// The drain of its present life.
    pub(crate) fn drain(&self) -> Drain {
        self.state.lock().unwrap().drain.clone()
    }

    pub(crate) fn reach(&self, server: Server) -> Reach {
        self.way_to(server).get()
    }

    pub(crate) fn set_reach(&self, server: Server, reach: Reach) {
        self.way_to(server).set(reach);
    }

    fn way_to(&self, server: Server) -> &Changing<Reach> {
        match server {
            Server::Broker => &self.broker,
            Server::Ledger => &self.ledger,
        }
    }

    /// Waits until the broker is no longer reached.
    pub(crate) async fn broker_is_lost(&self) {
        self.broker.wait_for(|reach| reach != Reach::Up).await;
    }

    /// It stands still for so long.
    pub(crate) fn freeze(&self, duration: Duration) {
        self.state.lock().unwrap().frozen_until = Instant::now() + duration;
    }

    /// For how much longer it stands still.
    pub(crate) fn stands_still_for(&self) -> Duration {
        self.state.lock().unwrap().frozen_until.saturating_duration_since(Instant::now())
    }

    pub(crate) fn thaw(&self) {
        self.freeze(Duration::ZERO);
    }

    /// Which of its lives it is in, if in any.
    pub(crate) fn life(&self) -> Option<u64> {
        self.life.get()
    }

    /// Waits until this life of it is over.
    pub(crate) async fn outlives(&self, life: u64) {
        self.life.wait_for(|now| now != Some(life)).await;
    }

    /// Does this when it ends, in whichever way.
    pub(crate) fn at_its_end(&self, act: impl FnOnce() + Send + 'static) {
        self.state.lock().unwrap().at_its_end = Some(Box::new(act));
    }

    fn end(&self) {
        let act = self.state.lock().unwrap().at_its_end.take();
        act.into_iter().for_each(|act| act());
    }

    /// It dies here and now; what it was doing is never done.
    pub(crate) fn die(&self) {
        if self.life.get().is_some() {
            self.life.set(None);
            self.killed.notify_one();
        }
    }

    /// It is asked to end, and starts again afterwards.
    pub(crate) fn stop(&self) {
        self.stopped.notify_one();
    }

    /// Goes on when the process does: at once, when it no longer stands still, or never, when it is dead.
    pub(crate) async fn goes_on(&self) {
        loop {
            if self.life.get().is_none() {
                return std::future::pending().await;
            }
            let rest = self.stands_still_for();
            if rest.is_zero() {
                return;
            }
            // With the faults it ends sooner.
            self.conditions.lasts(rest).await;
        }
    }

    /// Runs it for ever: whenever it has died it is started again after a while.
    pub(crate) async fn run<F>(self: Arc<Self>, start: impl Fn(&Arc<Process>) -> F + Send)
    where
        F: Future<Output = JoinSet<()>> + Send,
    {
        loop {
            self.begin();
            let mut tasks = start(&self).await;
            let is_killed = tokio::select! {
                biased;
                () = self.killed.notified() => true,
                () = self.stopped.notified() => false,
                ended = part_ended(&mut tasks) => {
                    self.conditions.violated(format!("{}: {ended}", self.name));
                    true
                }
            };
            if !is_killed {
                self.end_in_order(&mut tasks).await;
            }
            self.die();
            self.end();
            drop(tasks);
            // A second blow to one that is dead already is none to the next.
            let _ = tokio::time::timeout(Duration::ZERO, self.killed.notified()).await;
            let pause = self.conditions.chance().milliseconds(100..5_000);
            tokio::time::sleep(pause).await;
        }
    }

    fn begin(&self) {
        let mut state = self.state.lock().unwrap();
        state.drain = Drain::default();
        state.starts += 1;
        self.life.set(Some(state.starts));
        drop(state);
        self.conditions.tell(&self.name, || "starts");
    }

    async fn end_in_order(&self, tasks: &mut JoinSet<()>) {
        self.conditions.tell(&self.name, || "is asked to stop");
        self.drain().begin();
        self.end();
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = self.killed.notified() => {}
            ended = tokio::time::timeout(DRAIN_MAX, ended) => match ended {
                Ok(()) => self.conditions.tell(&self.name, || "has stopped"),
                Err(_) if HOLD_UP.iter().all(|fault| !self.conditions.plan().has(*fault)) => {
                    self.conditions.violated(format!("{} does not stop", self.name));
                }
                Err(_) => {}
            }
        }
    }
}

/// No part of a process ends by itself.
async fn part_ended(tasks: &mut JoinSet<()>) -> String {
    match tasks.join_next().await {
        Some(Err(error)) if error.is_panic() => "a part of it has panicked".to_owned(),
        Some(_) => "a part of it has ended".to_owned(),
        None => std::future::pending().await,
    }
}
