//! Bounds on who stays: streams of events, and requests that wait for a payment. Each holds a connection and
//! almost nothing else, so they have places of their own and take none from requests that are answered at once.

use runtime::config::Config;
use runtime::telemetry::{AdmissionMetrics, Shed};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{Code, Problem};

/// The part of a port's connections that each kind may hold: half of them at least stay for everyone else.
const CONNECTIONS_PART: usize = 4;

/// Who may stay; clones count together.
#[derive(Clone)]
pub(crate) struct Listeners {
    streams: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    metrics: AdmissionMetrics,
}

/// A place of one that stays, free again when this is dropped.
pub(crate) type ListenerPlace = OwnedSemaphorePermit;

impl Listeners {
    /// The bounds that this configuration asks for; who is turned away is told in `metrics`.
    pub(crate) fn new(config: &Config, metrics: AdmissionMetrics) -> Listeners {
        let part = (config.http.connections_max / CONNECTIONS_PART).max(1);
        let places = |max: usize| Arc::new(Semaphore::new(max.min(part)));
        Listeners {
            streams: places(config.gateway.event_streams_max),
            waiters: places(config.gateway.waiters_max),
            metrics,
        }
    }

    /// A place for a stream of events, or says at once that there is none.
    pub(crate) fn enter(&self) -> Result<ListenerPlace, Problem> {
        self.place(
            &self.streams,
            "more streams of events are open than the gateway keeps: poll, or try later",
        )
    }

    /// A place for a request that waits for a payment, or says at once that there is none.
    pub(crate) fn enter_to_wait(&self) -> Result<ListenerPlace, Problem> {
        self.place(
            &self.waiters,
            "more requests wait for a payment than the gateway keeps: ask without `Prefer`",
        )
    }

    fn place(&self, places: &Arc<Semaphore>, detail: &str) -> Result<ListenerPlace, Problem> {
        places.clone().try_acquire_owned().map_err(|_| {
            self.metrics.shed(Shed::Listeners);
            Problem::new(Code::Overloaded, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::StackConfig;
    use runtime::telemetry::Metrics;
    use wire::Role;

    #[test]
    fn each_kind_has_its_own_places_and_a_part_of_the_connections() {
        // Connections, streams and waiters as they are set; the places that there are.
        for (connections, streams, waiters, expected) in
            [(10_000, 3, 2, (3, 2)), (8, 100, 1, (2, 1)), (8, 1, 100, (1, 2)), (2, 100, 100, (1, 1))]
        {
            let mut config = Config::on(StackConfig::shifted(0));
            config.http.connections_max = connections;
            (config.gateway.event_streams_max, config.gateway.waiters_max) = (streams, waiters);
            let metrics = Metrics::new(Role::Gateway, true).unwrap();
            let listeners = Listeners::new(&config, AdmissionMetrics::new(&metrics, || 0, 1));
            for _ in 0..2 {
                let open: Vec<_> = std::iter::from_fn(|| listeners.enter().ok()).collect();
                let waiting: Vec<_> = std::iter::from_fn(|| listeners.enter_to_wait().ok()).collect();
                assert_eq!((open.len(), waiting.len()), expected, "{connections} {streams} {waiters}");
            }
            let again = (listeners.enter().is_ok(), listeners.enter_to_wait().is_ok());
            assert_eq!(again, (true, true), "a place that is left is free again");
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            assert!(text.contains("gateway_requests_shed_total{reason=\"listeners\"} 4\n"), "{text}");
        }
    }
}
