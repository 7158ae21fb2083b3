//! Publishes accepted payments again that neither a derived stream carries nor the ledger knows.
//!
//! Each takes the place of the very copy that was read: where another copy is there meanwhile, or none, the
//! intake refuses it. So a janitor that stood still, or a second one, drives nothing again that has moved on.

use super::{ALARM_FROM, Janitor, RoundError};
use domain::PaymentKey;
use runtime::broker::{BrokerError, Outgoing, Stored, Streams};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use store::JanitorLedger;
use tokio::time::Instant;
use wire::header::Headers;
use wire::{Hop, Stream, Subject};

/// Payments that are read and driven again at once: some five megabytes of the largest, and the ledger has
/// been asked for them within the time of so many fsyncs.
pub(super) const COPIES_MAX: usize = 256;

impl<S: Streams, L: JanitorLedger> Janitor<S, L> {
    pub(super) async fn redrive(&mut self, now: Instant, untraced: Vec<u64>) -> Result<(), RoundError> {
        if untraced.is_empty() {
            return Ok(());
        }
        let candidates = self.not_carried(untraced, now).await?;
        let mut count = 0;
        let ended = self.drive_in_parts(&candidates, now, &mut count).await;
        if count > 0 {
            tracing::warn!(count, "payments were lost on the way and are driven again");
            self.metrics.redriven(count);
        }
        ended
    }

    /// Those that wait for no stage.
    async fn not_carried(&mut self, seqs: Vec<u64>, now: Instant) -> Result<Vec<u64>, RoundError> {
        let token = |seq: &u64| self.window.entry(*seq).map(|entry| entry.token.clone());
        let carried =
            self.carried(&seqs.iter().filter_map(token).collect::<Vec<_>>(), Hop::carrying()).await?;
        let (waiting, candidates): (Vec<u64>, Vec<u64>) = seqs
            .into_iter()
            .partition(|seq| self.window.entry(*seq).is_some_and(|entry| carried.contains(&entry.token)));
        for seq in waiting {
            self.window.look_again(seq, now, self.first_patience());
        }
        Ok(candidates)
    }

    /// Drives part after part again, and counts. Where the intake is too full for any of a part, the others
    /// have their turn in the next round, before those that found no room.
    async fn drive_in_parts(
        &mut self,
        candidates: &[u64],
        now: Instant,
        count: &mut u64,
    ) -> Result<(), RoundError> {
        for part in candidates.chunks(COPIES_MAX) {
            let copies = self.copies(part, now).await?;
            // The ledger last: what has moved on since the streams were read has its row by now.
            let lost = self.without_trace(copies, now).await?;
            let without_room = self.drive(lost, now, count).await?;
            if without_room > 0 {
                tracing::warn!(
                    count = without_room,
                    "the intake has no room to drive lost payments again: raise pipeline.accepted_bytes_max"
                );
                break;
            }
        }
        Ok(())
    }

    /// What drives these payments again, by the sequences of the copies that the intake has.
    async fn copies(&mut self, seqs: &[u64], now: Instant) -> Result<Vec<(u64, Outgoing)>, RoundError> {
        let subjects = self.subjects(seqs, now);
        let asked: Vec<Subject> = subjects.iter().map(|(_, subject)| subject.clone()).collect();
        let found = self.streams.last_of_each(Stream::Accepted, &asked).await?;
        let mut found: HashMap<String, Stored> =
            found.into_iter().map(|stored| (stored.subject.clone(), stored)).collect();
        let mut copies = Vec::with_capacity(subjects.len());
        for (seq, subject) in subjects {
            let is_it = |stored: &Stored| stored.seq == seq;
            let stored = match found.remove(subject.as_str()).filter(is_it) {
                Some(stored) => Some(stored),
                // The answers of many may be cut short, or a replica's that is behind: that a copy is gone is
                // for the leader to say.
                None => self.streams.last(Stream::Accepted, &subject).await?.filter(is_it),
            };
            match stored {
                Some(stored) => copies.extend(self.copy(stored)),
                None => self.window.replaced(seq),
            }
        }
        Ok(copies)
    }

    /// Where the intake keeps these payments.
    fn subjects(&mut self, seqs: &[u64], now: Instant) -> Vec<(u64, Subject)> {
        let mut subjects = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let Some(entry) = self.window.entry(*seq) else { continue };
            match PaymentKey::from_token(&entry.token) {
                Ok(key) => subjects.push((*seq, Subject::of(Hop::Accepted, 0, &key))),
                // No payment, so nothing to keep: risk has met it, and its letter, if it was not resolved
                // since, says the rest.
                Err(_) => self.window.recorded(*seq, now, Duration::ZERO),
            }
        }
        subjects
    }

    /// The message that takes this one's place, and no other's.
    fn copy(&self, stored: Stored) -> Option<(u64, Outgoing)> {
        let entry = self.window.entry(stored.seq)?;
        let redrives = entry.redrives.saturating_add(1);
        if redrives >= ALARM_FROM {
            tracing::error!(payment = entry.token, redrives, "a payment is lost again and again");
        }
        let trace = stored.headers.trace;
        let headers = Headers { trace, ..Headers::redriven(redrives, entry.accepted_at) };
        let expected_last = Some(stored.seq);
        let message = Outgoing { headers, expected_last, ..Outgoing::new(stored.subject, stored.payload) };
        Some((stored.seq, message))
    }

    /// Those of which the ledger knows nothing.
    async fn without_trace(
        &mut self,
        mut copies: Vec<(u64, Outgoing)>,
        now: Instant,
    ) -> Result<Vec<(u64, Outgoing)>, RoundError> {
        let seqs: Vec<u64> = copies.iter().map(|(seq, _)| *seq).collect();
        let mut traced = HashSet::new();
        for (seq, trace) in self.traces(&seqs).await? {
            if trace.is_some() {
                self.note(seq, trace, now);
                traced.insert(seq);
            }
        }
        copies.retain(|(seq, _)| !traced.contains(seq));
        Ok(copies)
    }

    /// Publishes these, and answers for how many of them the intake is too full. What is stored is counted,
    /// whatever becomes of the others.
    async fn drive(
        &mut self,
        copies: Vec<(u64, Outgoing)>,
        now: Instant,
        count: &mut u64,
    ) -> Result<u64, RoundError> {
        let (seqs, messages): (Vec<u64>, Vec<Outgoing>) = copies.into_iter().unzip();
        let answers = self.streams.publish_singles(&messages).await?;
        let (mut without_room, mut outage) = (0, None);
        for (seq, answer) in seqs.into_iter().zip(answers) {
            match answer {
                Ok(()) => {
                    *count += 1;
                    self.window.replaced(seq);
                }
                // Somebody else drove it again, and the next reading finds that copy; or it was purged.
                Err(BrokerError::Conflict) => self.window.replaced(seq),
                // It is tried again when a purge may have made room, and lets the others come first until then.
                Err(BrokerError::Full) => {
                    without_room += 1;
                    self.window.look_again(seq, now, self.first_patience());
                }
                Err(BrokerError::Refused(reason)) => {
                    let payment = self.window.entry(seq).map(|entry| entry.token.as_str());
                    tracing::error!(payment, reason, "a lost payment cannot be driven again");
                    self.window.look_again(seq, now, self.patience_max());
                }
                Err(error) => outage = outage.or(Some(error)),
            }
        }
        outage.map_or(Ok(without_room), |error| Err(error.into()))
    }
}
