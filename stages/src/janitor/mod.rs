//! The janitor: purges what is safely recorded, drives again what was lost, emits again what is held and
//! forgotten.
//!
//! It reads in the direction of flow: how far risk has come, then the derived streams, the ledger last. A
//! payment that is neither carried by a stream nor recorded is lost: memory streams vanish with their server.
//! Being wrong here costs work, never money: reserve answers from the row, what is purged is asked for again,
//! and what is driven again takes the place of the very copy that was read.

mod emit_again;
mod intake_window;
pub(crate) mod observe;
mod open_holds;
mod purge;
mod redrive;

use domain::{PaymentKey, Timestamp};
use emit_again::LateHolds;
use intake_window::IntakeWindow;
use runtime::broker::{BrokerError, Streams};
use runtime::clock::Clock;
use runtime::config::{JanitorConfig, PipelineConfig};
use runtime::drain::Drain;
use runtime::process::chain;
use runtime::telemetry::JanitorMetrics;
use std::collections::HashSet;
use std::time::Duration;
use store::{JanitorLedger, StoreError, Trace};
use tokio::time::Instant;
use wire::{Hop, Stream, Subject, dead_letter};

/// Payments looked for in the ledger at once.
const LOOK_MAX: usize = 5_000;

/// Once about so many payments of a round have left no trace, the others are looked for in the next: driving
/// these again takes some three seconds of fsyncs.
const UNTRACED_MAX: usize = 20_000;

/// From this many re-drives on someone must hear of it: the payment is never buried for it.
const ALARM_FROM: u32 = 5;

/// What a round can be stopped by. Each is an outage: the next round begins anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{}", chain(.0))]
    Store(#[from] StoreError),
}

/// When a round began. What is waited for goes by a clock that never jumps: one that was set an hour ahead, and
/// back, would keep payments from being looked at for an hour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// As it is compared with what servers have written down.
    wall: Timestamp,
    steady: Instant,
}

impl Now {
    fn of(clock: &Clock) -> Now {
        Now { wall: clock.now(), steady: Instant::now() }
    }

    /// How long ago this was; not at all where it is still to come.
    fn since(self, at: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.wall.micros().saturating_sub(at.micros())).unwrap_or(0))
    }
}

/// What it works on, and what it knows of it so far.
pub(crate) struct Janitor<S, L> {
    streams: S,
    ledger: L,
    config: JanitorConfig,
    pipeline: PipelineConfig,
    metrics: JanitorMetrics,
    window: IntakeWindow,
    purged_at: Option<Instant>,
    late: LateHolds,
}

impl<S: Streams, L: JanitorLedger> Janitor<S, L> {
    /// A janitor that has read nothing yet.
    pub(crate) fn new(
        streams: S,
        ledger: L,
        config: JanitorConfig,
        pipeline: PipelineConfig,
        metrics: JanitorMetrics,
    ) -> Janitor<S, L> {
        let (window, purged_at) = (IntakeWindow::default(), None);
        let late = LateHolds::new(
            Duration::from_millis(config.redrive_after_ms),
            Duration::from_millis(config.redrive_after_ms_max),
        );
        Janitor { streams, ledger, config, pipeline, metrics, window, purged_at, late }
    }

    /// Works in rounds until the drain begins.
    pub(crate) async fn run(mut self, clock: Clock, drain: Drain) {
        while drain.sleep(Duration::from_millis(self.config.every_ms)).await {
            if let Err(error) = self.round(Now::of(&clock)).await {
                tracing::warn!(%error, "the janitor waits");
            }
        }
    }

    fn first_patience(&self) -> Duration {
        Duration::from_millis(self.config.redrive_after_ms)
    }

    fn patience_max(&self) -> Duration {
        Duration::from_millis(self.config.redrive_after_ms_max)
    }

    async fn round(&mut self, now: Now) -> Result<(), RoundError> {
        self.streams.declare_all(&self.pipeline).await?;
        // Before anything else is read: what risk has not had yet cannot have left a trace.
        let floor = self.streams.progress(Stream::Accepted).await?.map_or(0, |progress| progress.floor);
        self.read(now).await?;
        let untraced = self.look(now.steady, floor).await?;
        // First, since it makes room: a full intake may refuse even a re-drive.
        self.purge(now.steady).await?;
        self.redrive(now.steady, untraced).await?;
        self.emit_again(now).await
    }

    /// Reads the intake's heads as far as memory allows.
    async fn read(&mut self, now: Now) -> Result<(), RoundError> {
        if let Some(bounds) = self.streams.bounds(Stream::Accepted).await?
            && self.window.is_of_another(&bounds)
        {
            tracing::warn!("the intake begins anew");
            self.window.clear();
        }
        let room = self.config.window_max.saturating_sub(self.window.len());
        if room > 0 {
            let heads = self.streams.accepted_heads(self.window.next_seq(), room).await?;
            // Only now: these follow what was read before only in the intake that it was read from.
            if !heads.is_empty()
                && let Some(newest) = self.window.newest_seq()
                && !self.is_as_read(newest).await?
            {
                tracing::warn!(newest, "the intake is another one than was read: it is read anew");
                self.window.clear();
                return Ok(());
            }
            self.window.read(heads, now, self.first_patience(), self.patience_max());
        }
        Ok(())
    }

    /// Looks for due payments in the ledger, and answers with those that have left no trace.
    async fn look(&mut self, now: Instant, floor: u64) -> Result<Vec<u64>, RoundError> {
        let mut untraced = Vec::new();
        let due = self.window.due(now, floor, self.config.window_max);
        for part in due.chunks(LOOK_MAX) {
            if untraced.len() >= UNTRACED_MAX {
                break;
            }
            for (seq, trace) in self.traces(part).await? {
                self.note(seq, trace, now);
                if trace.is_none() {
                    untraced.push(seq);
                }
            }
        }
        Ok(untraced)
    }

    /// Keeps in mind what the ledger says of a payment.
    fn note(&mut self, seq: u64, trace: Option<Trace>, now: Instant) {
        match trace {
            Some(Trace::Recorded { wait }) => self.window.recorded(seq, now, wait),
            // Nothing that dies is driven again; once its letter is old enough the intake may forget it too.
            Some(Trace::Dead { wait }) => self.window.dead(seq, now, wait, self.first_patience()),
            None => self.window.look_again(seq, now, Duration::ZERO),
        }
    }

    async fn traces(&self, seqs: &[u64]) -> Result<Vec<(u64, Option<Trace>)>, RoundError> {
        let known: Vec<(u64, (String, String))> = seqs
            .iter()
            .filter_map(|seq| self.window.entry(*seq).map(|entry| (*seq, dead_letter::key(&entry.token))))
            .collect();
        let keys: Vec<(String, String)> = known.iter().map(|(_, key)| key.clone()).collect();
        let traces = self.ledger.traces(&keys, Duration::from_millis(self.config.purge_after_ms)).await?;
        Ok(known.iter().enumerate().map(|(place, (seq, _))| (*seq, traces.get(&place).copied())).collect())
    }

    /// Those payments whose last message in one of these hops is still to be processed.
    async fn carried(
        &self,
        tokens: &[String],
        hops: impl Iterator<Item = Hop>,
    ) -> Result<HashSet<String>, RoundError> {
        let keys: Vec<PaymentKey> =
            tokens.iter().filter_map(|token| PaymentKey::from_token(token).ok()).collect();
        let mut carried = HashSet::new();
        for hop in hops {
            for shard in 0..self.pipeline.shards {
                let stream = Stream::of(hop, shard);
                let Some(progress) = self.streams.progress(stream).await? else { continue };
                if progress.pending + progress.in_hand == 0 {
                    continue;
                }
                let subjects: Vec<Subject> = keys.iter().map(|key| Subject::of(hop, shard, key)).collect();
                let stored = self.streams.last_of_each(stream, &subjects).await?;
                let waiting = stored.iter().filter(|message| message.seq > progress.floor);
                carried.extend(waiting.map(|message| Subject::payment_token(&message.subject).to_owned()));
            }
        }
        Ok(carried)
    }
}

#[cfg(test)]
mod tests;
