//! For whoever is called at night: is money safe, is it flowing, how late is it.

use crate::metric;
use crate::panel::{Colour, Dashboard, Drawing, Panel, Row, Unit};
use crate::query::{Expression, Series, quantile};
use crate::rules::{ACCEPTANCE, SETTLEMENT};

/// The panels whose questions the seed documents wrote, and so stand as they are there: over one minute, of
/// all jobs and instances. The documents named three; how many requests end in which way is the fourth.
pub const SEED_PANELS: [&str; 4] = ["request-rate", "error-rate", "latency-p95", "requests-by-status"];

/// Rules make these of all jobs and instances: they carry none to choose by.
const FIRING: &str = r#"ALERTS{alertstate="firing"}"#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "paygw-poc",
        title: "Kilat: payments",
        description: "Is money safe, is it flowing, and how late is it",
        rows: vec![first(), second(), seed(), flow(), promises(), money(), refused()],
    }
}

/// Accepted payments of the gateway.
fn acceptances() -> Series {
    Series::of(&metric::REQUESTS)
        .with("service", "gateway")
        .with("route", "/payments")
        .with("method", "POST")
        .with("status", "OK")
}

fn accept_times() -> Series {
    Series::buckets_of(&metric::REQUEST_DURATION).with("service", "gateway").with("route", "/payments")
}

fn settle_times() -> Series {
    Series::buckets_of(&metric::END_TO_END).with("status", "CAPTURED")
}

fn captures() -> Expression {
    Series::count_of(&metric::END_TO_END).with("status", "CAPTURED").rate().sum(&[])
}

fn first() -> Row {
    let panels = vec![
        Panel::new(
            "money-conserved",
            "Invariant violations",
            "Is money safe? Anything but 0 is an incident.",
        )
        .drawn(Drawing::Number)
        .asking("violations", Series::of(&metric::INVARIANT_VIOLATIONS).now().max(&[]))
        .from(1.0, Colour::Red),
        Panel::new("accepted-per-second", "Accepted/s", "How many payments come in a second?")
            .drawn(Drawing::Number)
            .unit(Unit::PerSecond)
            .asking("accepted", acceptances().rate().sum(&[])),
        Panel::new("settled-per-second", "Settled/s", "How many payments does the ledger capture a second?")
            .drawn(Drawing::Number)
            .unit(Unit::PerSecond)
            .asking("settled", captures()),
        Panel::new(
            "settle-p99",
            "Settle p99",
            "How late is the slowest hundredth of what is captured now? It cannot show more than 10 s.",
        )
        .drawn(Drawing::Number)
        .unit(Unit::Seconds)
        .asking("p99", quantile("0.99", settle_times(), &[]))
        .from(0.5, Colour::Yellow)
        .from(1.0, Colour::Red),
        Panel::new(
            "backlog-age",
            "Oldest in the backlog",
            "For how long has the oldest unfinished payment waited?",
        )
        .drawn(Drawing::Number)
        .unit(Unit::Seconds)
        .asking("oldest", Series::of(&metric::STAGE_BACKLOG_AGE).now().max(&[]))
        .from(1.0, Colour::Yellow)
        .from(10.0, Colour::Red),
        Panel::new("alerts-firing", "Alerts", "How many alerts fire? Prometheus lists them on its port.")
            .drawn(Drawing::Number)
            .asking("firing", Expression::verbatim(FIRING).count().or_zero())
            .from(1.0, Colour::Red),
    ];
    Row { title: "Is money safe, is it flowing, how late is it", height: 5, panels }
}

fn second() -> Row {
    let panels = vec![
        Panel::new(
            "accept-p99",
            "Accept p99",
            "How long does the slowest hundredth of requests to /payments take, whatever the answer?",
        )
        .drawn(Drawing::Number)
        .unit(Unit::Seconds)
        .asking("p99", quantile("0.99", accept_times(), &[]))
        .from(0.1, Colour::Yellow)
        .from(0.5, Colour::Red),
        Panel::new("in-flight-part", "Admission", "How full is the gateway with requests in flight?")
            .drawn(Drawing::Number)
            .unit(Unit::Part)
            .asking(
                "of its bound",
                Series::of(&metric::REQUESTS_IN_FLIGHT)
                    .now()
                    .sum(&[])
                    .part_of(Series::of(&metric::REQUESTS_IN_FLIGHT_MAX).now().sum(&[])),
            )
            .from(0.5, Colour::Yellow)
            .from(0.9, Colour::Red),
        Panel::new("dead-letters-open", "Dead letters", "How many payments wait for a person?")
            .drawn(Drawing::Number)
            .asking("open", Series::of(&metric::DEAD_LETTERS_OPEN).now().max(&[]))
            .from(1.0, Colour::Red),
        Panel::new("oldest-open-hold", "Oldest late hold", "Is money held that should have moved by now?")
            .drawn(Drawing::Number)
            .unit(Unit::Seconds)
            .asking("oldest", Series::of(&metric::OLDEST_OPEN_HOLD).now().max(&[]))
            .from(30.0, Colour::Yellow)
            .from(60.0, Colour::Red),
        Panel::new(
            "imbalance",
            "Imbalance",
            "Do the entries sum to zero? Minor units, all currencies together.",
        )
        .drawn(Drawing::Number)
        .asking("off by", Series::of(&metric::IMBALANCE).now().absolute().max(&["currency"]).sum(&[]))
        .from(1.0, Colour::Red),
        Panel::new("audit-lag", "Audit lag", "How old is what the audit has not looked at yet?")
            .drawn(Drawing::Number)
            .unit(Unit::Seconds)
            .asking("behind", Series::of(&metric::AUDIT_LAG).now().max(&[]))
            .from(120.0, Colour::Yellow)
            .from(300.0, Colour::Red),
    ];
    Row { title: "Who waits", height: 5, panels }
}

fn seed() -> Row {
    let panels = vec![
        Panel::new("request-rate", "Requests/s", "How many requests does each service answer a second?")
            .unit(Unit::RequestsPerSecond)
            .asking("{{service}}", Expression::verbatim(&seed_rate("service", ""))),
        Panel::new("error-rate", "Failed requests/s", "How many of them does each service fail or refuse?")
            .unit(Unit::RequestsPerSecond)
            .asking("{{service}}", Expression::verbatim(&seed_rate("service", "{status=\"FAILED\"}")))
            .from(1.0, Colour::Yellow),
        Panel::new("latency-p95", "Latency p95", "How long do 95 of 100 requests take at most?")
            .unit(Unit::Seconds)
            .asking(
                "{{service}}",
                Expression::verbatim(&format!(
                    "histogram_quantile(0.95, sum by (le, service) (rate({}_bucket[1m])))",
                    metric::REQUEST_DURATION.name
                )),
            )
            .from(0.5, Colour::Red),
        Panel::new("requests-by-status", "Requests/s by status", "What part of all requests fails?")
            .drawn(Drawing::Areas)
            .unit(Unit::RequestsPerSecond)
            .asking("{{status}}", Expression::verbatim(&seed_rate("status", ""))),
    ];
    Row { title: "Requests of every service", height: 8, panels }
}

fn seed_rate(label: &str, matchers: &str) -> String {
    format!("sum by ({label}) (rate({}{matchers}[1m]))", metric::REQUESTS.name)
}

fn flow() -> Row {
    let ended = |status| Series::count_of(&metric::END_TO_END).with("status", status).rate().sum(&[]);
    let panels = vec![
        Panel::new("flow", "In and out", "Does as much come out as goes in?")
            .unit(Unit::PerSecond)
            .asking("accepted", acceptances().rate().sum(&[]))
            .asking("captured", ended("CAPTURED"))
            .asking("failed", ended("FAILED")),
        Panel::new("end-to-end", "From acceptance to the end", "How long do payments take, all of them?")
            .drawn(Drawing::Heatmap)
            .unit(Unit::Seconds)
            .asking("{{le}}", Series::buckets_of(&metric::END_TO_END).rate().sum(&["le"])),
    ];
    Row { title: "Flow", height: 9, panels }
}

fn promises() -> Row {
    let quantiles = |panel: Panel, times: fn() -> Series| {
        panel
            .unit(Unit::Seconds)
            .asking("p50", quantile("0.5", times(), &[]))
            .asking("p95", quantile("0.95", times(), &[]))
            .asking("p99", quantile("0.99", times(), &[]))
    };
    let accept = Panel::new(
        "accept-latency",
        "Accept latency",
        "How long do requests to /payments take, whatever the answer?",
    );
    let settle = Panel::new("settle-latency", "Settle latency", "How long until money has arrived?");
    let budget = Panel::new(
        "budget",
        "Broken promises, 5 minutes",
        "What part of requests fails by our fault, and what part of payments ends too late?",
    )
    .unit(Unit::Part)
    .asking("failed", Expression::verbatim(&ACCEPTANCE.record("5m")))
    .asking("late", Expression::verbatim(&SETTLEMENT.record("5m")))
    .from(0.001, Colour::Yellow)
    .from(0.01, Colour::Red);
    Row {
        title: "How late",
        height: 8,
        panels: vec![quantiles(accept, accept_times), quantiles(settle, settle_times), budget],
    }
}

fn money() -> Row {
    let panels = vec![
        Panel::new(
            "imbalance-by-currency",
            "Imbalance by currency",
            "In which currency do entries not sum to zero?",
        )
        .asking("{{currency}}", Series::of(&metric::IMBALANCE).now().max(&["currency"]))
        .from(1.0, Colour::Red),
        Panel::new("entries-audited", "Entries audited/s", "Does the audit keep up with what is posted?")
            .unit(Unit::PerSecond)
            .asking("entries", Series::of(&metric::ENTRIES_AUDITED).rate().sum(&[])),
        Panel::new(
            "payments-by-currency",
            "Payments/s by currency",
            "Who pays in what, and how does it end?",
        )
        .unit(Unit::PerSecond)
        .asking(
            "{{currency}} {{outcome}}",
            Series::of(&metric::PAYMENTS_RECORDED).rate().sum(&["currency", "outcome"]),
        ),
        Panel::new("volume-by-currency", "Volume/s by currency", "How much money moves, in minor units?")
            .unit(Unit::PerSecond)
            .asking(
                "{{currency}} {{outcome}}",
                Series::of(&metric::VOLUME).rate().sum(&["currency", "outcome"]),
            ),
    ];
    Row { title: "Money", height: 8, panels }
}

fn refused() -> Row {
    let panels = vec![
        Panel::new("refusals", "Refusals/s by code", "Why do stages refuse payments?")
            .unit(Unit::PerSecond)
            .asking(
                "{{stage}} {{code}}",
                Series::of(&metric::PAYMENTS_REJECTED).rate().sum(&["stage", "code"]),
            ),
        Panel::new("answers", "Answers/s by HTTP code", "What do clients of the gateway hear?")
            .unit(Unit::RequestsPerSecond)
            .asking(
                "{{code}}",
                Series::of(&metric::REQUESTS).with("service", "gateway").rate().sum(&["code"]),
            ),
        Panel::new("shed", "Turned away/s by reason", "Which bound of the gateway turns requests away?")
            .unit(Unit::RequestsPerSecond)
            .asking("{{reason}}", Series::of(&metric::REQUESTS_SHED).rate().sum(&["reason"])),
        Panel::new("burials", "Burials/s by stage", "Which stage meets what it cannot judge?")
            .unit(Unit::PerSecond)
            .asking("{{stage}}", Series::of(&metric::PAYMENTS_DEAD).rate().sum(&["stage"])),
    ];
    Row { title: "What is turned away", height: 8, panels }
}
