//! A connection that is cut at a COMMIT: nobody can tell whether it was carried out. Both times it is told as
//! an outage, and whoever asks again is answered by the rows, with nothing done twice.

use crate::common::insist;
use crate::faulty_wire::{Fault, FaultyWire, Moment, Side};
use crate::writes::{WRITES, Write};

/// The connection that was cut may be met again.
const ATTEMPTS_MAX: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cut_is_an_outage_and_is_answered_from_the_row() {
    for Write { name, ask, traces, counts, told } in WRITES {
        for (side, place) in [(Side::Before, 0), (Side::After, 1)] {
            let about = format!("{name}, cut {side:?} the commit");
            let ledger = Write::ledger().await;
            let wire = FaultyWire::start(ledger.address()).await;
            let store = ledger.store_through(wire.address, |options| options.connections_max = 1);
            assert_eq!(ledger.sql(traces).await, counts[0], "{about}");
            wire.set_trap(Moment::Commit, side, Fault::Cut);
            let error = ask(store.clone()).await.expect_err(&about);
            assert!(error.is_outage(), "{about}: {error:?}");
            wire.faults(1).await;
            assert_eq!(ledger.sql(traces).await, counts[place], "{about}");
            for again in [told[place], told[1]] {
                assert_eq!(insist(ATTEMPTS_MAX, || ask(store.clone())).await, again, "{about}");
                assert_eq!(ledger.sql(traces).await, counts[1], "{about}");
            }
            ledger.assert_sound(&about).await;
        }
    }
}
