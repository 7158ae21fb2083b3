//! Metrics of requests.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};
use signals::metric;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use wire::service::Endpoint;
use wire::{Code, Method, Role, Route};

/// The most counters of one role. No client gets there: routes, methods and codes are closed sets, and most
/// of their combinations have no answer. What is beyond counts under no route.
const COUNTERS_MAX: usize = 1_000;

/// From this status on a request has failed.
const FAILED_FROM: u16 = 400;

/// HTTP's routes, and then the endpoints of request-reply.
const PLACES: usize = Route::ALL.len() + Endpoint::ALL.len();

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    what: What,
    method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Route(Route),
    Endpoint(Endpoint),
}

impl Asked {
    /// By HTTP.
    pub const fn by_http(route: Route, method: Method) -> Asked {
        Asked { what: What::Route(route), method }
    }

    /// By request-reply.
    pub const fn by_nats(endpoint: Endpoint) -> Asked {
        Asked { what: What::Endpoint(endpoint), method: Method::Nats }
    }

    /// The route's template or the endpoint's subject, as metrics and log lines name it.
    pub fn route(self) -> &'static str {
        match self.what {
            What::Route(route) => route.as_str(),
            What::Endpoint(endpoint) => endpoint.route_name(),
        }
    }

    /// The method, as metrics and log lines name it.
    pub const fn method(self) -> &'static str {
        self.method.as_str()
    }

    const fn place(self) -> usize {
        match self.what {
            What::Route(route) => route as usize,
            What::Endpoint(endpoint) => Route::ALL.len() + endpoint as usize,
        }
    }
}

/// The requests that a role answers; clones count together.
#[derive(Debug, Clone)]
pub struct RequestMetrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    service: KeyValue,
    requests: Counter<u64>,
    /// What the role serves, at its place: the good answers of a busy role are found without a search.
    served: [Option<Served>; PLACES],
    counters: RwLock<HashMap<(Asked, u16), BoundCounter<u64>>>,
    /// Of everything that the role does not serve.
    other: BoundHistogram<f64>,
}

#[derive(Debug)]
struct Served {
    duration: BoundHistogram<f64>,
    method: Method,
    good_status: u16,
    good: BoundCounter<u64>,
}

impl RequestMetrics {
    /// Those of the role whose metrics these are: each of its routes is there from the start.
    pub fn new(metrics: &Metrics) -> RequestMetrics {
        let service = KeyValue::new("service", metrics.role().as_str());
        let durations = metrics.durations(&metric::REQUEST_DURATION);
        let other = bind_duration(&durations, &service, Route::Other.as_str());
        let requests = metrics.counter(&metric::REQUESTS);
        let (served, counters) = ([const { None }; PLACES], RwLock::default());
        let mut instruments = Instruments { service, requests, served, counters, other };
        for (asked, good_status) in served_by(metrics.role()) {
            let good = instruments.bind(asked, good_status);
            good.add(0);
            let duration = bind_duration(&durations, &instruments.service, asked.route());
            instruments.served[asked.place()] =
                Some(Served { duration, method: asked.method, good_status, good });
            instruments.count(asked, Code::Unavailable.status(), 0);
        }
        instruments.count(Asked::by_http(Route::Other, Method::Get), Code::NotFound.status(), 0);
        RequestMetrics(Arc::new(instruments))
    }

    /// Whether the role has a good answer to this.
    pub(crate) fn serves(&self, route: Route, method: Method) -> bool {
        let served = &self.0.served[Asked::by_http(route, method).place()];
        served.as_ref().is_some_and(|served| served.method == method)
    }

    /// A request was answered with this HTTP status.
    pub fn answered(&self, asked: Asked, status: u16, took: Duration) {
        let instruments = &*self.0;
        match &instruments.served[asked.place()] {
            Some(served) => {
                served.duration.record(took.as_secs_f64());
                if (served.method, served.good_status) == (asked.method, status) {
                    served.good.add(1);
                } else {
                    instruments.count(asked, status, 1);
                }
            }
            None => {
                instruments.other.record(took.as_secs_f64());
                instruments.count(Asked::by_http(Route::Other, asked.method), status, 1);
            }
        }
    }

    /// The parts of a request were answered, each with this HTTP status; how long they took is the request's.
    pub(crate) fn parts_answered(&self, asked: Asked, statuses: &[u16]) {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        statuses.iter().for_each(|status| *counts.entry(*status).or_default() += 1);
        for (status, count) in counts {
            match &self.0.served[asked.place()] {
                Some(served) if (served.method, served.good_status) == (asked.method, status) => {
                    served.good.add(count);
                }
                _ => self.0.count(asked, status, count),
            }
        }
    }
}

impl Instruments {
    fn count(&self, asked: Asked, status: u16, count: u64) {
        {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = counters.get(&(asked, status)) {
                return counter.add(count);
            }
        }
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        let asked =
            if counters.len() < COUNTERS_MAX { asked } else { Asked::by_http(Route::Other, Method::Other) };
        counters.entry((asked, status)).or_insert_with(|| self.bind(asked, status)).add(count);
    }

    fn bind(&self, asked: Asked, status: u16) -> BoundCounter<u64> {
        self.requests.bind(&[
            self.service.clone(),
            KeyValue::new("route", asked.route()),
            KeyValue::new("method", asked.method()),
            KeyValue::new("status", if status < FAILED_FROM { "OK" } else { "FAILED" }),
            KeyValue::new("code", i64::from(status)),
        ])
    }
}

fn bind_duration(durations: &Histogram<f64>, service: &KeyValue, route: &'static str) -> BoundHistogram<f64> {
    durations.bind(&[service.clone(), KeyValue::new("route", route)])
}

/// What a role is asked for, with the status of its good answer.
fn served_by(role: Role) -> Vec<(Asked, u16)> {
    let by_http = Route::ALL.into_iter().filter(|route| route.is_served_by(role)).filter_map(|route| {
        let (method, good) = route.good_answer()?;
        Some((Asked::by_http(route, method), good))
    });
    let by_nats = Endpoint::of(role).into_iter().map(|endpoint| (Asked::by_nats(endpoint), 200));
    by_http.chain(by_nats).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap()).unwrap()
    }

    #[test]
    fn requests_are_counted_by_what_was_asked_and_how_it_ended() {
        let metrics = Metrics::new(Role::Wallet, true).unwrap();
        let requests = RequestMetrics::new(&metrics);
        let rows = [
            (
                Asked::by_http(Route::Balance, Method::Get),
                200,
                "code=\"200\",method=\"GET\",route=\"/balance/{id}\",service=\"wallet\",status=\"OK\"",
            ),
            (
                Asked::by_http(Route::Balance, Method::Delete),
                405,
                "code=\"405\",method=\"DELETE\",route=\"/balance/{id}\",service=\"wallet\",status=\"FAILED\"",
            ),
            // What the role does not serve has no name.
            (
                Asked::by_http(Route::Payments, Method::Post),
                404,
                "code=\"404\",method=\"POST\",route=\"other\",service=\"wallet\",status=\"FAILED\"",
            ),
            (
                Asked::by_nats(Endpoint::Balance),
                503,
                "code=\"503\",method=\"NATS\",route=\"/balance/{id}\",service=\"wallet\",status=\"FAILED\"",
            ),
            (
                Asked::by_nats(Endpoint::Open),
                200,
                "code=\"200\",method=\"NATS\",route=\"wallet.open\",service=\"wallet\",status=\"OK\"",
            ),
        ];
        for (asked, status, labels) in rows {
            requests.answered(asked, status, Duration::from_millis(3));
            let text = rendered(&metrics);
            let line = format!("payment_requests_total{{{labels}}} 1\n");
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        let text = rendered(&metrics);
        for line in [
            "payment_request_duration_seconds_count{route=\"/balance/{id}\",service=\"wallet\"} 3\n",
            "payment_request_duration_seconds_count{route=\"other\",service=\"wallet\"} 1\n",
            "payment_request_duration_seconds_count{route=\"/readyz\",service=\"wallet\"} 0\n",
            "payment_requests_total{code=\"200\",method=\"NATS\",route=\"wallet.deposit\",service=\"wallet\",status=\"OK\"} 0\n",
            "payment_requests_total{code=\"503\",method=\"NATS\",route=\"wallet.deposit\",service=\"wallet\",status=\"FAILED\"} 0\n",
            "payment_requests_total{code=\"404\",method=\"GET\",route=\"other\",service=\"wallet\",status=\"FAILED\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn no_client_makes_more_series_than_a_scrape_may_have() {
        let metrics = Metrics::new(Role::Gateway, true).unwrap();
        let requests = RequestMetrics::new(&metrics);
        for (route, method) in
            Route::ALL.into_iter().flat_map(|route| Method::ALL.map(|method| (route, method)))
        {
            for status in 400..600 {
                requests.answered(Asked::by_http(route, method), status, Duration::ZERO);
            }
        }
        let text = rendered(&metrics);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!((1_000..2_000).contains(&series), "{series}");
        let counted = text
            .lines()
            .filter(|line| line.starts_with("payment_requests_total"))
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap());
        assert_eq!(counted.sum::<u64>(), (Route::ALL.len() * Method::ALL.len() * 200) as u64);
    }
}
