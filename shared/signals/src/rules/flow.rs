//! Alerts of payments that wait.

use super::{Alert, Group, Severity};
use crate::metric::{self, Metric};
use crate::query::{Expression, Series};

/// Six scrapes: long enough for a rate, short enough to see a stage stop.
const WINDOW: &str = "30s";
/// The re-drive of one payment backs off to ten minutes.
const REDRIVE_WINDOW: &str = "10m";

pub(super) fn alerts() -> Group<Alert> {
    let comment =
        "A stage that stops is told of within a minute; all of these end by themselves once it runs.";
    let rules = stages().into_iter().chain(around_them()).collect();
    Group { name: "flow", comment, interval: None, rules }
}

fn stages() -> Vec<Alert> {
    let lag = || Series::of(&metric::STAGE_LAG).now().max(&["stage", "shard"]).sum(&["stage"]);
    let takes = Series::count_of(&metric::STAGE_BATCH_SIZE).rate().sum(&["stage"]).only("> 0").grouped();
    vec![
        Alert {
            name: "StageStopped",
            severity: Severity::Page,
            expression: lag().only("> 0").grouped().unless_on("stage", takes).over(WINDOW),
            lasting: "10s",
            summary: "{{ $value }} messages wait for {{ $labels.stage }}, and it takes none",
            description: "The stage does not run, or what it needs does not answer. Payments wait, none is lost.",
        },
        Alert {
            name: "StageLagging",
            severity: Severity::Ticket,
            expression: lag().only("> 1000").over(WINDOW),
            lasting: "20s",
            summary: "{{ $value }} messages wait for {{ $labels.stage }}",
            description: "More comes in than the stage gets done.",
        },
        Alert {
            name: "BacklogOld",
            severity: Severity::Page,
            expression: Series::of(&metric::STAGE_BACKLOG_AGE)
                .now()
                .max(&["stage"])
                .only("> 10")
                .over(WINDOW),
            lasting: "15s",
            summary: "A message has waited {{ $value | humanizeDuration }} for {{ $labels.stage }}",
            description: "Payments are late by that much. They are safe in the intake.",
        },
        Alert {
            name: "PaymentsLostRepeatedly",
            severity: Severity::Ticket,
            expression: brought_back(None).and(brought_back(Some(REDRIVE_WINDOW))).over(WINDOW),
            lasting: "1m",
            summary: "The janitor has to bring payments back again and again",
            description: "Once is a broker that was started anew. Again and again is a stage that acknowledges \
                          what it did not do, or payments that no stage can finish.",
        },
    ]
}

/// What feeds the stages, and who looks after them.
fn around_them() -> Vec<Alert> {
    vec![
        Alert {
            name: "IntakeFilling",
            severity: Severity::Page,
            expression: intake(&metric::STREAM_BYTES)
                .part_of(intake(&metric::STREAM_BYTES_MAX).only("> 0").grouped())
                .only("> 0.5")
                .over(WINDOW),
            lasting: "30s",
            summary: "The intake is {{ $value | humanizePercentage }} full",
            description: "When it is full, the gateway answers 503 to every new payment.",
        },
        Alert {
            name: "RatesOld",
            severity: Severity::Ticket,
            expression: Series::of(&metric::RATE_AGE)
                .with("source", "live")
                .now()
                .max(&["source"])
                .only("> 64800")
                .over(WINDOW),
            lasting: "1m",
            summary: "The oldest live rate is {{ $value | humanizeDuration }} old",
            description: "Beyond fx.rate_age_seconds_max, a day by default, conversions with it are refused.",
        },
        Alert {
            name: "JanitorAbsent",
            severity: Severity::Page,
            expression: absent(&metric::OLDEST_OPEN_HOLD)
                .or(absent(&metric::STAGE_LAG))
                .or(absent(&metric::AUDIT_LAG))
                .over(WINDOW),
            lasting: "30s",
            summary: "The janitor tells nothing of holds, of the broker or of the ledger",
            description: "It does not run, or cannot read them. Of money, lag and backlog no alert can fire; \
                          without it nothing is purged and nothing lost is brought back.",
        },
    ]
}

fn intake(metric: &Metric) -> Expression {
    Series::of(metric).like("stream_name", ".*_ACCEPTED").now().max(&["stream_name"])
}

fn absent(metric: &Metric) -> Expression {
    Series::of(metric).now().absent()
}

/// Payments that were accepted or emitted again in a window, or in the one before it.
fn brought_back(offset: Option<&str>) -> Expression {
    let grown = |metric| Series::of(metric).increase(REDRIVE_WINDOW, offset).sum(&[]);
    grown(&metric::PAYMENTS_REDRIVEN).plus(grown(&metric::PAYMENTS_EMITTED_AGAIN)).grouped().only("> 0")
}
