//! A connection's work: take the next request, send it when it is due, insist on an answer.

use super::board::Board;
use super::schedule::Schedule;
use super::script::Script;
use crate::client::{Connection, Ending, insist};
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
}

/// Sends until the schedule has nothing left.
pub(crate) async fn send(sending: Sending, mut connection: Connection) {
    let Sending { script, schedule, board } = sending;
    let path = Uri::from_static("/payments");
    while let Some(slot) = schedule.take(Instant::now()) {
        if slot.planned > Instant::now() {
            // The clock wakes on whole milliseconds, so a send is up to one late; its latency counts that
            // too.
            sleep_until(slot.planned).await;
        }
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

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
