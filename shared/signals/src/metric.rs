//! The table of metrics: names as they are scraped, labels, and what each tells. Names and labels are the
//! contract of dashboards and alerts.

/// Bounds of durations, in seconds: from half a millisecond to ten seconds.
pub const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of batch sizes, in messages, up to the largest batch.
pub const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0];

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Grows until its process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations up to each of these bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// As it is scraped; a histogram's series have further endings.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// Its labels, each with values from a closed set.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// The unit of durations; the exporter writes it into names.
const SECONDS_ENDING: &str = "_seconds";
/// What the exporter adds to the name of a counter.
const COUNTER_ENDING: &str = "_total";

impl Metric {
    /// Its name without what the OpenTelemetry exporter appends.
    pub fn instrument(&self) -> &'static str {
        let name = match self.kind {
            Kind::Counter => self.name.strip_suffix(COUNTER_ENDING).unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram(_) => self.name,
        };
        name.strip_suffix(SECONDS_ENDING).unwrap_or(name)
    }

    /// Its unit as OpenTelemetry knows it; empty where its name says enough.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix(COUNTER_ENDING).unwrap_or(self.name);
        if name.ends_with(SECONDS_ENDING) { "s" } else { "" }
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };
        )+

        /// Every metric of the services.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

use Kind::{Counter, Gauge, Histogram};

#[rustfmt::skip]
metrics! {
    REQUESTS = Counter, "payment_requests_total", ["service", "route", "method", "status", "code"], "Requests that came in, by HTTP and by NATS; code 499 where the client left before its answer";
    REQUEST_DURATION = Histogram(SECONDS), "payment_request_duration_seconds", ["service", "route"], "From a request's head to its answer";
    REQUESTS_SHED = Counter, "gateway_requests_shed_total", ["reason"], "Requests turned away because there were too many";
    REQUESTS_IN_FLIGHT = Gauge, "gateway_requests_in_flight", [], "Requests that have arrived whole and have no answer yet";
    REQUESTS_IN_FLIGHT_MAX = Gauge, "gateway_requests_in_flight_max", [], "The bound of requests in flight";

    STAGE_BATCH_SIZE = Histogram(SIZES), "stage_batch_size", ["stage"], "Messages that a stage took at once";
    STAGE_DURATION = Histogram(SECONDS), "stage_duration_seconds", ["stage"], "A batch from its decoding to its acknowledgement";
    STAGE_REDELIVERIES = Counter, "stage_redeliveries_total", ["stage"], "Deliveries that were not the first";
    STAGE_HALTED = Gauge, "stage_halted", ["stage"], "1 while a shard of the stage has so much to bury that it buries nothing";
    STAGE_LAG = Gauge, "stage_lag_messages", ["stage", "shard"], "Messages that wait for a stage or are in its hands";
    STAGE_BACKLOG_AGE = Gauge, "stage_backlog_age_seconds", ["stage", "shard"], "Age of the oldest message that a stage has not finished with";
    PUBLISH_BATCH_SIZE = Histogram(SIZES), "publish_batch_size", ["hop", "form"], "Messages published at once";
    PUBLISH_COMMIT = Histogram(SECONDS), "publish_commit_seconds", ["hop", "form"], "From the first message of a batch to the answer that it is stored";
    PAYMENTS_REJECTED = Counter, "payments_rejected_total", ["stage", "code"], "Refusals that were told; one whose acknowledgement is lost is told and counted again";
    PAYMENTS_DEAD = Counter, "payments_dead_total", ["stage"], "Messages buried";
    PAYMENTS_REDRIVEN = Counter, "payments_redriven_total", [], "Payments that left no trace and were accepted again";
    PAYMENTS_EMITTED_AGAIN = Counter, "payments_emitted_again_total", [], "Held payments that no message led to settle, and that were emitted again";
    END_TO_END = Histogram(SECONDS), "payment_end_to_end_seconds", ["status"], "From acceptance to the end of a payment, once the end is told; one whose acknowledgement is lost is told and counted again";
    RATE_AGE = Gauge, "fx_rate_age_seconds", ["source"], "Age of the oldest rate in the book";
    RATES = Gauge, "fx_book_rates", ["source"], "Rates in the book";

    OLDEST_OPEN_HOLD = Gauge, "ledger_oldest_open_hold_seconds", [], "Age of the oldest hold that should have ended by now; 0: there is none";
    INVARIANT_VIOLATIONS = Gauge, "ledger_invariant_violations", [], "Violations that the audit has found and nobody has resolved";
    IMBALANCE = Gauge, "ledger_imbalance_minor", ["currency"], "What audited entries do not sum to zero by, in minor units";
    AUDIT_LAG = Gauge, "ledger_audit_lag_seconds", [], "How far the audit is behind, or its watermark ahead of the server's clock";
    ENTRIES_AUDITED = Counter, "ledger_entries_audited_total", [], "Entries that the audit has looked at";
    PAYMENTS_RECORDED = Counter, "ledger_payments_total", ["currency", "outcome"], "Audited payments by their source's currency";
    VOLUME = Counter, "ledger_volume_minor_total", ["currency", "outcome"], "Amounts of audited payments, in minor units of their source's currency";
    DEAD_LETTERS_OPEN = Gauge, "ledger_dead_letters_open", [], "Dead letters that wait for someone";
    POOL_CONNECTIONS = Gauge, "ledger_pool_connections", ["service", "state"], "Connections that a role works with on the ledger";
    POOL_CONNECTIONS_MAX = Gauge, "ledger_pool_connections_max", ["service"], "The bound of the connections that a role works with on the ledger";

    STREAM_MESSAGES = Gauge, "nats_stream_total_messages", ["stream_name"], "Messages in a stream";
    STREAM_BYTES = Gauge, "nats_stream_total_bytes", ["stream_name"], "Bytes in a stream";
    STREAM_BYTES_MAX = Gauge, "nats_stream_limit_bytes", ["stream_name"], "The bound of a stream's bytes";
    CONSUMER_PENDING = Gauge, "nats_consumer_num_pending", ["stream_name", "consumer_name"], "Messages not delivered yet";
    CONSUMER_ACK_PENDING = Gauge, "nats_consumer_num_ack_pending", ["stream_name", "consumer_name"], "Messages delivered and not acknowledged";
    CONSUMER_REDELIVERED = Gauge, "nats_consumer_num_redelivered", ["stream_name", "consumer_name"], "Unacknowledged messages that were delivered more than once";

    DATABASE_BYTES = Gauge, "postgres_database_bytes", [], "Size of the ledger's database";
    TABLE_BYTES = Gauge, "postgres_table_bytes", ["table"], "Size of a table with its indexes";
    TABLE_ROWS = Gauge, "postgres_table_rows", ["table", "state"], "Rows of a table as the server estimates them, live and dead";
    WAL_BYTES = Counter, "postgres_wal_bytes_total", [], "Write-ahead log written";
    TRANSACTIONS = Counter, "postgres_transactions_total", ["outcome"], "Transactions that ended";
    BLOCKS_READ = Counter, "postgres_blocks_read_total", ["from"], "Blocks that were needed, and where they were found";
    LOCK_WAITS = Gauge, "postgres_lock_waits", [], "Sessions that wait for a lock";
    DEADLOCKS = Counter, "postgres_deadlocks_total", [], "Deadlocks that the server has ended";
    SESSIONS = Gauge, "postgres_sessions", ["state"], "Sessions of the server; of other roles and databases nothing else is seen";
    SESSIONS_MAX = Gauge, "postgres_sessions_max", [], "The server's bound of sessions";
    CHECKPOINTS = Counter, "postgres_checkpoints_total", ["cause"], "Checkpoints";
    OLDEST_TRANSACTION = Gauge, "postgres_oldest_transaction_seconds", [], "Age of the oldest transaction that is open";

    BUILD_INFO = Gauge, "kilat_build_info", ["program", "version"], "1, with what runs";
    PROCESS_CPU = Counter, "process_cpu_seconds_total", [], "Processor time of the process, its own and the kernel's for it";
    PROCESS_START = Gauge, "process_start_time_seconds", [], "When the process started, in seconds since 1970";
    PROCESS_RESIDENT = Gauge, "process_resident_memory_bytes", [], "Memory of the process that is in use";
    PROCESS_VIRTUAL = Gauge, "process_virtual_memory_bytes", [], "Address space of the process";
    PROCESS_THREADS = Gauge, "process_threads", [], "Threads of the process";
    PROCESS_OPEN_FILES = Gauge, "process_open_fds", [], "Open files and connections of the process";
    PROCESS_OPEN_FILES_MAX = Gauge, "process_max_fds", [], "The bound of open files and connections";
    TOKIO_WORKERS = Gauge, "tokio_workers", [], "Threads that run tasks";
    TOKIO_BUSY = Counter, "tokio_busy_seconds_total", [], "Time that those threads were busy, all together";
    TOKIO_TASKS = Gauge, "tokio_alive_tasks", [], "Tasks that have not ended";
    TOKIO_QUEUE = Gauge, "tokio_global_queue_depth", [], "Tasks that wait for any thread";
    SPANS = Counter, "trace_spans_total", ["service", "outcome"], "Spans of sampled payments: exported, dropped because the queue was full, or failed on their way";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "two metrics have one name");
        for metric in ALL {
            assert_eq!(metric.name.ends_with(COUNTER_ENDING), metric.kind == Counter, "{}", metric.name);
            let letters = metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(letters && !metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn the_exporter_makes_the_name_out_of_instrument_and_unit() {
        for (metric, instrument, unit) in [
            (REQUESTS, "payment_requests", ""),
            (REQUEST_DURATION, "payment_request_duration", "s"),
            (TOKIO_BUSY, "tokio_busy", "s"),
            (STREAM_BYTES, "nats_stream_total_bytes", ""),
            (OLDEST_OPEN_HOLD, "ledger_oldest_open_hold", "s"),
        ] {
            assert_eq!((metric.instrument(), metric.unit()), (instrument, unit));
        }
    }
}
