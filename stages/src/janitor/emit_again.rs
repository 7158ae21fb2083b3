//! Emits held payments again that no message leads to settle any more.
//!
//! Rows are read once when they are old enough to be late, and once more when none of that age can still be
//! uncommitted. What is open then is remembered, here and in the ledger, and looked at by key, ever less
//! often, until it ends.

use super::{ALARM_FROM, Janitor, LOOK_MAX, Now, RoundError, chain};
use crate::janitor::open_holds::OpenHolds;
use domain::facts::RecordState;
use domain::{PaymentKey, PaymentRecord, StageName, Timestamp};
use runtime::broker::{BrokerError, Outgoing, Streams};
use std::collections::HashMap;
use std::time::Duration;
use store::JanitorLedger;
use tokio::time::Instant;
use wire::header::Headers;
use wire::{Hop, HopMessage};

/// Rows that one step of a scan reads.
const PAGE_ROWS: u32 = 10_000;

/// Steps of each scan in a round, so that a janitor that starts on millions of rows spreads them over its
/// rounds.
const PAGES_MAX: usize = 3;

/// The scans wait while so many holds are late: three times what the stream before settle carries, and some
/// fifty megabytes. What is not read then is later, not lost.
const HOLDS_MAX: usize = 200_000;

/// Payments whose rows are read and published at once. A row can have 16 KiB of text.
const EMIT_MAX: usize = 512;

/// What the janitor keeps in mind of late holds.
pub(super) struct LateHolds {
    open: OpenHolds,
    scans: Option<Scans>,
}

/// How far the scans have come.
#[derive(Debug, Clone, Copy)]
struct Scans {
    late: Timestamp,
    young: Timestamp,
    /// What the ledger said of it last. It goes back with the ledger alone.
    watermark: Timestamp,
    /// When the lines are read anew. Of a ledger on which nothing happens the watermark stands still, so it
    /// is the same in an older state, which may have lines of holds that have ended since.
    read_lines_at: Instant,
}

impl LateHolds {
    /// Nothing has been read yet.
    pub(super) fn new(patience_first: Duration, patience_max: Duration) -> LateHolds {
        LateHolds { open: OpenHolds::new(patience_first, patience_max), scans: None }
    }
}

impl<S: Streams, L: JanitorLedger> Janitor<S, L> {
    pub(super) async fn emit_again(&mut self, now: Now) -> Result<(), RoundError> {
        // Whatever a scan fails of, those that are known are cared for.
        let scanned = self.scan(now.steady).await;
        let due = self.late.open.due(now.steady, LOOK_MAX);
        if !due.is_empty() {
            let lost = self.without_message(due, now.steady).await?;
            self.emit(lost, now.steady).await?;
        }
        self.tell_oldest(now).await?;
        scanned
    }

    /// Remembers the holds that have become late since the last round.
    async fn scan(&mut self, now: Instant) -> Result<(), RoundError> {
        // First: what is written after this is found by the scan, too.
        let watermark = self.ledger.holds_watermark().await?;
        let mut scans = match self.late.scans {
            Some(scans) if watermark < scans.watermark => {
                tracing::warn!(%watermark, "the ledger is an older one: its late holds are looked for anew");
                self.begin(watermark, now).await?
            }
            Some(scans) if now < scans.read_lines_at => Scans { watermark, ..scans },
            _ => self.begin(watermark, now).await?,
        };
        self.late.scans = Some(scans);
        let age = self.first_patience();
        for number in 0..PAGES_MAX {
            if !self.has_room() {
                return Ok(());
            }
            let page = self.ledger.late_holds(scans.late, age, PAGE_ROWS, scans.watermark).await?;
            self.late.open.remember(page.holds, true, now);
            // As this very step has left it: a ledger that is set back after it has an older one.
            let watermark = page.watermark.unwrap_or(scans.watermark);
            if watermark < scans.watermark {
                tracing::warn!(%watermark, "the ledger has become an older one: the next round begins anew");
                self.late.scans = None;
                return Ok(());
            }
            scans.watermark = watermark;
            scans.late = page.read_to;
            self.late.scans = Some(scans);
            if !page.is_full {
                break;
            }
            tracing::debug!(number, read_to = %page.read_to, "more rows wait for the late scan");
        }
        for _ in 0..PAGES_MAX {
            if !self.has_room() {
                return Ok(());
            }
            let page = self.ledger.young_holds(scans.young, age, PAGE_ROWS).await?;
            self.late.open.remember(page.holds, false, now);
            scans.young = page.read_to;
            self.late.scans = Some(scans);
            if !page.is_full {
                break;
            }
        }
        Ok(())
    }

    /// What the ledger remembers, and the scans from where those that wrote it stood.
    async fn begin(&mut self, watermark: Timestamp, now: Instant) -> Result<Scans, RoundError> {
        let mut last = None;
        loop {
            let holds = self.ledger.remembered_holds(last.as_ref(), PAGE_ROWS).await?;
            let Some(hold) = holds.last() else { break };
            last = Some(hold.key.clone());
            self.late.open.remember(holds, true, now);
        }
        tracing::info!(holds = self.late.open.len(), from = %watermark, "late holds are looked for");
        let read_lines_at = now + self.patience_max();
        Ok(Scans { late: watermark, young: watermark, watermark, read_lines_at })
    }

    fn has_room(&self) -> bool {
        let has_room = self.late.open.len() < HOLDS_MAX;
        if !has_room {
            tracing::error!(holds = HOLDS_MAX, "so many holds are late that no more are looked for");
        }
        has_room
    }

    /// Those of these holds that are still open and not buried, and whose message is nowhere on its way to
    /// settle.
    async fn without_message(
        &mut self,
        due: Vec<PaymentKey>,
        now: Instant,
    ) -> Result<Vec<PaymentKey>, RoundError> {
        let tokens: Vec<String> = due.iter().map(PaymentKey::token).collect();
        let carried = self.carried(&tokens, [Hop::Reserved].into_iter()).await?;
        let (waiting, missing): (Vec<_>, Vec<_>) =
            due.into_iter().zip(tokens).partition(|(_, token)| carried.contains(token));
        for (key, _) in waiting {
            self.late.open.wait(&key, now);
        }
        // The ledger last: what has moved on since the streams were read has ended by now.
        self.still_open(missing.into_iter().map(|(key, _)| key).collect(), now).await
    }

    /// Those of these holds that are still open and not buried. The others are forgotten, or put off.
    async fn still_open(
        &mut self,
        keys: Vec<PaymentKey>,
        now: Instant,
    ) -> Result<Vec<PaymentKey>, RoundError> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let held = self.ledger.still_held(&keys).await?;
        let (open, ended): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| held.contains_key(key));
        let lines = self.late.open.with_lines(&ended);
        if !lines.is_empty() {
            self.ledger.forget_holds(&lines).await?;
        }
        self.late.open.forget(&ended);
        let (dead, alive): (Vec<_>, Vec<_>) = open.into_iter().partition(|key| held.get(key) == Some(&true));
        for key in &dead {
            self.late.open.set_dead(key, true);
            self.late.open.wait(key, now);
        }
        for key in &alive {
            self.late.open.set_dead(key, false);
        }
        Ok(alive)
    }

    async fn emit(&mut self, keys: Vec<PaymentKey>, now: Instant) -> Result<(), RoundError> {
        let mut count = 0;
        let ended = self.emit_in_parts(&keys, now, &mut count).await;
        if count > 0 {
            tracing::warn!(count, "held payments were forgotten on the way and are emitted again");
        }
        ended
    }

    async fn emit_in_parts(
        &mut self,
        keys: &[PaymentKey],
        now: Instant,
        count: &mut u64,
    ) -> Result<(), RoundError> {
        let mut is_full = false;
        for part in keys.chunks(EMIT_MAX) {
            if is_full {
                // Settle is behind with what others carry to it.
                part.iter().for_each(|key| self.late.open.wait(key, now));
            } else {
                let records = self.readable(part).await?;
                let messages =
                    part.iter().filter_map(|key| self.message(key, records.get(key), now)).collect();
                is_full = self.publish(messages, now, count).await?;
            }
        }
        Ok(())
    }

    /// What reserve would tell of a hold; nothing where its row says that there is none, or cannot be told.
    fn message(
        &mut self,
        key: &PaymentKey,
        record: Option<&PaymentRecord>,
        now: Instant,
    ) -> Option<(PaymentKey, Outgoing)> {
        let record = match record {
            Some(record) if matches!(record.state, RecordState::Reserved(_)) => record,
            // It has ended just now, and is still due: the next round forgets it.
            Some(_) => return None,
            None => {
                self.late.open.put_off(key, now);
                return None;
            }
        };
        let message = HopMessage::of_record(record.clone(), StageName::Reserve);
        let written =
            message.and_then(|message| Some((message.route(self.pipeline.shards).1, message.encode().ok()?)));
        let Some((subject, payload)) = written else {
            tracing::error!(payment = %key.id, "a held payment cannot be written");
            self.late.open.put_off(key, now);
            return None;
        };
        let headers = Headers { trace: record.trace, ..Headers::default() };
        Some((key.clone(), Outgoing { headers, ..Outgoing::new(subject.into_string(), payload) }))
    }

    /// Publishes these; whether the stream is too full for any of them. What is stored is counted, whatever
    /// becomes of the others.
    async fn publish(
        &mut self,
        messages: Vec<(PaymentKey, Outgoing)>,
        now: Instant,
        count: &mut u64,
    ) -> Result<bool, RoundError> {
        let (keys, messages): (Vec<PaymentKey>, Vec<Outgoing>) = messages.into_iter().unzip();
        let answers = self.streams.publish_singles(&messages).await?;
        let (mut is_full, mut outage) = (false, None);
        for (key, answer) in keys.iter().zip(answers) {
            match answer {
                Ok(()) => {
                    *count += 1;
                    self.metrics.emitted_again();
                    let times = self.late.open.put_off(key, now) + 1;
                    if times >= ALARM_FROM {
                        tracing::error!(payment = %key.id, times, "a held payment is forgotten again and again");
                    }
                }
                Err(BrokerError::Full) => {
                    self.late.open.wait(key, now);
                    is_full = true;
                }
                // For good, as far as anyone knows: the other holds must not wait for this one.
                Err(BrokerError::Refused(reason)) => {
                    tracing::error!(payment = %key.id, reason, "a held payment cannot be emitted again");
                    self.late.open.put_off(key, now);
                }
                Err(error) => outage = outage.or(Some(error)),
            }
        }
        outage.map_or(Ok(is_full), |error| Err(error.into()))
    }

    /// The rows of these holds. One that this build does not understand does not keep the others from being
    /// read.
    async fn readable(&self, keys: &[PaymentKey]) -> Result<HashMap<PaymentKey, PaymentRecord>, RoundError> {
        match self.ledger.records(keys).await {
            Err(error) if !error.is_outage() => {}
            answer => return Ok(answer?),
        }
        let mut records = HashMap::new();
        for key in keys {
            match self.ledger.records(std::slice::from_ref(key)).await {
                Err(error) if !error.is_outage() => {
                    tracing::error!(payment = %key.id, error = chain(&error), "a held payment cannot be read");
                }
                answer => records.extend(answer?),
            }
        }
        Ok(records)
    }

    /// Puts the age of the oldest hold that is late on the metrics. Most looks at a hold lie further apart
    /// than rounds: the oldest is looked at now, and when it has ended, as many others as a round may.
    async fn tell_oldest(&mut self, now: Now) -> Result<(), RoundError> {
        for looks in [1, LOOK_MAX] {
            let oldest = self.late.open.oldest(looks);
            let first = oldest.first().cloned();
            let open = self.still_open(oldest, now.steady).await?;
            if first.is_none() || open.first() == first.as_ref() {
                break;
            }
        }
        let held_at = self.late.open.oldest_held_at();
        self.metrics.oldest_open_hold(held_at.map_or(Duration::ZERO, |held_at| now.since(held_at)));
        Ok(())
    }
}
