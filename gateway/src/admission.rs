//! Who may come in: a rate over all clients, and a bound on requests in flight. Neither waits.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{Code, Problem};

/// The gate.
pub(crate) struct Admission {
    rate: DefaultDirectRateLimiter,
    in_flight: Arc<Semaphore>,
}

impl Admission {
    /// So many requests a second, and so many at once.
    pub(crate) fn new(per_second: NonZeroU32, in_flight_max: usize) -> Admission {
        Admission { rate: RateLimiter::direct(Quota::per_second(per_second)), in_flight: Arc::new(Semaphore::new(in_flight_max)) }
    }

    /// Lets a request in while the permit lives, or says at once that there is no room.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if self.rate.check().is_err() {
            return Err(Problem::new(Code::Overloaded, "more requests than the gateway takes in a second"));
        }
        self.in_flight
            .clone()
            .try_acquire_owned()
            .map_err(|_| Problem::new(Code::Overloaded, "more requests at once than the gateway takes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_bounds_is_turned_away_at_once() {
        let gate = Admission::new(NonZeroU32::new(1_000).unwrap(), 2);
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().unwrap_err().code, Code::Overloaded);
        drop((first, second));
        assert!(gate.enter().is_ok());

        let gate = Admission::new(NonZeroU32::MIN, 10);
        assert!(gate.enter().is_ok());
        assert_eq!(gate.enter().unwrap_err().code, Code::Overloaded);
    }
}
