//! Status is always true: the ledger first, then the intake, each asked itself and never remembered.
//!
//! A payment exists if the ledger or the intake has it. The janitor purges the intake at the earliest a
//! minute after the ledger has the payment, longer than any request lives, so reading in this order never
//! misses one.

use crate::view::PaymentView;
use domain::PaymentKey;
use domain::facts::RecordState;
use runtime::broker::{BrokerError, Stored, Streams};
use runtime::process::chain;
use std::collections::HashMap;
use store::{BorderLedger, OpenDeadLetter, StatusRow};
use wire::message::{PaymentAccepted, PaymentQuoted, PaymentReserved, PaymentScreened};
use wire::{Code, Hop, Problem, Stream, Subject, envelope};

/// Reads the status of payments.
#[derive(Clone)]
pub(crate) struct StatusReader<B, L> {
    pub(crate) ledger: L,
    /// The intake and the derived streams.
    pub(crate) streams: B,
    /// Of the derived streams.
    pub(crate) shards: u16,
}

fn silent(what: &str, cause: String) -> Problem {
    Problem::new(Code::Unavailable, format!("{what} does not answer, so the status is not known"))
        .because(cause)
}

impl<B: Streams, L: BorderLedger> StatusReader<B, L> {
    /// The payment's status; nothing when ledger and intake both say that there is none.
    pub(crate) async fn read(&self, key: &PaymentKey) -> Result<Option<PaymentView>, Problem> {
        let row = self.ledger.status(key).await.map_err(|error| silent("the ledger", chain(&error)))?;
        if let Some(view) = recorded_view(key, &row) {
            return Ok(Some(view));
        }
        let accepted = self
            .streams
            .last(Stream::Accepted, &Subject::of(Hop::Accepted, 0, key))
            .await
            .map_err(|error| outage(&error))?;
        match accepted {
            None => Ok(None),
            Some(accepted) => self.pending(key, &accepted).await.map(Some),
        }
    }

    /// The statuses of those payments that the ledger has anything of, in one look.
    pub(crate) async fn recorded(
        &self,
        keys: &[PaymentKey],
    ) -> Result<HashMap<PaymentKey, PaymentView>, Problem> {
        let rows = self.ledger.statuses(keys).await.map_err(|error| silent("the ledger", chain(&error)))?;
        let view = |(key, row)| recorded_view(&key, &row).map(|view| (key, view));
        Ok(rows.into_iter().filter_map(view).collect())
    }

    /// How a payment has ended; nothing while it has not.
    pub(crate) async fn ended(&self, key: &PaymentKey) -> Result<Option<PaymentView>, Problem> {
        let row = self.ledger.status(key).await.map_err(|error| silent("the ledger", chain(&error)))?;
        let view = row.record.as_ref().map(PaymentView::of_record);
        Ok(view.filter(PaymentView::is_final))
    }

    /// A payment that is on its way: as far as the furthest derived message says.
    async fn pending(&self, key: &PaymentKey, accepted: &Stored) -> Result<PaymentView, Problem> {
        let Ok(PaymentAccepted { payment, .. }) = envelope::decode(&accepted.payload) else {
            return Ok(PaymentView::unreadable(key.id.as_str(), Hop::Accepted.as_str()));
        };
        let shard = payment.source_key().shard(self.shards);
        let view = PaymentView::pending(&payment)
            .at(Hop::Accepted, accepted.accepted_at())
            .redriven(accepted.headers.redrive.map_or(0, |redrive| redrive.times))
            .traced(accepted.headers.trace);
        for (hop, read) in readers() {
            let stored = self
                .streams
                .last(Stream::of(hop, shard), &Subject::of(hop, shard, key))
                .await
                .map_err(|error| outage(&error))?;
            if let Some(further) = stored.and_then(|stored| read(&view, &stored.payload)) {
                return Ok(further);
            }
        }
        Ok(view)
    }
}

fn outage(error: &BrokerError) -> Problem {
    silent("the intake", error.to_string())
}

/// The view with what a derived message adds; nothing when the message cannot be read.
type Reader = fn(&PaymentView, &[u8]) -> Option<PaymentView>;

/// Of those hops that have any, the furthest first.
fn readers() -> impl Iterator<Item = (Hop, Reader)> {
    Hop::ALL.into_iter().rev().filter_map(|hop| Some((hop, reader(hop)?)))
}

/// What reads the messages of a hop that a pending payment may have behind it.
fn reader(hop: Hop) -> Option<Reader> {
    match hop {
        Hop::Screened => Some(|view, payload| {
            let message: PaymentScreened = envelope::decode(payload).ok()?;
            Some(view.clone().screened(&message.screening))
        }),
        Hop::Quoted => Some(|view, payload| {
            let message: PaymentQuoted = envelope::decode(payload).ok()?;
            Some(view.clone().screened(&message.screening).quoted(&message.quote))
        }),
        Hop::Reserved => Some(|view, payload| {
            let message: PaymentReserved = envelope::decode(payload).ok()?;
            Some(
                view.clone()
                    .screened(&message.screening)
                    .quoted(&message.quote)
                    .at(Hop::Reserved, message.reserved_at),
            )
        }),
        // Every pending payment has the first behind it, and how one has ended is for the ledger to tell.
        Hop::Accepted | Hop::Rejected | Hop::Finished => None,
    }
}

/// What the ledger says of a payment, if it has anything of it.
fn recorded_view(key: &PaymentKey, row: &StatusRow) -> Option<PaymentView> {
    let Some(record) = &row.record else {
        return row.dead.as_ref().map(|letter| dead_view(key, letter));
    };
    let view = PaymentView::of_record(record);
    let letter = row.dead.as_ref().filter(|_| matches!(record.state, RecordState::Reserved(_)));
    Some(letter.into_iter().fold(view, |view, letter| view.dead(letter.at)))
}

/// A payment without a row that was buried. The letter keeps the message, whichever it was: all carry the payment,
/// and all but the first what has become of it before.
fn dead_view(key: &PaymentKey, letter: &OpenDeadLetter) -> PaymentView {
    let view = match envelope::decode::<PaymentAccepted>(&letter.payload) {
        Ok(accepted) => PaymentView::pending(&accepted.payment),
        Err(_) => PaymentView::unreadable(key.id.as_str(), Hop::Accepted.as_str()),
    };
    let before = envelope::decode::<PaymentScreened>(&letter.payload).map(|message| {
        let accepted = view.clone().at(Hop::Accepted, message.facts.accepted_at);
        readers().find_map(|(_, read)| read(&accepted, &letter.payload))
    });
    before.ok().flatten().unwrap_or(view).dead(letter.at)
}

#[cfg(test)]
#[path = "status_tests.rs"]
pub(crate) mod tests;
