//! Who may come in: a rate over all clients, and bounds on requests in flight. None of them waits.
//!
//! A body is read before its request takes a place: whoever sends slowly, or never, keeps nobody out but
//! himself.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use runtime::config::GatewayConfig;
use std::num::NonZeroU32;
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::{Code, Problem};

/// Decides which requests may come in at all.
pub(crate) struct Admission {
    rate: DefaultDirectRateLimiter,
    in_flight: Semaphore,
    at_the_ledger: Semaphore,
}

/// A request's place among those in flight, free again when this is dropped.
pub(crate) type Place<'gate> = SemaphorePermit<'gate>;

impl Admission {
    /// The gate that this configuration asks for.
    pub(crate) fn new(config: &GatewayConfig) -> Admission {
        let per_second = NonZeroU32::new(config.requests_per_second_max).unwrap_or(NonZeroU32::MIN);
        Admission {
            rate: RateLimiter::direct(Quota::per_second(per_second)),
            in_flight: Semaphore::new(config.in_flight_max),
            // Those that a silent ledger holds up leave half of the places to those that do without it.
            at_the_ledger: Semaphore::new((config.in_flight_max / 2).max(1)),
        }
    }

    /// Whether there is any point in going on with a request, asked once when its head has been read.
    pub(crate) fn look(&self) -> Result<(), Problem> {
        if self.rate.check().is_err() {
            return Err(Problem::new(Code::Overloaded, "more requests than the gateway takes in a second"));
        }
        if self.in_flight.available_permits() == 0 { Err(no_room()) } else { Ok(()) }
    }

    /// A place for a request that has arrived whole, or says at once that there is none.
    pub(crate) fn enter(&self) -> Result<Place<'_>, Problem> {
        self.in_flight.try_acquire().map_err(|_| no_room())
    }

    /// A further place, for a request that waits for the ledger.
    pub(crate) fn enter_for_the_ledger(&self) -> Result<Place<'_>, Problem> {
        self.at_the_ledger.try_acquire().map_err(|_| {
            Problem::new(Code::Overloaded, "more requests wait for the ledger than the gateway lets")
        })
    }
}

fn no_room() -> Problem {
    Problem::new(Code::Overloaded, "more requests at once than the gateway takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(requests_per_second_max: u32, in_flight_max: usize) -> Admission {
        Admission::new(&GatewayConfig {
            ports: Vec::new(),
            requests_per_second_max,
            in_flight_max,
            reply_timeout_ms: 1,
        })
    }

    #[test]
    fn what_is_over_the_bounds_is_turned_away_at_once() {
        let many = gate(1_000, 2);
        let (first, second) = (many.enter().unwrap(), many.enter().unwrap());
        assert_eq!(many.look().unwrap_err().code, Code::Overloaded);
        assert_eq!(many.enter().unwrap_err().code, Code::Overloaded);
        drop((first, second));
        assert!(many.look().is_ok() && many.enter().is_ok());

        let fast = gate(1, 10);
        assert!(fast.look().is_ok());
        assert_eq!(fast.look().unwrap_err().code, Code::Overloaded);
        // The rate is asked once a request.
        assert!(fast.enter().is_ok());
    }

    #[test]
    fn those_that_wait_for_the_ledger_leave_room_for_the_others() {
        for (in_flight_max, at_the_ledger) in [(2, 1), (3, 1), (8, 4), (4_096, 2_048)] {
            let gate = gate(1_000, in_flight_max);
            let waiting: Vec<_> = std::iter::from_fn(|| gate.enter_for_the_ledger().ok()).collect();
            assert_eq!(waiting.len(), at_the_ledger, "of {in_flight_max}");
            let _places: Vec<_> = waiting.iter().map(|_| gate.enter().unwrap()).collect();
            assert!(gate.enter().is_ok(), "of {in_flight_max}");
        }
    }
}
