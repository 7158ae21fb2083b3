//! Publishes accepted payments again that neither a derived stream carries nor the ledger knows.

use super::{ALARM_FROM, Janitor, LOOK_MAX, RoundError};
use domain::{PaymentKey, Timestamp};
use runtime::broker::{BrokerError, Outgoing, Streams};
use std::time::Duration;
use store::JanitorLedger;
use wire::header::Headers;
use wire::{Hop, Stream, Subject};

impl<S: Streams, L: JanitorLedger> Janitor<S, L> {
    pub(super) async fn redrive(&mut self, now: Timestamp, untraced: Vec<u64>) -> Result<(), RoundError> {
        if untraced.is_empty() {
            return Ok(());
        }
        let tokens: Vec<String> = untraced
            .iter()
            .filter_map(|seq| self.window.entry(*seq).map(|entry| entry.token.clone()))
            .collect();
        let carried = self.carried(&tokens, Hop::carrying()).await?;
        let (waiting, candidates): (Vec<u64>, Vec<u64>) = untraced
            .into_iter()
            .partition(|seq| self.window.entry(*seq).is_some_and(|entry| carried.contains(&entry.token)));
        for seq in waiting {
            self.window.look_again(seq, now, self.first_patience());
        }
        let mut count = 0;
        for part in candidates.chunks(LOOK_MAX) {
            // The ledger last: what has moved on since the streams were read has its row by now.
            for (seq, trace) in self.traces(part).await? {
                if trace.is_some() {
                    self.window.look_again(seq, now, Duration::ZERO);
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
        let Some(entry) = self.window.entry(seq).cloned() else {
            return Ok(false);
        };
        let subject = match PaymentKey::from_token(&entry.token) {
            Ok(key) => Subject::of(Hop::Accepted, 0, &key),
            // No payment, so nothing to keep: risk has met it, and its letter, if it was not resolved since,
            // says the rest.
            Err(_) => {
                self.window.recorded(seq, now, Duration::ZERO);
                return Ok(false);
            }
        };
        let Some(stored) =
            self.streams.last(Stream::Accepted, &subject).await?.filter(|stored| stored.seq == seq)
        else {
            self.window.replaced(seq);
            return Ok(false);
        };
        let redrives = entry.redrives.saturating_add(1);
        if redrives >= ALARM_FROM {
            tracing::error!(payment = entry.token, redrives, "a payment is lost again and again");
        }
        let trace = stored.headers.trace;
        let headers = Headers { trace, ..Headers::redriven(redrives, entry.accepted_at) };
        let message = Outgoing { headers, ..Outgoing::new(subject.into_string(), stored.payload) };
        match self.streams.publish(&message).await {
            Ok(()) => {
                self.window.replaced(seq);
                Ok(true)
            }
            // It stays as it is, and is tried again when a purge has made room.
            Err(BrokerError::Full) => Ok(false),
            Err(BrokerError::Refused(reason)) => {
                tracing::error!(payment = entry.token, reason, "a lost payment cannot be driven again");
                self.window.look_again(seq, now, self.patience_max());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
