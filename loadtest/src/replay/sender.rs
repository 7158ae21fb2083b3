//! A connection's work: take the next request, send it when it is due, insist on an answer.

use super::board::Board;
use super::schedule::{Schedule, Slot};
use super::script::Script;
use crate::client::{Connection, Ending, Item, insist, insist_on_all};
use hyper::Uri;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// What all senders share.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// What to send.
    pub(crate) script: Arc<Script>,
    pub(crate) schedule: Arc<Schedule>,
    /// What came of it.
    pub(crate) board: Arc<Board>,
    /// Payments of a request to `/payments/batch`; else each has a request of its own.
    pub(crate) batch: Option<usize>,
}

/// Sends until the schedule has nothing left: one payment a request, or so many.
pub(crate) async fn send(sending: Sending, connection: Connection) {
    match sending.batch {
        None => send_singles(sending, connection).await,
        Some(size) => send_batches(sending, connection, size).await,
    }
}

async fn send_singles(sending: Sending, mut connection: Connection) {
    let Sending { script, schedule, board, .. } = sending;
    let path = Uri::from_static("/payments");
    while let Some(slot) = schedule.take(Instant::now()) {
        wait_until(slot.planned).await;
        board.sending(slot.row, slot.planned);
        let mut retries = 0;
        let ending =
            insist(&mut connection, &path, &script.body(slot.row), || schedule.deadline(), &mut retries)
                .await;
        if !matches!(ending, Ending::GaveUp { .. }) {
            schedule.answered(Instant::now());
        }
        board.answered(slot.row, slot.planned, ending, retries);
    }
}

async fn send_batches(sending: Sending, mut connection: Connection, size: usize) {
    let Sending { script, schedule, board, .. } = sending;
    let path = Uri::from_static("/payments/batch");
    loop {
        let slots = schedule.take_many(Instant::now(), size);
        let Some(last) = slots.last() else { return };
        wait_until(last.planned).await;
        slots.iter().for_each(|slot| board.sending(slot.row, slot.planned));
        let items = slots.iter().map(|slot| Item::new(script.body(slot.row))).collect();
        let ended = |place: usize, ending: Ending, retries: u64| {
            if !matches!(ending, Ending::GaveUp { .. }) {
                schedule.answered(Instant::now());
            }
            let slot: &Slot = &slots[place];
            board.answered(slot.row, slot.planned, ending, retries);
        };
        insist_on_all(&mut connection, &path, items, || schedule.deadline(), ended).await;
    }
}

/// The clock wakes on whole milliseconds, so a send is up to one late; its latency counts that too.
async fn wait_until(planned: Instant) {
    if planned > Instant::now() {
        sleep_until(planned).await;
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
