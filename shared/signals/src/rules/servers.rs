//! Alerts of what payments run on.

use super::{Alert, Group, Severity};
use crate::metric;
use crate::query::{Expression, Series};

const WINDOW: &str = "5m";
/// Who must be there: our roles, and Prometheus itself.
const NEEDED: &str = "gateway|risk|fx|reserve|settle|wallet|janitor|prometheus";
/// Who need not run: they are told of when they did and no longer do.
const EXPORTERS: &str = "node|postgres";

pub(super) fn alerts() -> Group<Alert> {
    let up = |jobs| Series::named("up").like("job", jobs).now().only("== 0").over(WINDOW);
    let rules = vec![
        Alert {
            name: "TargetDown",
            severity: Severity::Page,
            expression: up(NEEDED),
            lasting: "30s",
            summary: "{{ $labels.job }} at {{ $labels.instance }} does not answer",
            description: "The process does not run, or does not answer within the time of a scrape.",
        },
        Alert {
            name: "ExporterDown",
            severity: Severity::Ticket,
            expression: up(EXPORTERS),
            lasting: "5m",
            summary: "The exporter {{ $labels.job }} at {{ $labels.instance }} does not answer",
            description: "Panels of the host or of Postgres are empty, and nobody hears of a full disk.",
        },
        Alert {
            name: "DiskFilling",
            severity: Severity::Page,
            expression: disk_left().only("< 0.1").over(WINDOW),
            lasting: "1m",
            summary: "{{ $labels.device }} of {{ $labels.instance }} has {{ $value | humanizePercentage }} left",
            description: "Without room neither the intake nor Postgres can write: payments are refused.",
        },
        Alert {
            name: "PoolExhausted",
            severity: Severity::Ticket,
            expression: Series::of(&metric::POOL_CONNECTIONS)
                .with("state", "busy")
                .now()
                .sum(&["service", "instance"])
                .at_least(Series::of(&metric::POOL_CONNECTIONS_MAX).now().max(&["service", "instance"]))
                .over(WINDOW),
            lasting: "30s",
            summary: "{{ $labels.service }} at {{ $labels.instance }} uses every connection to the ledger that it may have",
            description: "Whoever needs one more waits, or is told that the ledger is away.",
        },
        Alert {
            name: "SpansDropped",
            severity: Severity::Ticket,
            expression: Series::of(&metric::SPANS)
                .without("outcome", "exported")
                .rate()
                .sum(&["service"])
                .only("> 0")
                .over(WINDOW),
            lasting: "5m",
            summary: "{{ $labels.service }} loses {{ $value }} spans a second",
            description: "Traces have holes. Payments are not concerned.",
        },
    ];
    let comment = "Exporters are optional: what they do not tell fires nothing.";
    Group { name: "servers", comment, interval: None, rules }
}

/// What part is left of each disk that can be written to. Images are full by nature, and memory is no disk;
/// an overlay is what a container sees of its disk.
pub(crate) fn disk_left() -> Expression {
    let disk = |name| Series::named(name).unlike("fstype", "tmpfs|ramfs|squashfs|iso9660|erofs|udf").now();
    let is_writable = disk("node_filesystem_readonly").only("== 0").grouped();
    let left = disk("node_filesystem_avail_bytes").part_of(disk("node_filesystem_size_bytes"));
    left.and(is_writable).min(&["instance", "device"])
}
