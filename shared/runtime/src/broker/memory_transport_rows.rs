//! What a consumer does, step by step: the streams in memory and a server are held to the same rows.

use super::Do::*;
use super::{NEVER_MS, Row};
use wire::Stream;

const INTAKE: Row<'static> = Row {
    name: "",
    stream: Stream::Accepted,
    ack_wait_ms: NEVER_MS,
    ack_pending_max: 100,
    batch_max: 50,
    steps: &[],
};

pub(super) const ROWS: &[Row<'_>] = &[
    Row {
        name: "in order, and the floor is below the lowest that is open",
        steps: &[
            (Publish(&["A", "B", "C", "D"]), Some((0, None, 4, 0))),
            (Take(&[(1, 1), (2, 1)]), Some((0, Some(4), 0, 4))),
            (Take(&[(3, 1), (4, 1)]), Some((0, Some(4), 0, 4))),
            (Acknowledge(&[2]), Some((0, Some(4), 0, 3))),
            (Acknowledge(&[0]), Some((1, Some(4), 0, 2))),
            (Acknowledge(&[3]), Some((1, Some(4), 0, 1))),
            (Publish(&["E"]), Some((1, Some(5), 0, 2))),
            (Acknowledge(&[1, 1]), Some((4, Some(5), 0, 1))),
            (Take(&[(5, 1)]), Some((4, Some(5), 0, 1))),
            (Acknowledge(&[4]), Some((5, Some(5), 0, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "what nothing is heard of comes again before what is new, until any delivery is acknowledged",
        ack_wait_ms: 200,
        batch_max: 1,
        steps: &[
            (Publish(&["A"]), Some((0, None, 1, 0))),
            (Take(&[(1, 1)]), Some((0, Some(1), 0, 1))),
            (Publish(&["B"]), Some((0, Some(1), 1, 1))),
            (WaitOut, Some((0, Some(1), 1, 1))),
            (Take(&[(1, 2)]), Some((0, Some(1), 1, 1))),
            (WaitOut, Some((0, Some(1), 1, 1))),
            (Take(&[(1, 3)]), Some((0, Some(1), 1, 1))),
            (Acknowledge(&[0]), Some((1, Some(1), 1, 0))),
            (Take(&[(2, 1)]), Some((1, Some(2), 0, 1))),
            (Take(&[(2, 2)]), Some((1, Some(2), 0, 1))),
            (Acknowledge(&[3]), Some((2, Some(2), 0, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is postponed comes again after its time, and holds the floor",
        steps: &[
            (Publish(&["A", "B", "C"]), Some((0, None, 3, 0))),
            (Take(&[(1, 1), (2, 1), (3, 1)]), Some((0, Some(3), 0, 3))),
            (Postpone(&[(0, 1_500), (1, 50)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[2]), Some((0, Some(3), 0, 2))),
            (Take(&[(2, 2)]), Some((0, Some(3), 0, 2))),
            (Postpone(&[(1, 0)]), Some((0, Some(3), 0, 2))),
            (Take(&[(2, 3), (1, 2)]), Some((0, Some(3), 0, 2))),
            (Acknowledge(&[1, 0]), Some((3, Some(3), 0, 0))),
            (Postpone(&[(4, 0)]), Some((3, Some(3), 0, 0))),
            (Publish(&["D"]), Some((3, Some(4), 0, 1))),
            (Take(&[(4, 1)]), Some((3, Some(4), 0, 1))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is kept does not come again",
        ack_wait_ms: 2_000,
        steps: &[
            (Publish(&["A", "B"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(2), 0, 2))),
            (Keep(&[0], 6, 500), Some((0, Some(2), 0, 2))),
            (Publish(&["C"]), Some((0, Some(3), 0, 3))),
            (Take(&[(2, 1), (3, 1)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[0, 1, 2]), Some((3, Some(3), 0, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is given back comes again at once, with what lay ahead",
        steps: &[
            (Publish(&["A", "B", "C"]), Some((0, None, 3, 0))),
            (Take(&[(1, 1)]), Some((0, Some(3), 0, 3))),
            (GiveBack(&[0]), Some((0, Some(3), 0, 3))),
            (Ended, Some((0, Some(3), 0, 3))),
            (Reopen, Some((0, Some(3), 0, 3))),
            // The first of them may have been sent to the input that leaves, and back.
            (TakeAll(&[(1, 2), (2, 2), (3, 2)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[0]), Some((1, Some(3), 0, 2))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is let go of comes again only after its time",
        ack_wait_ms: 1_500,
        steps: &[
            (Publish(&["A"]), Some((0, None, 1, 0))),
            (Take(&[(1, 1)]), Some((0, Some(1), 0, 1))),
            (Publish(&["B"]), Some((0, Some(2), 0, 2))),
            (Close, Some((0, Some(2), 0, 2))),
            (Ended, Some((0, Some(2), 0, 2))),
            (Acknowledge(&[0]), Some((1, Some(2), 0, 1))),
            (Reopen, Some((1, Some(2), 0, 1))),
            (Take(&[(2, 2)]), Some((1, Some(2), 0, 1))),
        ],
        ..INTAKE
    },
    Row {
        name: "no more is open than may be, and what comes again is not held up by that",
        ack_pending_max: 2,
        steps: &[
            (Publish(&["A", "B", "C", "D"]), Some((0, None, 4, 0))),
            (Take(&[(1, 1), (2, 1)]), Some((0, Some(2), 2, 2))),
            (Postpone(&[(0, 10)]), Some((0, Some(2), 2, 2))),
            (Take(&[(1, 2)]), Some((0, Some(2), 2, 2))),
            (Acknowledge(&[1]), Some((0, Some(3), 1, 2))),
            (Take(&[(3, 1)]), Some((0, Some(3), 1, 2))),
            (Acknowledge(&[0]), Some((2, Some(4), 0, 2))),
            (Take(&[(4, 1)]), Some((2, Some(4), 0, 2))),
        ],
        ..INTAKE
    },
    Row {
        name: "half a batch is fetched ahead",
        batch_max: 4,
        steps: &[
            (Publish(&["A", "B", "C", "D", "E", "F", "G", "H", "I"]), Some((0, None, 9, 0))),
            (Take(&[(1, 1)]), Some((0, Some(4), 5, 4))),
            (Take(&[(2, 1), (3, 1)]), Some((0, Some(8), 1, 8))),
            (Take(&[(4, 1), (5, 1), (6, 1), (7, 1)]), Some((0, Some(9), 0, 9))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is purged is not open any more, and the floor waits for the rest",
        steps: &[
            (Publish(&["A", "B", "C", "D", "E", "F"]), Some((0, None, 6, 0))),
            (Take(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]), Some((0, Some(6), 0, 6))),
            (Acknowledge(&[2]), Some((0, Some(6), 0, 5))),
            (PurgeBelow(3), Some((3, Some(6), 0, 3))),
            (Acknowledge(&[0, 3]), Some((4, Some(6), 0, 2))),
            (Acknowledge(&[5]), Some((4, Some(6), 0, 1))),
            (PurgeBelow(5), Some((4, Some(6), 0, 1))),
            (Acknowledge(&[4]), Some((6, Some(6), 0, 0))),
            (Publish(&["G"]), Some((6, Some(7), 0, 1))),
            (PurgeBelow(8), Some((7, Some(7), 0, 0))),
            (Publish(&["H"]), Some((7, Some(8), 0, 1))),
            (Take(&[(7, 1), (8, 1)]), Some((7, Some(8), 0, 1))),
        ],
        ..INTAKE
    },
    Row {
        name: "what is purged before it is delivered never is",
        batch_max: 1,
        steps: &[
            (Publish(&["A", "B", "C", "D"]), Some((0, None, 4, 0))),
            (PurgeBelow(2), Some((1, None, 3, 0))),
            (Take(&[(2, 1)]), Some((1, Some(2), 2, 1))),
            (PurgeBelow(4), Some((3, Some(3), 1, 0))),
            (Acknowledge(&[0]), Some((3, Some(3), 1, 0))),
            (Take(&[(4, 1)]), Some((3, Some(4), 0, 1))),
        ],
        ..INTAKE
    },
    Row {
        name: "a purge sends what was to come at once back to its time",
        ack_wait_ms: 2_000,
        batch_max: 1,
        steps: &[
            (Publish(&["A", "B"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(1), 1, 1))),
            (WaitOut, Some((0, Some(1), 1, 1))),
            (PurgeBelow(1), Some((0, Some(1), 1, 1))),
            (Take(&[(2, 1)]), Some((0, Some(2), 0, 2))),
        ],
        ..INTAKE
    },
    Row {
        name: "what another took the place of counts as acknowledged, and never comes if it has not yet",
        batch_max: 1,
        steps: &[
            (Publish(&["A", "B"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(1), 1, 1))),
            (Publish(&["B"]), Some((0, Some(1), 1, 1))),
            (Publish(&["A"]), Some((1, Some(1), 2, 0))),
            (Take(&[(3, 1), (4, 1)]), Some((1, Some(4), 0, 2))),
            (Acknowledge(&[0]), Some((1, Some(4), 0, 2))),
            (Acknowledge(&[2]), Some((1, Some(4), 0, 1))),
            (Acknowledge(&[1]), Some((4, Some(4), 0, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "a consumer that is declared again delivers everything that is there",
        steps: &[
            (Publish(&["A", "B", "C"]), Some((0, None, 3, 0))),
            (Take(&[(1, 1), (2, 1)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[0]), Some((1, Some(3), 0, 2))),
            (LoseConsumer, None),
            (Take(&[(3, 1)]), None),
            (Ended, None),
            (Acknowledge(&[1]), None),
            (Reopen, Some((0, None, 3, 0))),
            // Nothing of it has been delivered yet, and a late answer to another's is none to it.
            (Acknowledge(&[1]), Some((0, None, 3, 0))),
            (Take(&[(1, 1)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[0]), Some((1, Some(3), 0, 2))),
            (PurgeBelow(3), Some((2, Some(3), 0, 1))),
            (LoseConsumer, None),
            (Reopen, Some((2, None, 1, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "answers that belong to a stream that vanished hit nothing of the one that took its place",
        stream: Stream::Screened(0),
        steps: &[
            (Publish(&["A", "B"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(2), 0, 2))),
            (Lose, None),
            (Take(&[(2, 1)]), None),
            (Ended, None),
            (Reopen, Some((0, None, 0, 0))),
            (Publish(&["C", "D"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(2), 0, 2))),
            (Acknowledge(&[0, 1]), Some((0, Some(2), 0, 2))),
            (Postpone(&[(0, 0), (1, 0)]), Some((0, Some(2), 0, 2))),
            (Take(&[(2, 1)]), Some((0, Some(2), 0, 2))),
            (Acknowledge(&[2, 3]), Some((2, Some(2), 0, 0))),
        ],
        ..INTAKE
    },
    Row {
        name: "a broker that dies keeps what it had written down of the intake, and what is open comes again",
        ack_wait_ms: 3_000,
        steps: &[
            (Publish(&["A", "B", "C"]), Some((0, None, 3, 0))),
            (Take(&[(1, 1), (2, 1)]), Some((0, Some(3), 0, 3))),
            (Acknowledge(&[0]), Some((1, Some(3), 0, 2))),
            (WaitWritten, Some((1, Some(3), 0, 2))),
            (Restart, Some((1, Some(3), 0, 2))),
            (Cut, Some((1, Some(3), 0, 2))),
            (Reopen, Some((1, Some(3), 0, 2))),
            (Publish(&["D"]), Some((1, Some(3), 1, 2))),
            (TakeAll(&[(2, 2), (3, 2), (4, 1)]), Some((1, Some(4), 0, 3))),
            (Acknowledge(&[1]), Some((2, Some(4), 0, 2))),
        ],
        ..INTAKE
    },
    Row {
        name: "a stream in memory vanishes with its broker",
        stream: Stream::Screened(0),
        steps: &[
            (Publish(&["A", "B"]), Some((0, None, 2, 0))),
            (Take(&[(1, 1)]), Some((0, Some(2), 0, 2))),
            (Restart, None),
            (Cut, None),
            (Acknowledge(&[0]), None),
            (Reopen, Some((0, None, 0, 0))),
            (Publish(&["C"]), Some((0, None, 1, 0))),
            (Take(&[(1, 1)]), Some((0, Some(1), 0, 1))),
        ],
        ..INTAKE
    },
];
