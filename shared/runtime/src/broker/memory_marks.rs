//! How far a consumer in memory has come: its floors, and what they move by. A purge below what is open leaves
//! the server with two of them.

use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// No message from this sequence on was ever delivered.
    pub(super) next: u64,
    /// Deliveries so far.
    pub(super) deliveries: u64,
    /// By what the server itself goes: after a purge it may stay behind what it tells and writes down.
    pub(super) floor: Floor,
    pub(super) told: Floor,
    /// What it tells as the last message that was delivered.
    pub(super) told_last: u64,
}

/// Everything up to a sequence is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    pub(super) seq: u64,
    /// The first delivery of what is open has a higher number.
    pub(super) delivery: u64,
}

impl Marks {
    /// Everything before a sequence is done with, after so many deliveries.
    pub(super) fn all_done_below(next: u64, deliveries: u64) -> Marks {
        let floor = Floor { seq: next - 1, delivery: deliveries };
        Marks { next, deliveries, floor, told: floor, told_last: next - 1 }
    }

    /// A message is not open any more.
    pub(super) fn close(&mut self, closed: Floor, open: &BTreeMap<u64, Open>) {
        let last = |seq| Floor { seq, delivery: self.deliveries };
        let (own, told) = (last(self.next - 1), last(self.told_last));
        self.floor.close(closed, open, own);
        self.told.close(closed, open, told);
    }
}

impl Floor {
    /// A message is not open any more: the floor moves up to the lowest that is, if this was the lowest. With
    /// nothing open it is where the last delivery was.
    fn close(&mut self, closed: Floor, open: &BTreeMap<u64, Open>, last: Floor) {
        if open.is_empty() {
            *self = last;
        } else if closed.delivery == self.delivery + 1 {
            let lowest = open.range(closed.seq + 1..).next();
            *self = lowest.map_or(closed, |(seq, open)| Floor { seq: seq - 1, delivery: open.delivery - 1 });
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// The number of its first delivery.
    pub(super) delivery: u64,
    pub(super) attempts: u64,
    pub(super) due: Instant,
    /// Its place among what comes again at once.
    pub(super) place: Option<u64>,
}
