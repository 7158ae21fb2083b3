//! The janitor: purges what is safely recorded, drives again what was lost, emits again what is held and forgotten.
//!
//! It reads in the direction of flow: how far risk has come, then the derived streams, the ledger last. A payment that is
//! neither carried by a stream nor recorded is lost: memory streams vanish with their server. Being wrong here costs work,
//! never money, because reserve answers from the row.

mod emit_again;
mod intake;
mod open_holds;

use crate::faults::chain;
use crate::janitor::intake::Intake;
use domain::{PaymentKey, Timestamp};
use emit_again::LateHolds;
use runtime::broker::{Broker, BrokerError, Outgoing};
use runtime::config::{JanitorConfig, PipelineConfig};
use runtime::drain::Drain;
use runtime::telemetry::Metrics;
use std::collections::HashSet;
use std::time::Duration;
use store::{Store, StoreError, Trace};
use wire::header::Headers;
use wire::{Hop, Stream, Subject, dead_letter};

/// Payments looked for in the ledger at once.
const LOOK_MAX: usize = 5_000;

/// From this many re-drives on someone must hear of it: the payment is never buried for it.
const ALARM_FROM: u32 = 5;

/// A purge rewrites the intake's index: it waits for this many messages or for [`PURGE_EVERY`].
const PURGE_MESSAGES: usize = 10_000;
const PURGE_EVERY: Duration = Duration::from_secs(5);

/// What a round can be stopped by. Each is an outage: the next round begins anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{}", chain(.0))]
    Store(#[from] StoreError),
}

/// The role.
pub(crate) struct Janitor {
    broker: Broker,
    store: Store,
    config: JanitorConfig,
    pipeline: PipelineConfig,
    metrics: Metrics,
    intake: Intake,
    purged_at: Timestamp,
    late: LateHolds,
}

impl Janitor {
    /// A janitor that has read nothing yet.
    pub(crate) fn new(broker: Broker, store: Store, config: JanitorConfig, pipeline: PipelineConfig, metrics: Metrics) -> Janitor {
        let (intake, purged_at) = (Intake::default(), Timestamp::default());
        let late = LateHolds::new(Duration::from_millis(config.redrive_after_ms), Duration::from_millis(config.redrive_after_ms_max));
        Janitor { broker, store, config, pipeline, metrics, intake, purged_at, late }
    }

    /// Works in rounds until the drain begins.
    pub(crate) async fn run(mut self, drain: Drain) {
        while !drain.has_begun() {
            tokio::select! {
                () = drain.begun() => return,
                () = tokio::time::sleep(Duration::from_millis(self.config.every_ms)) => {}
            }
            if let Err(error) = self.round(runtime::clock::now()).await {
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

    async fn round(&mut self, now: Timestamp) -> Result<(), RoundError> {
        self.broker.declare_all(&self.pipeline).await?;
        // Before anything else is read: what risk has not had yet cannot have left a trace.
        let floor = self.broker.progress(Stream::Accepted).await?.map_or(0, |progress| progress.floor);
        self.read().await?;
        let untraced = self.look(now, floor).await?;
        // First, since it makes room: a full intake may refuse even a re-drive.
        self.purge(now).await?;
        self.redrive(now, untraced).await?;
        self.emit_again(now).await
    }

    /// Reads the intake's heads as far as memory allows.
    async fn read(&mut self) -> Result<(), RoundError> {
        if let Some(bounds) = self.broker.bounds(Stream::Accepted).await?
            && bounds.last + 1 < self.intake.next_seq()
        {
            tracing::warn!("the intake begins anew");
            self.intake.clear();
        }
        let room = self.config.window_max.saturating_sub(self.intake.len());
        if room > 0 {
            let heads = self.broker.accepted_heads(self.intake.next_seq(), room).await?;
            self.intake.read(heads, self.first_patience(), self.patience_max());
        }
        Ok(())
    }

    /// Looks for due payments in the ledger, and answers with those that have left no trace.
    async fn look(&mut self, now: Timestamp, floor: u64) -> Result<Vec<u64>, RoundError> {
        let mut untraced = Vec::new();
        let due = self.intake.due(now, floor, self.config.window_max);
        for part in due.chunks(LOOK_MAX) {
            for (seq, trace) in self.traces(part).await? {
                match trace {
                    Some(Trace::Recorded { wait }) => self.intake.recorded(seq, now, wait),
                    // Nothing that dies is driven again; once its letter is old enough the intake may forget it too.
                    Some(Trace::Dead { wait }) if wait.is_zero() => self.intake.recorded(seq, now, wait),
                    Some(Trace::Dead { wait }) => self.intake.look_again(seq, now, wait),
                    None => untraced.push(seq),
                }
            }
        }
        Ok(untraced)
    }

    async fn traces(&self, seqs: &[u64]) -> Result<Vec<(u64, Option<Trace>)>, RoundError> {
        let known: Vec<(u64, (String, String))> =
            seqs.iter().filter_map(|seq| self.intake.entry(*seq).map(|entry| (*seq, dead_letter::key(&entry.token)))).collect();
        let keys: Vec<(String, String)> = known.iter().map(|(_, key)| key.clone()).collect();
        let traces = self.store.traces(&keys, Duration::from_millis(self.config.purge_after_ms)).await?;
        Ok(known.iter().enumerate().map(|(place, (seq, _))| (*seq, traces.get(&place).copied())).collect())
    }

    /// Publishes again what neither a derived stream carries nor the ledger knows.
    async fn redrive(&mut self, now: Timestamp, untraced: Vec<u64>) -> Result<(), RoundError> {
        if untraced.is_empty() {
            return Ok(());
        }
        let tokens: Vec<String> = untraced.iter().filter_map(|seq| self.intake.entry(*seq).map(|entry| entry.token.clone())).collect();
        let carried = self.carried(&tokens, &[Hop::Screened, Hop::Quoted, Hop::Reserved, Hop::Rejected]).await?;
        let (waiting, candidates): (Vec<u64>, Vec<u64>) =
            untraced.into_iter().partition(|seq| self.intake.entry(*seq).is_some_and(|entry| carried.contains(&entry.token)));
        for seq in waiting {
            self.intake.look_again(seq, now, self.first_patience());
        }
        let mut count = 0;
        for part in candidates.chunks(LOOK_MAX) {
            // The ledger last: what has moved on since the streams were read has its row by now.
            for (seq, trace) in self.traces(part).await? {
                if trace.is_some() {
                    self.intake.look_again(seq, now, Duration::ZERO);
                } else if self.redrive_one(seq, now).await? {
                    count += 1;
                }
            }
        }
        if count > 0 {
            tracing::warn!(count, "payments were lost on the way and are driven again");
            self.metrics.redriven(count);
        }
        Ok(())
    }

    async fn redrive_one(&mut self, seq: u64, now: Timestamp) -> Result<bool, RoundError> {
        let Some(entry) = self.intake.entry(seq).cloned() else {
            return Ok(false);
        };
        let subject = match PaymentKey::from_token(&entry.token) {
            Ok(key) => Subject::of(Hop::Accepted, 0, &key),
            // No payment, so nothing to keep: risk has met it, and its letter, if it was not resolved since, says the rest.
            Err(_) => {
                self.intake.recorded(seq, now, Duration::ZERO);
                return Ok(false);
            }
        };
        let Some(stored) = self.broker.last(Stream::Accepted, &subject).await?.filter(|stored| stored.seq == seq) else {
            self.intake.replaced(seq);
            return Ok(false);
        };
        let redrives = entry.redrives.saturating_add(1);
        if redrives >= ALARM_FROM {
            tracing::error!(payment = entry.token, redrives, "a payment is lost again and again");
        }
        let headers = Headers::redriven(redrives, entry.accepted_at);
        let message = Outgoing { headers, ..Outgoing::new(subject.into_string(), stored.payload) };
        match self.broker.publish(&message).await {
            Ok(()) => {
                self.intake.replaced(seq);
                Ok(true)
            }
            // It stays as it is, and is tried again when a purge has made room.
            Err(BrokerError::Full) => Ok(false),
            Err(BrokerError::Refused(reason)) => {
                tracing::error!(payment = entry.token, reason, "a lost payment cannot be driven again");
                self.intake.look_again(seq, now, self.patience_max());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Those payments whose last message in one of these hops is still to be processed.
    async fn carried(&self, tokens: &[String], hops: &[Hop]) -> Result<HashSet<String>, RoundError> {
        let keys: Vec<PaymentKey> = tokens.iter().filter_map(|token| PaymentKey::from_token(token).ok()).collect();
        let mut carried = HashSet::new();
        for hop in hops {
            for shard in 0..self.pipeline.shards {
                let stream = Stream::of(*hop, shard);
                let Some(progress) = self.broker.progress(stream).await? else { continue };
                if progress.pending + progress.in_hand == 0 {
                    continue;
                }
                let subjects: Vec<Subject> = keys.iter().map(|key| Subject::of(*hop, shard, key)).collect();
                let stored = self.broker.last_of_each(stream, &subjects).await?;
                let waiting = stored.iter().filter(|message| message.seq > progress.floor);
                carried.extend(waiting.map(|message| Subject::payment_token(&message.subject).to_owned()));
            }
        }
        Ok(carried)
    }

    async fn purge(&mut self, now: Timestamp) -> Result<(), RoundError> {
        let rested = now.micros() - self.purged_at.micros() >= i64::try_from(PURGE_EVERY.as_micros()).unwrap_or(0);
        let every = Duration::from_millis(self.config.purge_after_ms) < PURGE_EVERY;
        if !(rested || every || self.intake.len() >= PURGE_MESSAGES) {
            return Ok(());
        }
        if let Some((below, count)) = self.intake.purge(now) {
            self.broker.purge_below(Stream::Accepted, below).await?;
            self.purged_at = now;
            tracing::debug!(count, below, "purged the intake");
        }
        Ok(())
    }
}
