//! Metrics of who comes in.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::BoundCounter;
use signals::metric;

domain::closed_set! {
    /// What there was too much of when a request was turned away.
    Shed {
        /// Requests in a second.
        Rate = "rate",
        /// Requests at once.
        InFlight = "in_flight",
        /// Requests that wait for the ledger.
        Ledger = "ledger",
        /// Payments that nobody has worked off.
        Intake = "intake",
        /// Bytes of large bodies.
        Bodies = "bodies",
        /// Streams of events, or requests that wait for a payment.
        Listeners = "listeners",
    }
}

/// Requests in flight, and those that were turned away; clones record together.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    shed: [(Shed, BoundCounter<u64>); Shed::ALL.len()],
}

impl AdmissionMetrics {
    /// Those of the role whose metrics these are. `in_flight` is read at each scrape.
    pub fn new(
        metrics: &Metrics,
        in_flight: impl Fn() -> usize + Send + Sync + 'static,
        in_flight_max: usize,
    ) -> AdmissionMetrics {
        metrics.observed(&metric::REQUESTS_IN_FLIGHT, move |show| show(in_flight() as u64, &[]));
        metrics.observed(&metric::REQUESTS_IN_FLIGHT_MAX, move |show| show(in_flight_max as u64, &[]));
        let shed = metrics.counter(&metric::REQUESTS_SHED);
        let bind = |reason: Shed| (reason, shed.bind(&[KeyValue::new("reason", reason.as_str())]));
        AdmissionMetrics { shed: Shed::ALL.map(bind) }
    }

    /// A request was turned away.
    pub fn shed(&self, reason: Shed) {
        if let Some((_, counter)) = self.shed.iter().find(|(counted, _)| *counted == reason) {
            counter.add(1);
        }
    }
}
