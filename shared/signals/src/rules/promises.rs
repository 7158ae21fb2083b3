//! What clients are promised, and how fast the part of it is used up that may fail.
//!
//! An alert compares two windows: the long one says that it matters, the short one that it still goes on. 14.4
//! times what thirty days allow uses 2 % of it in an hour, 6 times 5 % in six hours, 3 times 10 % in a day, 1
//! time 10 % in three days.
//!
//! A long window says that only where it was watched for about as long: before, it is as short as what has
//! happened so far, and one short burst would be all of it. Until then stopped stages, old backlogs and ports
//! that do not answer are told of by alerts of their own.

use super::{Alert, Group, Recording, Severity};
use crate::metric;
use crate::query::{Expression, Series};

/// Below this many events a second one event alone would be a fire.
const EVENTS_MIN: &str = "> 0.5";
/// What it takes to see that something still goes on.
const SHORT_WINDOWS: [&str; 2] = ["5m", "30m"];
/// A window of an hour or more changes little within a minute, and is not read more often. devstack's
/// Prometheus keeps seven days or 1 GB, which is room for the longest of these.
const LONG_WINDOWS: [&str; 5] = ["1h", "2h", "6h", "1d", "3d"];
const LONG_INTERVAL: &str = "1m";
const SELDOM: &str = "Once a minute. The longest window needs three of the days that Prometheus keeps.";

/// The bound of a second, as Prometheus 2 keeps it and as 3 does.
const ONE_SECOND: &str = r"1|1\\.0";

/// Something promised of all but a part of events.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// What is recorded of it, without the window.
    record: &'static str,
    /// The part that may fail.
    may_fail: &'static str,
    failed: fn() -> Expression,
    all: fn() -> Expression,
}

/// 99.9 % of requests for a payment are not answered with a server's error.
pub const ACCEPTANCE: Promise = Promise {
    record: "kilat:acceptance_failures:ratio_rate",
    may_fail: "0.001",
    // Of a failure that never was there is no series yet.
    failed: || requests().like("code", "5..").rate().sum(&[]).or_zero().grouped(),
    all: || requests().rate().sum(&[]),
};

/// 99 % of payments end within a second of their acceptance.
pub const SETTLEMENT: Promise = Promise {
    record: "kilat:payments_late:ratio_rate",
    may_fail: "0.01",
    failed: || {
        let in_time = Series::buckets_of(&metric::END_TO_END).like("le", ONE_SECOND).rate().sum(&[]);
        Series::count_of(&metric::END_TO_END).rate().sum(&[]).minus(in_time).grouped()
    },
    all: || Series::count_of(&metric::END_TO_END).rate().sum(&[]),
};

/// Requests for a payment.
fn requests() -> Series {
    Series::of(&metric::REQUESTS).with("service", "gateway").with("route", "/payments").with("method", "POST")
}

impl Promise {
    /// The name of what is recorded over a window.
    pub fn record(&self, window: &str) -> String {
        format!("{}{window}", self.record)
    }

    fn recording(&self, window: &str) -> Recording {
        let expression = (self.failed)().part_of((self.all)()).over(window);
        Recording { record: self.record(window), expression }
    }

    /// Whether it is broken this many times as fast as it may be, over both windows, by enough events, and was
    /// recorded at ten of twelve instants of the long one.
    fn burns(&self, times: &str, (long, twelfth): (&str, &str), short: &str) -> String {
        let over = |window| format!("{} > {times} * {}", self.record(window), self.may_fail);
        let enough = (self.all)().only(EVENTS_MIN).over(short);
        let watched = format!("count_over_time({}[{long}:{twelfth}]) >= 10", self.record(long));
        format!("({} and {} and {enough} and {watched})", over(long), over(short))
    }

    fn burns_fast(&self) -> String {
        format!("{}\nor\n{}", self.burns("14.4", ("1h", "5m"), "5m"), self.burns("6", ("6h", "30m"), "30m"))
    }

    fn burns_slowly(&self) -> String {
        format!("{}\nor\n{}", self.burns("3", ("1d", "2h"), "2h"), self.burns("1", ("3d", "6h"), "6h"))
    }
}

pub(super) fn recordings() -> Vec<Group<Recording>> {
    let group = |name, comment, interval, promise: Promise, windows: &[&str]| {
        let rules = windows.iter().map(|window| promise.recording(window)).collect();
        Group { name, comment, interval, rules }
    };
    let long = Some(LONG_INTERVAL);
    vec![
        group(
            "acceptance",
            "Promised: of 1,000 requests for a payment at most one is answered with a server's error.",
            None,
            ACCEPTANCE,
            &SHORT_WINDOWS,
        ),
        group("acceptance-for-long", SELDOM, long, ACCEPTANCE, &LONG_WINDOWS),
        group(
            "settlement",
            "Promised: of 100 payments at most one ends later than a second after its acceptance.",
            None,
            SETTLEMENT,
            &SHORT_WINDOWS,
        ),
        group("settlement-for-long", SELDOM, long, SETTLEMENT, &LONG_WINDOWS),
    ]
}

pub(super) fn alerts() -> Group<Alert> {
    let rules = vec![
        Alert {
            name: "AcceptanceFailing",
            severity: Severity::Page,
            expression: ACCEPTANCE.burns_fast(),
            lasting: "1m",
            summary: "Requests for payments fail by our fault",
            description: "An hour like this one uses up a fiftieth of the failures that a month may have. Clients \
                          are told to try again; no payment is lost.",
        },
        Alert {
            name: "AcceptanceFailingSlowly",
            severity: Severity::Ticket,
            expression: ACCEPTANCE.burns_slowly(),
            lasting: "15m",
            summary: "A few requests for payments fail by our fault, for long",
            description: "More requests fail than the month can bear. Nobody has to get up for it.",
        },
        Alert {
            name: "SettlementLate",
            severity: Severity::Page,
            expression: SETTLEMENT.burns_fast(),
            lasting: "1m",
            summary: "Payments end later than a second after their acceptance",
            description: "Payments are accepted and wait. They are safe, and late.",
        },
        Alert {
            name: "SettlementLateSlowly",
            severity: Severity::Ticket,
            expression: SETTLEMENT.burns_slowly(),
            lasting: "15m",
            summary: "A few payments end late, for long",
            description: "More payments are late than the month can bear. Nobody has to get up for it.",
        },
    ];
    let comment = "Pages when an hour uses up 2 % of what a month may fail, or six hours 5 %; tickets when a day or \
                   three use up 10 %.";
    Group { name: "promises", comment, interval: None, rules }
}
