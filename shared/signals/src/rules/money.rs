//! Alerts of money that may not be where it belongs.

use super::{Alert, Group, Severity};
use crate::metric;
use crate::query::Series;

/// An audit that is further behind does not speak for the money of now.
pub const AUDIT_BEHIND_SECONDS: u32 = 300;

/// These are gauges; none of them is asked over a window.
const WINDOW: &str = "1m";

pub(super) fn alerts() -> Group<Alert> {
    let rules = vec![
        Alert {
            name: "InvariantViolated",
            severity: Severity::Page,
            expression: Series::of(&metric::INVARIANT_VIOLATIONS).now().max(&[]).only("> 0").over(WINDOW),
            lasting: "0s",
            summary: "The ledger's audit has found {{ $value }} violations",
            description: "Entries, balances or payments do not agree with each other. Find out which before \
                          anything is changed.",
        },
        Alert {
            name: "LedgerImbalanced",
            severity: Severity::Page,
            expression: Series::of(&metric::IMBALANCE)
                .now()
                .absolute()
                .max(&["currency"])
                .only("> 0")
                .over(WINDOW),
            lasting: "15s",
            summary: "Entries in {{ $labels.currency }} are off by {{ $value }} minor units",
            description: "What audited entries sum to is not zero: money was made or lost in the books.",
        },
        Alert {
            name: "AuditBehind",
            severity: Severity::Ticket,
            expression: Series::of(&metric::AUDIT_LAG)
                .now()
                .max(&[])
                .only(&format!("> {AUDIT_BEHIND_SECONDS}"))
                .over(WINDOW),
            lasting: "1m",
            summary: "The ledger's audit is {{ $value | humanizeDuration }} behind",
            description: "What was posted since has not been looked at: a violation would be found late.",
        },
        Alert {
            name: "HoldOverdue",
            severity: Severity::Page,
            expression: Series::of(&metric::OLDEST_OPEN_HOLD).now().max(&[]).only("> 60").over(WINDOW),
            lasting: "15s",
            summary: "Money has been held for {{ $value | humanizeDuration }}",
            description: "A payment reserved its money and was not captured. The janitor emits such payments \
                          again from half a minute on: settle does not get through.",
        },
        Alert {
            name: "DeadLettersOpen",
            severity: Severity::Ticket,
            expression: Series::of(&metric::DEAD_LETTERS_OPEN).now().max(&[]).only("> 0").over(WINDOW),
            lasting: "30s",
            summary: "{{ $value }} dead letters wait for someone",
            description: "These payments were buried: they stay PENDING until someone resolves them.",
        },
        Alert {
            name: "StageHalted",
            severity: Severity::Page,
            expression: Series::of(&metric::STAGE_HALTED).now().max(&["stage"]).only("> 0").over(WINDOW),
            lasting: "0s",
            summary: "{{ $labels.stage }} has halted burials",
            description: "More than twenty payments a minute could not be judged alone: the fault is not theirs. \
                          They wait, others go on.",
        },
    ];
    let comment = "Violations fire at once, and as long as nobody has resolved them.";
    Group { name: "money", comment, interval: None, rules }
}
