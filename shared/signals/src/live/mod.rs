//! The numbers that move: rates and quantiles of the last seconds, from what every player of a role has counted.
//!
//! Nothing here asks or waits: whoever does says what was heard and when. A player counts from the second time that
//! it is heard on; one that was restarted is another.

mod audit;
mod reading;
mod tally;

use crate::metric::SECONDS;
use domain::Timestamp;
use reading::Reading;
pub use reading::asked;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tally::{Tally, rounded};
use wire::figures::RoleFigures;
use wire::live::{LiveReport, LiveRole, LiveStage};
use wire::{Role, StageName};

/// Rates and quantiles are of this long: a p99 of one second would jump.
const WINDOW: Duration = Duration::from_secs(5);

/// A rate between two readings that are nearer than this would be of chance.
const APART_MIN: Duration = Duration::from_millis(500);

/// Who was not heard for so long is not up: asked once a second, it has missed two rounds.
const UP: Duration = Duration::from_millis(1_900);

/// Of one player. It tells its figures at most five times a second, so that a window has room.
const READINGS_MAX: usize = 32;

/// Players of all roles together: far more than one ledger carries.
const INSTANCES_MAX: usize = 256;

/// The longest name of a player.
const INSTANCE_LENGTH_MAX: usize = 64;

/// Everyone who was heard lately.
#[derive(Debug, Default)]
pub struct Live {
    instances: BTreeMap<(Role, String), Instance>,
    audit: audit::Audit,
}

/// One player of a role, by what it told lately: never empty, the newest last.
#[derive(Debug, Default)]
struct Instance(VecDeque<(Duration, Reading)>);

impl Live {
    /// A player told its figures. Times are counted from any one moment.
    pub fn heard(&mut self, at: Duration, figures: &RoleFigures) {
        self.forget(at);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let instance = &figures.instance;
        if instance.is_empty() || instance.len() > INSTANCE_LENGTH_MAX || !instance.bytes().all(is_plain) {
            return;
        }
        let key = (figures.role, instance.clone());
        if !self.instances.contains_key(&key) && self.instances.len() >= INSTANCES_MAX {
            return;
        }
        let readings = &mut self.instances.entry(key).or_default().0;
        if readings.len() == READINGS_MAX {
            readings.pop_back();
        }
        readings.push_back((at, Reading::of(figures)));
    }

    /// How everyone does now. Nobody is up where the broker is away.
    pub fn report(&mut self, now: Duration, at: Timestamp, is_connected: bool) -> LiveReport {
        self.forget(now);
        let view = View { live: self, now, is_connected };
        let audit = view.audit();
        let captured = |reading: &Reading| reading.captured.clone();
        let accepted_per_s = view.rate(Role::Gateway, |reading| reading.accepted);
        let report = LiveReport {
            at,
            broker: is_connected,
            accepted_per_s,
            settled_per_s: view.rate(Role::Settle, |reading| reading.captured.count()),
            failed_per_s: view.rate(Role::Settle, |reading| reading.failed.count()),
            accept_p99_s: view.grown(Role::Gateway, |reading| reading.requests.clone()).p99(SECONDS),
            settle_p99_s: view.grown(Role::Settle, captured).p99(SECONDS),
            in_flight: audit
                .is_there
                .then(|| audit.lags.iter().flatten().copied().reduce(u64::saturating_add))
                .flatten(),
            dead_letters: audit.dead_letters.filter(|_| audit.is_there),
            money: audit.money(),
            stages: view.stages(&audit, accepted_per_s),
            roles: Role::ALL.map(|role| view.role(role)).to_vec(),
        };
        self.audit = audit;
        report
    }

    /// Forgets what is older than the window, and who was not heard in it.
    fn forget(&mut self, now: Duration) {
        let is_of_the_window = |at: Duration| now.saturating_sub(at) <= WINDOW + APART_MIN;
        self.instances.retain(|_, instance| {
            while instance.0.front().is_some_and(|(at, _)| !is_of_the_window(*at)) {
                instance.0.pop_front();
            }
            !instance.0.is_empty()
        });
    }
}

/// Those who are up at one moment.
struct View<'l> {
    live: &'l Live,
    now: Duration,
    is_connected: bool,
}

impl View<'_> {
    fn up(&self, role: Role) -> impl Iterator<Item = &Instance> {
        let instances = self.live.instances.iter().filter(move |((played, _), _)| *played == role);
        instances.map(|(_, instance)| instance).filter(|instance| {
            let heard = instance.0.back().map(|(at, _)| *at);
            self.is_connected && heard.is_some_and(|at| self.now.saturating_sub(at) < UP)
        })
    }

    fn latest(&self, role: Role) -> impl Iterator<Item = &Reading> {
        self.up(role).filter_map(|instance| instance.0.back().map(|(_, reading)| reading))
    }

    /// How much each has grown within the window: its seconds, and both ends.
    fn windows(&self, role: Role) -> impl Iterator<Item = (f64, &Reading, &Reading)> {
        self.up(role).filter_map(|instance| {
            let ((from, first), (to, last)) = (instance.0.front()?, instance.0.back()?);
            let apart = to.saturating_sub(*from);
            (apart >= APART_MIN && last.is_recorded).then_some((apart.as_secs_f64(), first, last))
        })
    }

    /// A second's growth of all together; nothing where nobody tells of any.
    fn rate(&self, role: Role, count: impl Fn(&Reading) -> u64) -> Option<f64> {
        let each = self
            .windows(role)
            .map(|(seconds, first, last)| count(last).saturating_sub(count(first)) as f64 / seconds);
        each.reduce(|all, one| all + one).map(rounded)
    }

    /// What all together have observed within the window.
    fn grown(&self, role: Role, tally: impl Fn(&Reading) -> Tally) -> Tally {
        let each = self.windows(role).map(|(_, first, last)| tally(last).since(&tally(first)));
        each.fold(Tally::default(), Tally::plus)
    }

    fn audit(&self) -> audit::Audit {
        audit::Audit::of(self.latest(Role::Janitor), &self.live.audit)
    }

    fn stages(&self, audit: &audit::Audit, accepted_per_s: Option<f64>) -> Vec<LiveStage> {
        let border = LiveStage {
            stage: Role::Gateway.to_string(),
            is_up: self.up(Role::Gateway).next().is_some(),
            per_s: accepted_per_s,
            batch: self.grown(Role::Gateway, |reading| reading.accepted_batches.clone()).mean(),
            lag: None,
            p99_s: self.grown(Role::Gateway, |reading| reading.requests.clone()).p99(SECONDS),
            halted: false,
        };
        let stages = StageName::ALL.into_iter().map(|stage| {
            let (role, place) = (Role::playing(stage), stage as usize);
            let batches = |reading: &Reading| reading.stages[place].batches.clone();
            LiveStage {
                stage: stage.to_string(),
                is_up: self.up(role).next().is_some(),
                per_s: self.rate(role, |reading| reading.stages[place].batches.sum()),
                batch: self.grown(role, batches).mean(),
                lag: audit.lags[place].filter(|_| audit.is_there),
                p99_s: self.grown(role, |reading| reading.stages[place].durations.clone()).p99(SECONDS),
                halted: self.latest(role).any(|reading| reading.stages[place].is_halted),
            }
        });
        std::iter::once(border).chain(stages).collect()
    }

    fn role(&self, role: Role) -> LiveRole {
        let instances = self.up(role).count() as u64;
        LiveRole { role, instances, is_up: instances > 0 }
    }
}

#[cfg(test)]
mod tests;
