//! The ledger's errors as the harness and clients need them.

use runtime::process::chain;
use runtime::stage::Fault;
use store::StoreError;
use wire::{Code, Problem};

/// What a stage does about it.
pub fn fault(error: &StoreError) -> Fault {
    if error.is_outage() { Fault::Outage(chain(error)) } else { Fault::Unexpected(chain(error)) }
}

/// What a client is told of it.
pub fn problem(error: &StoreError) -> Problem {
    if error.is_outage() {
        Problem::new(Code::Unavailable, "the ledger is unavailable").because(chain(error))
    } else {
        Problem::new(Code::Internal, "the ledger failed").because(chain(error))
    }
}
