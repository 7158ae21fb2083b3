//! Who may come in: a rate over all clients, and bounds on requests in flight. None of them waits.
//!
//! A body is read before its request takes a place: whoever sends slowly, or never, keeps nobody out but
//! himself.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use runtime::config::GatewayConfig;
use runtime::telemetry::{AdmissionMetrics, Metrics, Shed};
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::{Code, Problem};

/// Decides which requests may come in at all.
pub(crate) struct Admission {
    rate: DefaultDirectRateLimiter,
    in_flight: Arc<Semaphore>,
    at_the_ledger: Semaphore,
    metrics: AdmissionMetrics,
}

/// A request's place among those in flight, free again when this is dropped.
pub(crate) type Place<'gate> = SemaphorePermit<'gate>;

impl Admission {
    /// The gate that this configuration asks for; what it does is told in `metrics`.
    pub(crate) fn new(config: &GatewayConfig, metrics: &Metrics) -> Admission {
        let in_flight_max = config.in_flight_max;
        let in_flight = Arc::new(Semaphore::new(in_flight_max));
        let free = in_flight.clone();
        let taken = move || in_flight_max.saturating_sub(free.available_permits());
        let per_second = NonZeroU32::new(config.requests_per_second_max).unwrap_or(NonZeroU32::MIN);
        Admission {
            rate: RateLimiter::direct(Quota::per_second(per_second)),
            metrics: AdmissionMetrics::new(metrics, taken, in_flight_max),
            in_flight,
            // Those that a silent ledger holds up leave half of the places to those that do without it.
            at_the_ledger: Semaphore::new((in_flight_max / 2).max(1)),
        }
    }

    /// Whether there is any point in going on with a request, asked once when its head has been read.
    pub(crate) fn look(&self) -> Result<(), Problem> {
        self.keep_to_the_rate()?;
        if self.in_flight.available_permits() == 0 { Err(self.no_room()) } else { Ok(()) }
    }

    /// A place for a request that has arrived whole, or says at once that there is none.
    pub(crate) fn enter(&self) -> Result<Place<'_>, Problem> {
        self.in_flight.try_acquire().map_err(|_| self.no_room())
    }

    /// A place for a further payment of a request: it counts in the second as if it had come alone.
    pub(crate) fn enter_further(&self) -> Result<Place<'_>, Problem> {
        self.keep_to_the_rate()?;
        self.enter()
    }

    /// A further place, for a request that waits for the ledger.
    pub(crate) fn enter_for_the_ledger(&self) -> Result<Place<'_>, Problem> {
        self.at_the_ledger.try_acquire().map_err(|_| {
            self.turn_away(Shed::Ledger, "more requests wait for the ledger than the gateway lets")
        })
    }

    /// There is no room for a payment: in the intake, or on the way to it.
    pub(crate) fn no_room_for_a_payment(&self, reason: Shed) -> Problem {
        match reason {
            Shed::Intake => self.turn_away(reason, "the intake is full: retry with the same id"),
            Shed::InFlight | Shed::Rate | Shed::Ledger | Shed::Bodies | Shed::Listeners => self.no_room(),
        }
    }

    /// What tells of those that are turned away.
    pub(crate) fn metrics(&self) -> AdmissionMetrics {
        self.metrics.clone()
    }

    /// There is no room for the body of a request for many payments.
    pub(crate) fn no_room_for_a_body(&self) -> Problem {
        self.turn_away(Shed::Bodies, "more large bodies at once than the gateway takes")
    }

    fn keep_to_the_rate(&self) -> Result<(), Problem> {
        self.rate
            .check()
            .map_err(|_| self.turn_away(Shed::Rate, "more requests than the gateway takes in a second"))
    }

    fn no_room(&self) -> Problem {
        self.turn_away(Shed::InFlight, "more requests at once than the gateway takes")
    }

    fn turn_away(&self, reason: Shed, detail: &str) -> Problem {
        self.metrics.shed(reason);
        Problem::new(Code::Overloaded, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Role;

    fn gate(requests_per_second_max: u32, in_flight_max: usize) -> Admission {
        gate_and_metrics(requests_per_second_max, in_flight_max).0
    }

    fn gate_and_metrics(requests_per_second_max: u32, in_flight_max: usize) -> (Admission, Metrics) {
        let config = GatewayConfig { requests_per_second_max, in_flight_max, ..GatewayConfig::default() };
        let metrics = Metrics::new(Role::Gateway, true).unwrap();
        (Admission::new(&config, &metrics), metrics)
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
        // The rate is asked once a request, and for each of its further payments.
        assert!(fast.enter().is_ok());
        assert_eq!(fast.enter_further().unwrap_err().code, Code::Overloaded);
    }

    #[test]
    fn who_is_turned_away_is_counted_by_what_there_was_too_much_of() {
        let (gate, metrics) = gate_and_metrics(1, 2);
        let check = |expected: [u64; 5]| {
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let [rate, in_flight, ledger, intake, present] = expected;
            for (series, value) in [
                ("gateway_requests_shed_total{reason=\"rate\"}", rate),
                ("gateway_requests_shed_total{reason=\"in_flight\"}", in_flight),
                ("gateway_requests_shed_total{reason=\"ledger\"}", ledger),
                ("gateway_requests_shed_total{reason=\"intake\"}", intake),
                ("gateway_requests_in_flight", present),
                ("gateway_requests_in_flight_max", 2),
            ] {
                assert!(
                    text.contains(&format!("\n{series} {value}\n")),
                    "{series} {value} is not in:\n{text}"
                );
            }
        };
        check([0, 0, 0, 0, 0]);
        assert!(gate.look().is_ok() && gate.look().is_err());
        let places = (gate.enter().unwrap(), gate.enter().unwrap(), gate.enter_for_the_ledger().unwrap());
        assert!(gate.enter().is_err() && gate.enter_for_the_ledger().is_err());
        assert_eq!(gate.no_room_for_a_payment(Shed::Intake).code, Code::Overloaded);
        check([1, 1, 1, 1, 2]);
        drop(places);
        check([1, 1, 1, 1, 0]);
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
